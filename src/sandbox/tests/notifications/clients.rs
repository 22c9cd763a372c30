//! Who is known and for how long, and what faults do to the endpoint.

use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use super::{Agent, ENDPOINT, impatient, sandbox};
use crate::sandbox::faults::{Fault, Rule};
use crate::sandbox::genesys::NotificationPlan;

const HANDSHAKE_AGAIN: &str = r#"{"channel":"/meta/connect","successful":false,"error":"402::Unknown client","advice":{"interval":0,"reconnect":"handshake"}}"#;

#[tokio::test]
async fn an_unknown_client_is_advised_on_connect_only() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.client = "gone".to_owned();
    let mut answer = agent.connect().await.remove(0);
    answer.as_object_mut().unwrap().remove("id");
    assert_eq!(
        answer,
        serde_json::from_str::<serde_json::Value>(HANDSHAKE_AGAIN).unwrap()
    );
    for channel in [
        "/meta/subscribe",
        "/meta/unsubscribe",
        "/meta/disconnect",
        "/a",
        "/meta/x",
    ] {
        let message = json!({"channel": channel, "clientId": "gone", "subscription": "/**"});
        let answer = agent.bayeux(message).await;
        assert_eq!(
            answer,
            [json!({"channel": channel, "successful": false, "error": "402::Unknown client"})]
        );
    }
}

#[tokio::test]
async fn another_agent_or_browser_is_a_stranger() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let mut other = Agent::listening(&sandbox, "agent2").await;
    other.client.clone_from(&agent.client);
    other.cookies.insert(
        "BAYEUX_BROWSER".to_owned(),
        agent.cookies["BAYEUX_BROWSER"].clone(),
    );
    assert_eq!(other.connect().await[0]["error"], "402::Unknown client");
    let cookie = agent.cookies.remove("BAYEUX_BROWSER").unwrap();
    assert_eq!(agent.connect().await[0]["error"], "402::Unknown client");
    agent.cookies.insert("BAYEUX_BROWSER".to_owned(), cookie);
    agent.update(1).await;
    assert_eq!(agent.next_events().await.len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_connect_again_is_gone() {
    let sandbox = sandbox().await;
    let plan = NotificationPlan {
        timeout_ms: 1000,
        max_interval_ms: 500,
        ..Default::default()
    };
    sandbox.genesys().set_notifications(plan).unwrap();
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    // Held for longer than it may be away.
    assert!(agent.next_events().await.is_empty());
    assert_eq!(sandbox.genesys().comet_clients().len(), 1);
    sleep(Duration::from_millis(600)).await;
    assert!(sandbox.genesys().comet_clients().is_empty());
    let answer = agent.connect().await;
    assert_eq!(answer[0]["advice"]["reconnect"], "handshake");
}

#[tokio::test]
async fn faults_meet_notifications_only_by_name() {
    let sandbox = impatient().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    sandbox
        .faults()
        .replace(vec![Rule::new(Fault::status(503)).vendor("genesys")])
        .unwrap();
    assert!(agent.next_events().await.is_empty());
    assert_eq!(agent.send("POST", ENDPOINT, "nonsense").await.status, 400);
    for (operation, messages) in [
        ("Connect", agent.connect_message()),
        ("Subscribe", json!({"channel": "/meta/subscribe"})),
        ("Handshake", json!([{"channel": "/meta/handshake"}, {}])),
    ] {
        let rule = Rule::new(Fault::status(503)).operation(operation).times(1);
        sandbox.faults().replace(vec![rule]).unwrap();
        let body = messages.to_string();
        assert_eq!(agent.send("POST", ENDPOINT, &body).await.status, 503);
        assert_eq!(agent.send("POST", ENDPOINT, &body).await.status, 200);
    }
}

#[tokio::test]
async fn a_poll_can_be_slow() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.update(1).await;
    for fault in [Fault::Latency { ms: 60 }, Fault::Trickle { ms_per_byte: 1 }] {
        let rule = Rule::new(fault).operation("Connect").after().times(1);
        sandbox.faults().replace(vec![rule]).unwrap();
        let start = Instant::now();
        assert_eq!(agent.next_events().await.len(), 1);
        assert!(start.elapsed() >= Duration::from_millis(60));
        agent.update(2).await;
    }
}
