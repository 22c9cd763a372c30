//! A write that was asked to be confirmed returns when it is known to have happened, or not:
//! whatever comes first, the answer or the notification, and when one of them does not come.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use prost_types::Struct;
use serde_json::{Map, json};
use switchboard::pb::{
    AttachUserDataRequest, AttachUserDataResponse, Confirmation, DeleteUserDataRequest, Outcome,
    SmsSession, UpdateUserDataRequest,
};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationPlan, NotificationRule};
use tokio::sync::watch;
use tonic::{Code, Response, Status};

use crate::support::untimed::{self, within};
use crate::support::vendor::{self, Seen, Vendor};
use crate::support::verdict::{all_words, pushback};
use crate::support::watch::{in_time, until};
use crate::support::watcher::{Watcher, next_notification, reading, value};
use crate::support::{self, Gateway, SESSION, attempts, data, fact, impatient, reason, relocate};

/// Of the same agent.
const SECOND: &str = "0071023821aec012";

fn attach(key: &str, value: &str) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[(key, value)])),
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    }
}

fn update(value: &str) -> UpdateUserDataRequest {
    UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Topic", value)])),
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    }
}

fn delete(key: &str) -> DeleteUserDataRequest {
    DeleteUserDataRequest {
        session_id: SESSION.into(),
        keys: vec![key.into()],
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    }
}

type Attached = Result<Response<AttachUserDataResponse>, Status>;

/// One that the caller waits for so long.
async fn attach_within(
    gateway: &Gateway,
    wait: Duration,
    request: AttachUserDataRequest,
) -> Attached {
    let mut sms = untimed::sms(gateway.address).await;
    in_time("an answer", sms.attach_user_data(within(wait, request))).await
}

fn push(gateway: &Gateway, rule: Rule) {
    gateway.sandbox.faults().push(rule).unwrap();
}

fn sent(gateway: &Gateway, operation: &str) -> u64 {
    gateway.sandbox.journal().count("genesys", operation)
}

fn written(gateway: &Gateway) -> usize {
    gateway.sandbox.genesys().writes().len()
}

/// How often a confirmation was settled in this way.
fn settled(gateway: &Gateway, how: &str) -> i64 {
    let name = "switchboard_confirmations_total";
    reading(&gateway.metrics, name, &[("how", how)])
}

#[track_caller]
fn shows(session: Option<&SmsSession>, key: &str, expected: &str) {
    let session = session.expect("the session that was seen");
    assert_eq!(session.id, SESSION);
    assert_eq!(value(session, key).as_deref(), Some(expected));
}

