//! Each kind of notification, and when it comes relative to the answer.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::{Agent, SESSION, elements, events, impatient, plan, sandbox, until};
use crate::sandbox::genesys::{Notification, NotificationPlan, NotificationRule};

fn references(events: &[Value]) -> Vec<Option<u64>> {
    events
        .iter()
        .map(|event| event["referenceId"].as_u64())
        .collect()
}

#[tokio::test]
async fn before_answer_keeps_the_answer_back_until_the_event_was_fetched() {
    let sandbox = sandbox().await;
    plan(&sandbox, Notification::BeforeAnswer);
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let mut writer = agent.clone();
    let write = tokio::spawn(async move { writer.update(1).await });
    until("the write is done", async || {
        !sandbox.genesys().writes().is_empty()
    })
    .await;
    // Nothing tells that an answer does not come; it would be there within a millisecond or two.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!write.is_finished());
    assert_eq!(references(&agent.next_events().await), [Some(1)]);
    assert_eq!(write.await.unwrap(), json!({"statusCode": 0}));
}

#[tokio::test]
async fn before_answer_needs_no_subscriber() {
    let sandbox = sandbox().await;
    plan(&sandbox, Notification::BeforeAnswer);
    let mut agent = Agent::logged_in(&sandbox, "agent1").await;
    let start = Instant::now();
    assert_eq!(agent.update(1).await, json!({"statusCode": 0}));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn late_comes_after_the_answer() {
    let sandbox = sandbox().await;
    plan(&sandbox, Notification::Late { ms: 400 });
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let held = agent.held().await;
    let start = Instant::now();
    agent.update(1).await;
    assert!(!held.is_finished());
    assert_eq!(
        references(&events(elements(&held.await.unwrap()))),
        [Some(1)]
    );
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[tokio::test]
async fn never_applies_and_keeps_silent() {
    let sandbox = impatient().await;
    plan(&sandbox, Notification::Never);
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.update(1).await;
    assert!(agent.next_events().await.is_empty());
    assert_eq!(sandbox.genesys().user_data(SESSION).unwrap()["k"], 1);
}

#[tokio::test]
async fn twice_is_the_same_event_again() {
    let sandbox = sandbox().await;
    plan(&sandbox, Notification::Twice);
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.update(1).await;
    let events = agent.next_events().await;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0], events[1]);
    assert_eq!(sandbox.genesys().writes().len(), 1);
}

#[tokio::test]
async fn an_error_comes_instead_of_the_change() {
    let sandbox = sandbox().await;
    let message = "Session ended".to_owned();
    plan(&sandbox, Notification::Error { message });
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    assert_eq!(agent.update(1).await, json!({"statusCode": 0}));
    let expected = json!({
        "messageType": "SMSsessionStateChangeMessage", "notificationType": "Error", "referenceId": 1,
        "smssession": {"id": SESSION, "uri": format!("http://127.0.0.1:8090/api/v2/me/smssessions/{SESSION}")},
        "errorCode": 4, "errorMessage": "Session ended",
    });
    assert_eq!(agent.next_events().await, [expected]);
    assert!(sandbox.genesys().writes().is_empty());
    assert_eq!(sandbox.genesys().user_data(SESSION).unwrap().get("k"), None);
    let entries = sandbox.journal().entries();
    assert!(entries.iter().all(|entry| !entry.applied));
}

#[tokio::test]
async fn rules_are_by_operation_and_times_and_count_references_on() {
    let sandbox = sandbox().await;
    let rules = [
        NotificationRule::new(Notification::Never).operation("DeleteUserData"),
        NotificationRule::new(Notification::WithoutReferenceId).times(1),
    ];
    for rule in rules {
        sandbox.genesys().push_notification_rule(rule).unwrap();
    }
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.update(1).await;
    agent
        .write(json!({"operationName": "DeleteUserData", "keys": ["k"]}))
        .await;
    agent.update(2).await;
    let events = agent.next_events().await;
    assert_eq!(references(&events), [None, Some(3)]);
    assert_eq!(events[0]["smssession"]["userData"]["k"], 1);
    assert_eq!(sandbox.genesys().notifications().rules[1].times, Some(0));
}

#[tokio::test]
async fn answers_carry_the_reference_if_asked_to() {
    let sandbox = sandbox().await;
    let plan = NotificationPlan {
        reference_id_in_answers: true,
        ..Default::default()
    };
    sandbox.genesys().set_notifications(plan).unwrap();
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let mut other = Agent::listening(&sandbox, "agent2").await;
    assert_eq!(
        agent.update(1).await,
        json!({"statusCode": 0, "referenceId": 1})
    );
    assert_eq!(agent.update(2).await["referenceId"], 2);
    // Another agent's numbers are their own.
    let update = r#"{"operationName":"UpdateUserData","userData":{"k":1}}"#;
    let path = "/api/v2/me/smssessions/0071023821aec021";
    assert_eq!(
        other.send("POST", path, update).await.json()["referenceId"],
        1
    );
    // What is refused uses none up.
    let refused = other
        .send("POST", "/api/v2/me/smssessions/none", update)
        .await;
    assert_eq!(
        (refused.status, refused.json().get("referenceId")),
        (404, None)
    );
    assert_eq!(
        other.send("POST", path, update).await.json()["referenceId"],
        2
    );
}
