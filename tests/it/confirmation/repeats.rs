//! A repeat under the same `request_id` settles what the first call left open, and writes nothing.

use std::time::Duration;

use switchboard::pb::{
    AttachUserDataRequest, Confirmation, DeleteUserDataRequest, Outcome, UpdateUserDataRequest,
};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationRule};
use tonic::Code;

use super::{attach, attach_within, delete, named, push, sent, shows, unknown, update, written};
use crate::support::untimed::{self, within};
use crate::support::watch::until;
use crate::support::{Gateway, attempts, fact, reason};

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
