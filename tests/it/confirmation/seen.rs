//! What shows a write in place: a notification, or a read of its session.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use prost_types::Struct;
use serde_json::{Map, json};
use switchboard::pb::{AttachUserDataRequest, Outcome, UpdateUserDataRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationPlan};

use super::{attach, attach_within, delete, push, sent, settled, shows, update, written};
use crate::support::vendor::{self, Vendor};
use crate::support::watch::until;
use crate::support::watcher::{Watcher, next_notification, value};
use crate::support::{self, Gateway, SESSION, attempts, fact, reason, relocate};

/// Of the same agent.
const SECOND: &str = "0071023821aec012";

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
async fn only_the_pairs_that_were_written_count() {
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
    let mut reads = 0;
    for (session_id, status) in join_all(calls).await {
        let told = attempts(status.metadata());
        assert_eq!(fact(&status, "attempts"), told.to_string());
        // On a busy machine the time may be over before anything was sent.
        let expected = if told == 0 {
            "DEADLINE"
        } else {
            "OUTCOME_UNKNOWN"
        };
        assert_eq!(reason(&status), expected, "{session_id}");
        let seen = || {
            let calls = vendor.calls().into_iter();
            let seen = calls.filter(|seen| seen.target.ends_with(&session_id));
            seen.count()
        };
        // What was sent last may be still on its way.
        until("all that was sent", || seen() >= told as usize).await;
        assert_eq!(seen(), told as usize, "{session_id}");
        reads += told.saturating_sub(1);
    }
    assert!(reads > 0, "nothing was read");
}