#[tokio::test]
async fn a_notification_confirms_every_kind_of_write() {
    let gateway = Gateway::start().await;
    let mut sms = gateway.sms();
    let attached = sms.attach_user_data(attach("Topic", "one")).await.unwrap();
    assert_eq!(attempts(attached.metadata()), 1);
    let attached = attached.into_inner();
    assert_eq!(attached.outcome(), Outcome::Confirmed);
    shows(attached.session.as_ref(), "Topic", "one");
    let updated = sms
        .update_user_data(update("two"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(updated.outcome(), Outcome::Confirmed);
    shows(updated.session.as_ref(), "Topic", "two");
    let deleted = sms
        .delete_user_data(delete("Topic"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(deleted.outcome(), Outcome::Confirmed);
    assert_eq!(value(&deleted.session.unwrap(), "Topic"), None);
    assert_eq!(written(&gateway), 3);
    // What shows a delete may be of before it, and so has it read.
    assert_eq!(
        (settled(&gateway, "notification"), settled(&gateway, "read")),
        (2, 1)
    );
    assert_eq!(sent(&gateway, "GetSession"), 1);
    assert_eq!(gateway.sandbox.genesys().handshakes(), 1);
    assert_eq!(gateway.sandbox.genesys().contact_center_session_calls(), 0);
}

#[tokio::test]
async fn in_whatever_order_answer_and_notification_come_it_is_confirmed_once() {
    for with_reference in [false, true] {
        let gateway = Gateway::start().await;
        let genesys = gateway.sandbox.genesys();
        let plan = NotificationPlan {
            reference_id_in_answers: with_reference,
            ..NotificationPlan::default()
        };
        genesys.set_notifications(plan).unwrap();
        let orders = [
            (Notification::Normal, "notification"),
            (Notification::BeforeAnswer, "notification"),
            (Notification::Late { ms: 300 }, "notification"),
            (Notification::Twice, "notification"),
            (Notification::WithoutReferenceId, "notification"),
            (Notification::Never, "read"),
            (Notification::Late { ms: 60_000 }, "read"),
        ];
        for (number, (order, how)) in orders.into_iter().enumerate() {
            let key = format!("Key{number}");
            let before = settled(&gateway, how);
            next_notification(&gateway, order.clone());
            let answer = gateway.sms().attach_user_data(attach(&key, "x")).await;
            let answer = answer.unwrap_or_else(|error| panic!("{order:?}: {error:?}"));
            assert_eq!(settled(&gateway, how), before + 1, "{order:?}");
            let reads = u32::from(how == "read");
            assert_eq!(attempts(answer.metadata()), 1 + reads, "{order:?}");
            let answer = answer.into_inner();
            assert_eq!(answer.outcome(), Outcome::Confirmed, "{order:?}");
            shows(answer.session.as_ref(), &key, "x");
            let reference = i64::try_from(number + 1).ok();
            assert_eq!(answer.reference_id, reference.filter(|_| with_reference));
            assert_eq!(written(&gateway), number + 1, "{order:?}");
        }
    }
}

#[tokio::test]
async fn writers_to_one_session_keep_their_order() {
    const WRITERS: usize = 30;
    let gateway = Gateway::start().await;
    // Another session's writers do not wait for these.
    let rule = NotificationRule::new(Notification::Late { ms: 20 }).operation("UpdateUserData");
    gateway
        .sandbox
        .genesys()
        .push_notification_rule(rule)
        .unwrap();
    let calls = (0..WRITERS).map(|number| {
        let mut sms = gateway.sms();
        let user_data = data(&[
            (&format!("Key{number}"), "x"),
            ("Last", &number.to_string()),
        ]);
        let request = UpdateUserDataRequest {
            user_data: Some(user_data),
            ..update("")
        };
        async move { sms.update_user_data(request).await }
    });
    for (number, answer) in join_all(calls).await.into_iter().enumerate() {
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.outcome(), Outcome::Confirmed);
        shows(answer.session.as_ref(), "Last", &number.to_string());
    }
    let writes = gateway.sandbox.genesys().writes();
    let order: Vec<_> = writes
        .into_iter()
        .map(|write| write.keys[0].clone())
        .collect();
    let expected: Vec<_> = (0..WRITERS).map(|number| format!("Key{number}")).collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn somebody_elses_change_confirms_nothing_and_hinders_nothing() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    let somebody = |topic: &str| {
        let user_data = Map::from_iter([("Other".to_owned(), json!(topic))]);
        genesys.set_user_data(SECOND, user_data.clone());
    };
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    next_notification(&gateway, Notification::Late { ms: 400 });
    let slow = Rule::new(Fault::Latency { ms: 150 }).operation("UpdateUserData");
    push(&gateway, slow.times(1));
    let mut sms = gateway.sms();
    let call = tokio::spawn(async move { sms.update_user_data(update("ours")).await });
    until("the vendor has it", || {
        sent(&gateway, "UpdateUserData") == 1
    })
    .await;
    somebody("theirs");
    let theirs = Map::from_iter([("Other".to_owned(), json!("on the same"))]);
    genesys.set_user_data(SESSION, theirs);
    for _ in 0..2 {
        watcher.notification().await;
    }
    assert!(!call.is_finished(), "confirmed by another's change");
    let answer = call.await.unwrap().unwrap().into_inner();
    shows(answer.session.as_ref(), "Topic", "ours");
    shows(answer.session.as_ref(), "Other", "on the same");
    assert_eq!(settled(&gateway, "notification"), 1);
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

#[tokio::test]
async fn a_lost_answer_to_a_write_that_was_done_is_confirmed_by_reading() {
    for fault in [
        Fault::Reset,
        Fault::CutBody,
        Fault::status(502),
        Fault::Garbage,
        Fault::NoCode,
    ] {
        let gateway = Gateway::start().await;
        next_notification(&gateway, Notification::Never);
        push(
            &gateway,
            Rule::new(fault.clone())
                .operation("AttachUserData")
                .times(1)
                .after(),
        );
        let answer = gateway.sms().attach_user_data(attach("Topic", "one")).await;
        let answer = answer.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!(attempts(answer.metadata()), 2, "{fault:?}");
        let answer = answer.into_inner();
        assert_eq!(answer.outcome(), Outcome::Confirmed, "{fault:?}");
        shows(answer.session.as_ref(), "Topic", "one");
        assert_eq!(
            (sent(&gateway, "AttachUserData"), written(&gateway)),
            (1, 1),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_attach_that_was_not_done_is_sent_once_more() {
    for fault in [Fault::Reset, Fault::status(502)] {
        let gateway = Gateway::start().await;
        push(
            &gateway,
            Rule::new(fault).operation("AttachUserData").times(1),
        );
        let answer = gateway
            .sms()
            .attach_user_data(attach("Topic", "one"))
            .await
            .unwrap();
        let metadata = answer.metadata().clone();
        let answer = answer.into_inner();
        assert_eq!(answer.outcome(), Outcome::Confirmed);
        shows(answer.session.as_ref(), "Topic", "one");
        assert_eq!(
            (sent(&gateway, "AttachUserData"), written(&gateway)),
            (2, 1)
        );
        let reads = sent(&gateway, "GetSession");
        assert!(reads >= 2, "one read proves no absence");
        assert_eq!(u64::from(attempts(&metadata)), 2 + reads);
    }
}

/// The old value, or one that somebody put over the attached one: a read cannot tell.
#[tokio::test]
async fn a_lost_attach_is_not_sent_again_where_its_key_is_there_with_another_value() {
    let gateway = Gateway::start().await;
    let before = attach("Topic", "before");
    gateway.sms().attach_user_data(before).await.unwrap();
    push(
        &gateway,
        Rule::new(Fault::Reset).operation("AttachUserData"),
    );
    let wait = Duration::from_millis(2_500);
    let answer = attach_within(&gateway, wait, attach("Topic", "one")).await;
    unknown(&answer.unwrap_err());
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (2, 1)
    );
}

#[tokio::test]
async fn a_lost_attach_is_not_sent_a_third_time() {
    let gateway = Gateway::start().await;
    push(
        &gateway,
        Rule::new(Fault::Reset).operation("AttachUserData"),
    );
    let status = gateway
        .sms()
        .attach_user_data(attach("Topic", "one"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (2, 0)
    );
    let all = sent(&gateway, "GetSession") + 2;
    assert_eq!(u64::from(attempts(status.metadata())), all);
    assert_eq!(fact(&status, "attempts"), all.to_string());
    assert_eq!(settled(&gateway, "absent"), 1);
}

#[tokio::test]
async fn a_caller_that_repeats_gets_no_second_sending() {
    let gateway = Gateway::start().await;
    push(
        &gateway,
        Rule::new(Fault::Reset).operation("AttachUserData").times(1),
    );
    let mut request = tonic::Request::new(attach("Topic", "one"));
    request
        .metadata_mut()
        .insert("grpc-previous-rpc-attempts", "1".parse().unwrap());
    let status = gateway.sms().attach_user_data(request).await.unwrap_err();
    assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (1, 0)
    );
}

#[tokio::test]
async fn a_write_that_hangs_is_never_sent_again() {
    for done in [true, false] {
        let gateway = Gateway::start().await;
        let hang = Rule::new(Fault::Hang).operation("AttachUserData");
        push(&gateway, if done { hang.after() } else { hang });
        next_notification(&gateway, Notification::Never);
        let wait = Duration::from_millis(2_500);
        let answer = attach_within(&gateway, wait, attach("Topic", "one")).await;
        assert_eq!(sent(&gateway, "AttachUserData"), 1);
        assert_eq!(written(&gateway), usize::from(done));
        if done {
            assert_eq!(answer.unwrap().into_inner().outcome(), Outcome::Confirmed);
        } else {
            unknown(&answer.unwrap_err());
        }
    }
}

#[track_caller]
fn unknown(status: &Status) {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(reason(status), "OUTCOME_UNKNOWN");
    assert_eq!(pushback(status), Some("-1"));
}

#[tokio::test]
async fn an_accepted_write_that_was_lost_behind_the_vendor_is_never_confirmed() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    for (number, wait) in [900, 1_500, 2_500].into_iter().enumerate() {
        let _watcher = Watcher::started(&gateway, "", &[]).await;
        let message = "nobody hears it".to_owned();
        next_notification(&gateway, Notification::Error { message });
        let slow = Rule::new(Fault::Latency { ms: 50 }).operation("Connect");
        push(&gateway, slow.times(1).after());
        // The client that would have heard of it is gone with its node.
        let fail_over = async {
            until("it is accepted", || {
                sent(&gateway, "AttachUserData") > number as u64
            })
            .await;
            genesys.drop_clients();
        };
        let request = attach(&format!("Key{number}"), "x");
        let call = attach_within(&gateway, Duration::from_millis(wait), request);
        let (answer, ()) = tokio::join!(call, fail_over);
        let status = answer.unwrap_err();
        // The error may have been on its way before the node was lost.
        if reason(&status) != "VENDOR_REJECTED" {
            unknown(&status);
        }
        assert_eq!(written(&gateway), 0);
        assert_eq!(sent(&gateway, "AttachUserData"), number as u64 + 1);
    }
}

#[tokio::test]
async fn without_any_notifications_reads_confirm() {
    for operation in ["Handshake", "Subscribe", "Connect"] {
        let gateway = Gateway::start().await;
        push(&gateway, Rule::new(Fault::status(503)).operation(operation));
        let mut sms = gateway.sms();
        let attached = sms
            .attach_user_data(attach("Topic", "one"))
            .await
            .unwrap()
            .into_inner();
        shows(attached.session.as_ref(), "Topic", "one");
        let updated = sms
            .update_user_data(update("two"))
            .await
            .unwrap()
            .into_inner();
        shows(updated.session.as_ref(), "Topic", "two");
        let deleted = sms
            .delete_user_data(delete("Topic"))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(value(&deleted.session.unwrap(), "Topic"), None);
        assert_eq!(written(&gateway), 3);
        let operations = ["AttachUserData", "UpdateUserData", "DeleteUserData"];
        assert_eq!(
            operations.map(|operation| sent(&gateway, operation)),
            [1; 3]
        );
    }
}

#[tokio::test]
async fn a_path_without_notifications_does_not_keep_writes_from_being_confirmed() {
    let gateway = Gateway::start_with(|config| {
        config.genesys.as_mut().unwrap().notifications.path = "/api/v2/nowhere".to_owned();
    })
    .await;
    for value in ["one", "two"] {
        let answer = gateway
            .sms()
            .update_user_data(update(value))
            .await
            .unwrap()
            .into_inner();
        shows(answer.session.as_ref(), "Topic", value);
    }
    assert_eq!((written(&gateway), settled(&gateway, "read")), (2, 2));
}

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
async fn a_session_that_is_gone_is_not_found_when_the_answer_was_lost() {
    let gateway = Gateway::start().await;
    push(
        &gateway,
        Rule::new(Fault::Reset).operation("AttachUserData"),
    );
    push(
        &gateway,
        Rule::new(Fault::status(404)).operation("GetSession"),
    );
    let status = gateway
        .sms()
        .attach_user_data(attach("a", "b"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_NOT_FOUND");
    // One look would not do.
    let reads = sent(&gateway, "GetSession");
    assert!(reads >= 2, "{reads}");
    assert_eq!(u64::from(attempts(status.metadata())), 1 + reads);
    assert_eq!(fact(&status, "attempts"), (1 + reads).to_string());
}

/// As a node does that does not know the session yet.
#[tokio::test]
async fn one_read_that_finds_no_session_says_nothing_of_a_lost_write() {
    let gateway = Gateway::start().await;
    let lost = Rule::new(Fault::Reset).operation("AttachUserData").times(1);
    push(&gateway, lost.after());
    let unknown = Rule::new(Fault::status(404)).operation("GetSession");
    push(&gateway, unknown.times(1));
    next_notification(&gateway, Notification::Never);
    let answer = gateway.sms().attach_user_data(attach("Topic", "one")).await;
    assert_eq!(answer.unwrap().into_inner().outcome(), Outcome::Confirmed);
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (1, 1)
    );
}

#[tokio::test]
async fn idempotent_writes_are_repeated_and_then_read() {
    // The answers are lost after the work was done, each time.
    let gateway = Gateway::start_with(impatient).await;
    push(
        &gateway,
        Rule::new(Fault::Reset).operation("UpdateUserData").after(),
    );
    push(
        &gateway,
        Rule::new(Fault::Reset).operation("DeleteUserData").after(),
    );
    let rule = NotificationRule::new(Notification::Never);
    gateway
        .sandbox
        .genesys()
        .push_notification_rule(rule)
        .unwrap();
    let mut sms = gateway.sms();
    let updated = sms.update_user_data(update("one")).await.unwrap();
    assert_eq!(attempts(updated.metadata()), 4);
    shows(updated.into_inner().session.as_ref(), "Topic", "one");
    let deleted = sms.delete_user_data(delete("Topic")).await.unwrap();
    // A key that is not there is looked for twice, a second apart.
    let reads = sent(&gateway, "GetSession") - 1;
    assert!((2..=5).contains(&reads), "{reads}");
    assert_eq!(u64::from(attempts(deleted.metadata())), 3 + reads);
    assert_eq!(value(&deleted.into_inner().session.unwrap(), "Topic"), None);
    assert_eq!(settled(&gateway, "read"), 2);

    // And before it was done: nothing is to be seen, and nothing is claimed.
    gateway.sandbox.faults().clear();
    push(
        &gateway,
        Rule::new(Fault::Reset).operation("UpdateUserData"),
    );
    let status = sms.update_user_data(update("two")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
    assert_eq!(sent(&gateway, "UpdateUserData"), 6);
}

/// Of several attempts one may still be under way, however the last one ended.
#[tokio::test]
async fn what_was_never_answered_is_not_said_to_be_undone_for_what_came_after_it() {
    for fault in [Fault::Hang, Fault::status(504)] {
        let gateway = Gateway::start_with(|config| {
            impatient(config);
            let genesys = config.genesys.as_mut().unwrap();
            genesys.upstream.timeout.attempt = Duration::from_millis(500);
        })
        .await;
        let first = Rule::new(fault).operation("UpdateUserData").times(1);
        push(&gateway, first);
        let reset = Rule::new(Fault::Reset).operation("UpdateUserData");
        push(&gateway, reset);
        let mut sms = untimed::sms(gateway.address).await;
        let wait = Duration::from_millis(3_500);
        let updated = sms.update_user_data(within(wait, update("one"))).await;
        unknown(&updated.unwrap_err());
        assert_eq!(sent(&gateway, "UpdateUserData"), 3);
    }
}

#[tokio::test]
async fn a_lost_delete_is_not_confirmed_by_a_notification_of_before() {
    let gateway = Gateway::start_with(impatient).await;
    let mut sms = gateway.sms();
    // Notifications are there from now on.
    sms.attach_user_data(attach("First", "x")).await.unwrap();
    // Told when its state, without the topic, is long over.
    next_notification(&gateway, Notification::Late { ms: 500 });
    let accepted = Confirmation::Accepted.into();
    let mut other = attach("Other", "x");
    other.confirmation = accepted;
    sms.attach_user_data(other).await.unwrap();
    let mut topic = update("one");
    topic.confirmation = accepted;
    sms.update_user_data(topic).await.unwrap();

    push(
        &gateway,
        Rule::new(Fault::Reset).operation("DeleteUserData"),
    );
    let status = sms.delete_user_data(delete("Topic")).await.unwrap_err();
    assert_eq!(reason(&status), "VENDOR_UNAVAILABLE", "{status:?}");
    let held = gateway.sandbox.genesys().user_data(SESSION).unwrap();
    assert!(held.contains_key("Topic"));
}

#[tokio::test]
async fn an_accepted_delete_is_not_confirmed_by_a_notification_of_before() {
    let gateway = Gateway::start().await;
    let mut sms = gateway.sms();
    // Notifications are there from now on.
    sms.attach_user_data(attach("First", "x")).await.unwrap();
    // Told when its state, without the topic, is long over, and the delete is under way.
    next_notification(&gateway, Notification::Late { ms: 500 });
    let accepted = Confirmation::Accepted.into();
    let mut other = attach("Other", "x");
    other.confirmation = accepted;
    sms.attach_user_data(other).await.unwrap();
    let mut topic = update("one");
    topic.confirmation = accepted;
    sms.update_user_data(topic).await.unwrap();

    let slow = Rule::new(Fault::Latency { ms: 700 }).operation("DeleteUserData");
    push(&gateway, slow);
    let message = "not this one".to_owned();
    next_notification(&gateway, Notification::Error { message });
    let status = sms.delete_user_data(delete("Topic")).await.unwrap_err();
    assert_eq!(reason(&status), "VENDOR_REJECTED", "{status:?}");
    let held = gateway.sandbox.genesys().user_data(SESSION).unwrap();
    assert!(held.contains_key("Topic"));
}

#[tokio::test]
async fn a_notification_of_its_own_number_confirms_a_delete() {
    let gateway = Gateway::start().await;
    let plan = NotificationPlan {
        reference_id_in_answers: true,
        ..NotificationPlan::default()
    };
    gateway.sandbox.genesys().set_notifications(plan).unwrap();
    let mut sms = gateway.sms();
    sms.update_user_data(update("one")).await.unwrap();
    let deleted = sms.delete_user_data(delete("Topic")).await.unwrap();
    assert_eq!(value(&deleted.into_inner().session.unwrap(), "Topic"), None);
    assert_eq!(
        (
            sent(&gateway, "GetSession"),
            settled(&gateway, "notification")
        ),
        (0, 2)
    );
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

#[tokio::test]
async fn reads_that_are_still_under_way_are_counted_too() {
    let gateway = Gateway::start().await;
    Watcher::started(&gateway, "", &[]).await;
    push(&gateway, Rule::new(Fault::Hang).operation("GetSession"));
    next_notification(&gateway, Notification::Late { ms: 2_000 });
    let answer = gateway
        .sms()
        .attach_user_data(attach("Topic", "one"))
        .await
        .unwrap();
    assert_eq!(settled(&gateway, "notification"), 1);
    let all = sent(&gateway, "AttachUserData") + sent(&gateway, "GetSession");
    assert_eq!(all, 2);
    assert_eq!(u64::from(attempts(answer.metadata())), all);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_cut_the_write() {
    let gateway = Gateway::start().await;
    let slow = Rule::new(Fault::Latency { ms: 300 }).operation("AttachUserData");
    push(&gateway, slow);
    let mut sms = gateway.sms();
    let call = tokio::spawn(async move { sms.attach_user_data(attach("Topic", "one")).await });
    until("the vendor has it", || {
        sent(&gateway, "AttachUserData") == 1
    })
    .await;
    call.abort();
    until("it is confirmed", || settled(&gateway, "notification") == 1).await;
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (1, 1)
    );
}

/// Until it is its turn nothing is sent, and nothing is owed to a caller that has left.
#[tokio::test]
async fn a_caller_that_leaves_before_its_turn_leaves_nothing_behind() {
    let gateway = Gateway::start().await;
    let in_flight = || reading(&gateway.metrics, "switchboard_in_flight", &[]);
    let spawned = |key: &'static str| {
        let mut sms = gateway.sms();
        tokio::spawn(async move { sms.attach_user_data(attach(key, "x")).await })
    };
    // It holds the turn until the test lets it see its key.
    next_notification(&gateway, Notification::Never);
    push(&gateway, Rule::new(Fault::Hang).operation("GetSession"));
    let first = spawned("First");
    until("it is written", || written(&gateway) == 1).await;
    let second = spawned("Second");
    until("it waits for its turn", || in_flight() == 2).await;
    second.abort();
    until("it has left", || in_flight() == 1).await;
    let genesys = gateway.sandbox.genesys();
    genesys.set_user_data(SESSION, genesys.user_data(SESSION).unwrap());
    assert_eq!(
        first.await.unwrap().unwrap().into_inner().outcome(),
        Outcome::Confirmed
    );
    let third = spawned("Third").await.unwrap().unwrap();
    assert_eq!(third.into_inner().outcome(), Outcome::Confirmed);
    let writes = genesys.writes();
    let keys: Vec<_> = writes.iter().map(|write| &*write.keys[0]).collect();
    assert_eq!(keys, ["First", "Third"]);
}

#[tokio::test]
async fn a_drain_waits_for_confirmations() {
    let mut gateway = Gateway::start().await;
    next_notification(&gateway, Notification::Late { ms: 500 });
    let mut sms = gateway.sms();
    let call = tokio::spawn(async move { sms.attach_user_data(attach("Topic", "one")).await });
    until("it is written", || written(&gateway) == 1).await;
    gateway.terminate();
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Confirmed);
    in_time("the drain", gateway.ended()).await.unwrap();
}

fn named(request_id: &str, confirmation: Confirmation) -> AttachUserDataRequest {
    AttachUserDataRequest {
        request_id: request_id.into(),
        confirmation: confirmation.into(),
        ..attach("Topic", "one")
    }
}

#[tokio::test]
async fn a_repeat_that_wants_confirmation_reads_and_does_not_write() {
    let gateway = Gateway::start().await;
    let mut sms = gateway.sms();
    let first = sms
        .attach_user_data(named("r1", Confirmation::Accepted))
        .await
        .unwrap();
    assert_eq!(first.into_inner().outcome(), Outcome::Accepted);
    let second = sms
        .attach_user_data(named("r1", Confirmation::Confirmed))
        .await
        .unwrap();
    assert_eq!(attempts(second.metadata()), 1);
    let second = second.into_inner();
    assert_eq!(second.outcome(), Outcome::Confirmed);
    shows(second.session.as_ref(), "Topic", "one");
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (1, 1)
    );
}

/// What was accepted and is not seen is of unknown outcome, whoever waits for it and how long.
#[tokio::test]
async fn a_repeat_that_joins_a_confirmation_is_told_that_the_outcome_is_unknown() {
    for operation in ["AttachUserData", "UpdateUserData", "DeleteUserData"] {
        let gateway = Gateway::start().await;
        let rule = NotificationRule::new(Notification::Never);
        gateway
            .sandbox
            .genesys()
            .push_notification_rule(rule)
            .unwrap();
        push(&gateway, Rule::new(Fault::Hang).operation("GetSession"));
        let write = |wait| {
            let address = gateway.address;
            async move {
                let mut sms = untimed::sms(address).await;
                let request_id = "r5".to_owned();
                let answer = match operation {
                    "AttachUserData" => {
                        let request = AttachUserDataRequest {
                            request_id,
                            ..attach("Topic", "one")
                        };
                        sms.attach_user_data(within(wait, request)).await.map(drop)
                    }
                    "UpdateUserData" => {
                        let request = UpdateUserDataRequest {
                            request_id,
                            ..update("one")
                        };
                        sms.update_user_data(within(wait, request)).await.map(drop)
                    }
                    _ => {
                        let request = DeleteUserDataRequest {
                            request_id,
                            ..delete("Topic")
                        };
                        sms.delete_user_data(within(wait, request)).await.map(drop)
                    }
                };
                answer.unwrap_err()
            }
        };
        let first = tokio::spawn(write(Duration::from_secs(20)));
        until("it is looked for", || sent(&gateway, "GetSession") > 0).await;
        first.abort();
        unknown(&write(Duration::from_millis(500)).await);
        assert_eq!((sent(&gateway, operation), written(&gateway)), (1, 1));
    }
}

#[tokio::test]
async fn a_repeat_settles_an_unknown_outcome() {
    for done in [true, false] {
        let gateway = Gateway::start().await;
        let lost = Rule::new(Fault::Reset).operation("AttachUserData").times(1);
        push(&gateway, if done { lost.after() } else { lost });
        let mut sms = gateway.sms();
        let first = sms
            .attach_user_data(named("r2", Confirmation::Accepted))
            .await;
        assert_eq!(reason(&first.unwrap_err()), "OUTCOME_UNKNOWN");
        let second = sms
            .attach_user_data(named("r2", Confirmation::Confirmed))
            .await;
        assert_eq!(sent(&gateway, "AttachUserData"), 1);
        assert_eq!(written(&gateway), usize::from(done));
        if done {
            assert_eq!(second.unwrap().into_inner().outcome(), Outcome::Confirmed);
        } else {
            let status = second.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status:?}");
            assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
        }
    }
}

/// The vendor may still be at it: what a repeat does not find may yet be done.
#[tokio::test]
async fn a_repeat_does_not_say_of_what_was_never_answered_that_it_was_not_done() {
    for (fault, failure) in [
        (Fault::Hang, "timeout"),
        (Fault::status(504), "unavailable"),
        (Fault::Garbage, "unreadable"),
    ] {
        let gateway = Gateway::start_with(|config| {
            let genesys = config.genesys.as_mut().unwrap();
            genesys.upstream.timeout.attempt = Duration::from_millis(500);
        })
        .await;
        push(&gateway, Rule::new(fault).operation("AttachUserData"));
        let mut sms = gateway.sms();
        let first = sms
            .attach_user_data(named("r3", Confirmation::Accepted))
            .await
            .unwrap_err();
        assert_eq!(first.code(), Code::Unknown);
        assert_eq!(fact(&first, "failure"), failure);
        let wait = Duration::from_millis(2_500);
        let second = attach_within(&gateway, wait, named("r3", Confirmation::Confirmed)).await;
        unknown(&second.unwrap_err());
        assert_eq!(sent(&gateway, "AttachUserData"), 1);
    }
}

/// Whoever waits for a turn in vain learns no more than before, and not that nothing is pending.
#[tokio::test]
async fn a_repeat_that_comes_to_no_turn_leaves_the_outcome_unknown() {
    let gateway = Gateway::start().await;
    push(
        &gateway,
        Rule::new(Fault::Reset)
            .operation("AttachUserData")
            .after()
            .times(1),
    );
    let mut sms = gateway.sms();
    let first = sms.attach_user_data(named("r3", Confirmation::Accepted));
    assert_eq!(reason(&first.await.unwrap_err()), "OUTCOME_UNKNOWN");
    push(&gateway, Rule::new(Fault::Hang).operation("GetSession"));
    let holds_the_turn = attach_within(
        &gateway,
        Duration::from_secs(20),
        named("r3", Confirmation::Confirmed),
    );
    let comes_too_late = async {
        until("the first one reads", || sent(&gateway, "GetSession") > 0).await;
        let wait = Duration::from_millis(500);
        attach_within(&gateway, wait, named("r3", Confirmation::Confirmed)).await
    };
    let second = tokio::select! {
        second = comes_too_late => second,
        first = holds_the_turn => panic!("it was to hold the turn: {first:?}"),
    };
    unknown(&second.unwrap_err());
    assert_eq!(sent(&gateway, "AttachUserData"), 1);
}

#[tokio::test]
async fn what_is_empty_of_it_all_is_no_confirmation() {
    // Only the keys that were written count, and their kinds.
    let gateway = Gateway::start().await;
    let user_data = Struct {
        fields: [("Number".to_owned(), support::number(42.0))].into(),
    };
    let request = UpdateUserDataRequest {
        user_data: Some(user_data),
        ..update("")
    };
    let answer = gateway
        .sms()
        .update_user_data(request)
        .await
        .unwrap()
        .into_inner();
    let seen = answer.session.unwrap().user_data.unwrap();
    assert_eq!(seen.fields["Number"], support::number(42.0));
    assert_eq!(seen.fields["FirstName"], support::text("Ann"));
}

/// Also one that is still under way when the time is over.
#[tokio::test]
async fn every_read_counts_among_the_requests_of_its_call() {
    let vendor = Vendor::start(|seen| async move {
        let writes = seen.method == Method::POST && seen.target.contains("smssessions");
        if !writes {
            std::future::pending::<()>().await;
        }
        vendor::json(r#"{"statusCode":0}"#)
    })
    .await;
    let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
    let calls = (0..16).map(async |number| {
        let session_id = format!("session-{number}");
        let request = AttachUserDataRequest {
            session_id: session_id.clone(),
            request_id: session_id.clone(),
            ..attach("Topic", "billing")
        };
        let answer = attach_within(&gateway, Duration::from_secs(2), request).await;
        (session_id, answer.unwrap_err())
    });
    for (session_id, status) in join_all(calls).await {
        assert_eq!(reason(&status), "OUTCOME_UNKNOWN");
        let calls = vendor.calls().into_iter();
        let seen = calls.filter(|seen| seen.target.ends_with(&session_id));
        let told = attempts(status.metadata());
        assert_eq!(told as usize, seen.count(), "{session_id}");
        assert_eq!(fact(&status, "attempts"), told.to_string());
    }
}
