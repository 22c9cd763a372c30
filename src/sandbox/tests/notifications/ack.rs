//! The acknowledge extension.

use serde_json::{Value, json};

use super::{Agent, ENDPOINT, events, impatient, sandbox};
use crate::sandbox::faults::{Fault, Rule};
use crate::sandbox::genesys::NotificationPlan;

impl Agent {
    async fn acknowledging(sandbox: &crate::sandbox::Sandbox) -> (Self, i64) {
        let mut agent = Self::logged_in(sandbox, "agent1").await;
        let answer = agent.handshake(json!({"ack": true})).await;
        assert_eq!(answer["ext"], json!({"ack": true}));
        agent.subscribe(json!("/**")).await;
        let (_, batch) = agent.connect_with_ack(-1).await;
        (agent, batch)
    }

    async fn connect_with_ack(&mut self, acknowledged: i64) -> (Vec<Value>, i64) {
        let mut message = self.connect_message();
        message[0]["ext"] = json!({"ack": acknowledged});
        let answer = self.bayeux(message).await;
        let batch = answer.last().unwrap()["ext"]["ack"].as_i64().unwrap();
        let references = events(answer).into_iter();
        (
            references
                .map(|event| event["referenceId"].clone())
                .collect(),
            batch,
        )
    }
}

#[tokio::test]
async fn events_come_again_until_they_are_acknowledged() {
    let sandbox = impatient().await;
    let (mut agent, zeroth) = Agent::acknowledging(&sandbox).await;
    agent.update(1).await;
    let (events, first) = agent.connect_with_ack(zeroth).await;
    assert_eq!(events, [1]);
    // As if that answer had been lost.
    agent.update(2).await;
    let (events, second) = agent.connect_with_ack(zeroth).await;
    assert_eq!(events, [1, 2]);
    assert!(zeroth < first && first < second);
    assert_eq!(sandbox.genesys().comet_clients()[0].pending, 2);
    let (events, third) = agent.connect_with_ack(first).await;
    assert_eq!(events, [2]);
    let (events, _) = agent.connect_with_ack(third).await;
    assert_eq!(events, Vec::<Value>::new());
    let client = sandbox.genesys().comet_clients().remove(0);
    assert_eq!((client.delivered, client.pending, client.ack), (4, 0, true));
}

#[tokio::test]
async fn an_answer_that_was_lost_comes_again() {
    let sandbox = sandbox().await;
    let (mut agent, batch) = Agent::acknowledging(&sandbox).await;
    agent.update(1).await;
    let lost = Rule::new(Fault::Reset).operation("Connect").after();
    sandbox.faults().replace(vec![lost.times(1)]).unwrap();
    let message = agent.connect_message().to_string();
    assert_eq!(agent.send("POST", ENDPOINT, &message).await.status, 0);
    assert_eq!(sandbox.genesys().comet_clients()[0].delivered, 1);
    assert_eq!(agent.connect_with_ack(batch).await.0, [1]);
}

#[tokio::test]
async fn without_it_a_lost_answer_takes_its_events_along() {
    let sandbox = impatient().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.update(1).await;
    let lost = Rule::new(Fault::Reset).operation("Connect").after();
    sandbox.faults().replace(vec![lost.times(1)]).unwrap();
    let message = agent.connect_message().to_string();
    assert_eq!(agent.send("POST", ENDPOINT, &message).await.status, 0);
    assert!(agent.next_events().await.is_empty());
}

#[tokio::test]
async fn what_is_to_be_acknowledged_comes_with_connects_only() {
    let sandbox = impatient().await;
    let (mut agent, batch) = Agent::acknowledging(&sandbox).await;
    agent.update(1).await;
    assert_eq!(agent.subscribe(json!("/v2/me/*")).await.len(), 1);
    assert_eq!(agent.connect_with_ack(batch).await.0, [1]);
}

#[tokio::test]
async fn it_takes_both_sides() {
    let sandbox = impatient().await;
    let mut agent = Agent::logged_in(&sandbox, "agent1").await;
    assert_eq!(agent.handshake(json!({})).await.get("ext"), None);
    let plan = NotificationPlan {
        ack: false,
        ..Default::default()
    };
    sandbox.genesys().set_notifications(plan).unwrap();
    assert_eq!(agent.handshake(json!({"ack": true})).await.get("ext"), None);
    agent.subscribe(json!("/**")).await;
    agent.update(1).await;
    let answer = agent.connect().await;
    assert_eq!((answer.len(), answer[1].get("ext")), (2, None));
}
