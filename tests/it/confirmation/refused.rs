//! What the vendor says no to, at once or by a notification, which may be about another write.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use switchboard::pb::{AttachUserDataRequest, Outcome};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationPlan};
use tokio::sync::watch;
use tonic::Code;

use super::{attach, attach_within, delete, push, sent, settled, shows, update, written};
use crate::support::vendor::{self, Seen, Vendor};
use crate::support::verdict::all_words;
use crate::support::watch::until;
use crate::support::watcher::{Watcher, next_notification};
use crate::support::{Gateway, SESSION, attempts, data, fact, reason, relocate};

#[tokio::test]
async fn a_definite_refusal_is_passed_on_as_it_is() {
    let gateway = Gateway::start().await;
    let code = |code: i64| Fault::VendorCode {
        code: code.into(),
        message: "no".into(),
    };
    let table = [
        (code(2), Code::FailedPrecondition, "VENDOR_REJECTED"),
        (code(5), Code::PermissionDenied, "VENDOR_DENIED"),
        (code(6), Code::NotFound, "VENDOR_NOT_FOUND"),
        (code(18), Code::AlreadyExists, "VENDOR_REJECTED"),
        (Fault::status(400), Code::InvalidArgument, "VENDOR_REJECTED"),
        (Fault::status(413), Code::InvalidArgument, "VENDOR_REJECTED"),
    ];
    for (fault, code, expected) in table {
        for operation in ["AttachUserData", "UpdateUserData", "DeleteUserData"] {
            push(
                &gateway,
                Rule::new(fault.clone()).operation(operation).times(1),
            );
            let mut sms = gateway.sms();
            let status = match operation {
                "AttachUserData" => sms.attach_user_data(attach("a", "b")).await.map(drop),
                "UpdateUserData" => sms.update_user_data(update("a")).await.map(drop),
                _ => sms.delete_user_data(delete("a")).await.map(drop),
            };
            let status = status.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (code, expected));
            assert_eq!(attempts(status.metadata()), 1);
        }
    }
    assert_eq!((written(&gateway), sent(&gateway, "GetSession")), (0, 0));
}

#[tokio::test]
async fn a_notified_error_is_the_answer_and_echoes_nothing() {
    for with_reference in [false, true] {
        let gateway = Gateway::start().await;
        let plan = NotificationPlan {
            reference_id_in_answers: with_reference,
            ..NotificationPlan::default()
        };
        gateway.sandbox.genesys().set_notifications(plan).unwrap();
        let message = "no room for Alice 4711 Doe and 12345 Elm Street of +4915112345678";
        let message = message.to_owned();
        next_notification(&gateway, Notification::Error { message });
        let request = AttachUserDataRequest {
            user_data: Some(data(&[
                ("Name", "Alice 4711 Doe"),
                ("Home", "12345 Elm Street"),
            ])),
            ..attach("", "")
        };
        let status = gateway.sms().attach_user_data(request).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        assert_eq!(reason(&status), "VENDOR_REJECTED");
        assert_eq!(fact(&status, "vendorCode"), "4");
        let words = all_words(&status);
        assert!(words.contains("no room for"), "{words}");
        for secret in ["Alice", "Doe", "Elm", "Street", "4711", "49151"] {
            assert!(!words.contains(secret), "{secret} in {words}");
        }
        assert_eq!((written(&gateway), settled(&gateway, "rejected")), (0, 1));
        // Another one's error has to be told from it.
        let reads = sent(&gateway, "GetSession");
        assert_eq!(reads >= 2, !with_reference, "{reads}");
        assert_eq!(reads == 0, with_reference, "{reads}");
        assert_eq!(u64::from(attempts(status.metadata())), 1 + reads);
        assert_eq!(fact(&status, "attempts"), (1 + reads).to_string());
    }
}

/// A server that fails a write and tells so with its number, but names no session.
async fn nameless(session: &'static str) -> Vendor {
    let written = Arc::new(watch::Sender::new(false));
    let told = format!(
        r#"[{{"channel":"/v2/me/smssessions","data":{{"notificationType":"Error","referenceId":82,
            "errorMessage":"of another write"{session}}}}},
        {{"channel":"/v2/me/smssessions","data":{{"notificationType":"Error","referenceId":83,
            "errorCode":4,"errorMessage":"no room"{session}}}}},
        {{"channel":"/meta/connect","successful":true}}]"#
    );
    Vendor::start(move |seen: Seen| {
        let (written, told) = (Arc::clone(&written), told.clone());
        async move {
            let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            match body[0]["channel"].as_str() {
                Some("/meta/handshake") => vendor::json(
                    r#"{"channel":"/meta/handshake","successful":true,"clientId":"c1"}"#,
                ),
                Some("/meta/subscribe") => {
                    vendor::json(r#"{"channel":"/meta/subscribe","successful":true}"#)
                }
                Some("/meta/connect") if body[0]["id"] == "2" => {
                    written
                        .subscribe()
                        .wait_for(|written| *written)
                        .await
                        .unwrap();
                    vendor::json(told)
                }
                None if body["operationName"].is_string() => {
                    written.send_replace(true);
                    vendor::json(r#"{"statusCode":0,"referenceId":83}"#)
                }
                _ => std::future::pending().await,
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_error_of_its_own_number_is_the_answer_whatever_session_it_names() {
    for session in ["", r#","smssession":null"#, r#","smssession":{}"#] {
        let vendor = nameless(session).await;
        let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
        let wait = Duration::from_secs(5);
        let status = attach_within(&gateway, wait, attach("Topic", "one")).await;
        let status = status.unwrap_err();
        assert_eq!(reason(&status), "VENDOR_REJECTED", "{session}: {status:?}");
        assert_eq!(fact(&status, "vendorCode"), "4");
    }
}

/// An error that cannot be told to be about the write may be about another one.
#[tokio::test]
async fn what_is_done_after_an_error_that_may_be_anothers_is_confirmed() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    let message = "not this one".to_owned();
    next_notification(&gateway, Notification::Error { message });
    let mut sms = gateway.sms();
    let call = tokio::spawn(async move { sms.attach_user_data(attach("Topic", "one")).await });
    until("it is looked for", || sent(&gateway, "GetSession") > 0).await;
    let mut held = genesys.user_data(SESSION).unwrap();
    held.insert("Topic".to_owned(), json!("one"));
    genesys.set_user_data(SESSION, held);
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Confirmed);
    shows(answer.session.as_ref(), "Topic", "one");
}

#[tokio::test]
async fn an_error_that_may_be_anothers_is_the_answer_at_the_deadline() {
    let gateway = Gateway::start().await;
    let _watcher = Watcher::started(&gateway, "", &[]).await;
    let message = "no room".to_owned();
    next_notification(&gateway, Notification::Error { message });
    // Too short for two reads a second apart.
    let wait = Duration::from_millis(900);
    let status = attach_within(&gateway, wait, attach("Topic", "one")).await;
    assert_eq!(reason(&status.unwrap_err()), "VENDOR_REJECTED");
}
