//! Confirmed writes to a session are done one after the other, and to their end.

use futures_util::future::join_all;
use switchboard::pb::{Outcome, UpdateUserDataRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationRule};

use super::{attach, push, sent, settled, shows, update, written};
use crate::support::watch::{in_time, total, until};
use crate::support::watcher::next_notification;
use crate::support::{Gateway, SESSION, data, patient};

#[tokio::test]
async fn writers_to_one_session_keep_their_order() {
    const WRITERS: usize = 30;
    let gateway = Gateway::start_with(patient).await;
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
async fn a_caller_that_leaves_does_not_cut_the_write() {
    let gateway = Gateway::start_with(patient).await;
    let slow = Rule::new(Fault::Latency { ms: 300 }).operation("AttachUserData");
    push(&gateway, slow);
    let mut sms = gateway.sms();
    let call = tokio::spawn(async move { sms.attach_user_data(attach("Topic", "one")).await });
    until("the vendor has it", || {
        sent(&gateway, "AttachUserData") == 1
    })
    .await;
    call.abort();
    // On a busy machine a read may come before the notification.
    let confirmed = || settled(&gateway, "notification") + settled(&gateway, "read");
    until("it is confirmed", || confirmed() == 1).await;
    assert_eq!(
        (sent(&gateway, "AttachUserData"), written(&gateway)),
        (1, 1)
    );
}

/// Until it is its turn nothing is sent, and nothing is owed to a caller that has left.
#[tokio::test]
async fn a_caller_that_leaves_before_its_turn_leaves_nothing_behind() {
    let gateway = Gateway::start_with(patient).await;
    let in_flight = || total(&gateway.metrics, "switchboard_in_flight", &[]);
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
    let mut gateway = Gateway::start_with(patient).await;
    next_notification(&gateway, Notification::Late { ms: 500 });
    let mut sms = gateway.sms();
    let call = tokio::spawn(async move { sms.attach_user_data(attach("Topic", "one")).await });
    until("it is written", || written(&gateway) == 1).await;
    gateway.terminate();
    let answer = call.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Confirmed);
    in_time("the drain", gateway.ended()).await.unwrap();
}
