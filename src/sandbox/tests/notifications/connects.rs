//! How many connects a client may have open, and how they end.

use serde_json::json;

use super::{Agent, ENDPOINT, elements, events, sandbox, until};

#[tokio::test]
async fn a_second_connect_answers_the_first() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    assert_eq!(sandbox.genesys().most_concurrent_connects(), 1);
    let first = agent.held().await;
    let request = agent.request("POST", ENDPOINT, &agent.connect_message().to_string());
    let second = tokio::spawn(request);
    assert!(events(elements(&first.await.unwrap())).is_empty());
    agent.update(1).await;
    assert_eq!(events(elements(&second.await.unwrap())).len(), 1);
    let client = sandbox.genesys().comet_clients().remove(0);
    assert_eq!((client.most_outstanding, client.outstanding), (2, 0));
    assert_eq!(sandbox.genesys().most_concurrent_connects(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_connect() {
    use std::io::Write;
    let sandbox = sandbox().await;
    let agent = Agent::listening(&sandbox, "agent1").await;
    sandbox.genesys().set_csrf(false);
    let cookies: Vec<_> = agent
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let basic = super::basic_of("agent1");
    let headers = [
        ("Authorization", basic.as_str()),
        ("Content-Type", "application/json"),
        ("Cookie", &cookies.join("; ")),
    ];
    let bytes = super::request(
        "POST",
        ENDPOINT,
        &headers,
        &agent.connect_message().to_string(),
    );
    let mut stream = std::net::TcpStream::connect(sandbox.genesys_listener().address()).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    until("a connect is held", async || {
        sandbox.genesys().outstanding_connects("agent1") == 1
    })
    .await;
    drop(stream);
    until("none is held", async || {
        sandbox.genesys().outstanding_connects("agent1") == 0
    })
    .await;
    assert_eq!(sandbox.genesys().comet_clients().len(), 1);
}

#[tokio::test]
async fn a_disconnect_ends_the_held_connect_and_the_client() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let held = agent.held().await;
    let message = json!({"channel": "/meta/disconnect", "clientId": agent.client});
    assert_eq!(agent.bayeux(message).await[0]["successful"], true);
    let answer = elements(&held.await.unwrap());
    assert_eq!(
        (&answer[0]["successful"], &answer[0]["advice"]),
        (&json!(true), &json!({"reconnect": "none"}))
    );
    assert_eq!(agent.connect().await[0]["error"], "402::Unknown client");
}

#[tokio::test]
async fn a_connect_among_other_messages_is_not_held() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let subscribe =
        json!({"channel": "/meta/subscribe", "clientId": agent.client, "subscription": "/**"});
    let messages = json!([subscribe, agent.connect_message()[0]]);
    let answer = agent.bayeux(messages).await;
    assert_eq!(
        (&answer[0]["channel"], &answer[1]["channel"]),
        (&json!("/meta/subscribe"), &json!("/meta/connect"))
    );
}

#[tokio::test]
async fn stopping_ends_held_connects() {
    let sandbox = sandbox().await;
    let agent = Agent::listening(&sandbox, "agent1").await;
    let held = agent.held().await;
    sandbox.stop().await;
    let heard = held.await.unwrap();
    assert_eq!(
        (heard.status, heard.end),
        (0, Some(std::io::ErrorKind::ConnectionReset))
    );
    assert_eq!(sandbox.genesys().outstanding_connects("agent1"), 0);
}
