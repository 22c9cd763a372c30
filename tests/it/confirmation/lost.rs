//! Writes whose answer was lost, or that were lost behind the vendor: never "fine" and never "not done"
//! but where it is so.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response};
use switchboard::pb::Outcome;
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationRule};
use tonic::Code;

use super::{attach, attach_within, delete, push, sent, settled, shows, unknown, update, written};
use crate::support::untimed::{self, within};
use crate::support::vendor::{self, Vendor};
use crate::support::watch::{total, until};
use crate::support::watcher::{Watcher, next_notification, value};
use crate::support::{Gateway, SESSION, attempts, fact, impatient, reason, relocate};

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
        let retries = total(&gateway.metrics, "switchboard_retries_total", &[]);
        assert_eq!(retries, 1);
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

/// Nobody knows whether there is none, or the answer leaves it out.
#[tokio::test]
async fn a_lost_attach_is_not_sent_again_where_reads_tell_no_user_data() {
    let vendor = Vendor::start(|seen| async move {
        let of_sessions = seen.target.contains("smssessions");
        match (seen.method, of_sessions) {
            (Method::POST, true) => {
                let lost = Response::builder().status(502);
                lost.body(Bytes::new()).unwrap()
            }
            (Method::GET, true) => {
                let session = format!(r#"{{"id":"{SESSION}","state":"Chatting"}}"#);
                vendor::json(format!(r#"{{"statusCode":0,"smssession":{session}}}"#))
            }
            _ => std::future::pending().await,
        }
    })
    .await;
    let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
    let wait = Duration::from_millis(3_500);
    let answer = attach_within(&gateway, wait, attach("Topic", "one")).await;
    unknown(&answer.unwrap_err());
    let writes = vendor.calls().into_iter();
    let writes = writes.filter(|seen| seen.method == Method::POST);
    let attaches = writes.filter(|seen| seen.target.contains("smssessions"));
    assert_eq!(attaches.count(), 1);
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

/// What the first sending left open is settled: the refusal of the second one is the answer.
#[tokio::test]
async fn a_lost_attach_that_is_refused_when_it_is_sent_again_is_refused() {
    let gateway = Gateway::start().await;
    let lost = Rule::new(Fault::Reset).operation("AttachUserData").times(1);
    push(&gateway, lost);
    let denied = Fault::VendorCode {
        code: 5.into(),
        message: "no".into(),
    };
    push(&gateway, Rule::new(denied).operation("AttachUserData"));
    let attached = gateway.sms().attach_user_data(attach("Topic", "one")).await;
    assert_eq!(reason(&attached.unwrap_err()), "VENDOR_DENIED");
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (2, 0)
    );
}

/// Two reads a second apart take too much of this caller's time for more than an answer.
#[tokio::test]
async fn a_lost_attach_is_not_sent_again_with_no_time_left_to_look_for_it() {
    let gateway = Gateway::start().await;
    let lost = Rule::new(Fault::Reset).operation("AttachUserData").times(1);
    push(&gateway, lost);
    let wait = Duration::from_millis(1_800);
    let answer = attach_within(&gateway, wait, attach("Topic", "one")).await;
    answer.unwrap_err();
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (1, 0)
    );
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
