//! Deletes are shown by what is not there, as a state of before is, too.

use switchboard::pb::Confirmation;
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationPlan};

use super::{attach, delete, push, sent, settled, update};
use crate::support::watcher::{next_notification, value};
use crate::support::{Gateway, SESSION, impatient, reason};

/// Puts the topic there; a notification of the state before that is to come half a second later.
async fn tell_late_of_before(gateway: &Gateway) {
    let mut sms = gateway.sms();
    // Notifications are there from now on.
    sms.attach_user_data(attach("First", "x")).await.unwrap();
    next_notification(gateway, Notification::Late { ms: 500 });
    let accepted = Confirmation::Accepted.into();
    let mut other = attach("Other", "x");
    other.confirmation = accepted;
    sms.attach_user_data(other).await.unwrap();
    let mut topic = update("one");
    topic.confirmation = accepted;
    sms.update_user_data(topic).await.unwrap();
}

#[tokio::test]
async fn a_lost_delete_is_not_confirmed_by_a_notification_of_before() {
    let gateway = Gateway::start_with(impatient).await;
    tell_late_of_before(&gateway).await;

    push(
        &gateway,
        Rule::new(Fault::Reset).operation("DeleteUserData"),
    );
    let status = gateway
        .sms()
        .delete_user_data(delete("Topic"))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "VENDOR_UNAVAILABLE", "{status:?}");
    let held = gateway.sandbox.genesys().user_data(SESSION).unwrap();
    assert!(held.contains_key("Topic"));
}

#[tokio::test]
async fn an_accepted_delete_is_not_confirmed_by_a_notification_of_before() {
    let gateway = Gateway::start().await;
    tell_late_of_before(&gateway).await;

    // The notification comes meanwhile.
    let slow = Rule::new(Fault::Latency { ms: 700 }).operation("DeleteUserData");
    push(&gateway, slow);
    let message = "not this one".to_owned();
    next_notification(&gateway, Notification::Error { message });
    let status = gateway
        .sms()
        .delete_user_data(delete("Topic"))
        .await
        .unwrap_err();
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
