//! Nodes that go, clients that are forgotten, logins that are missing.

use serde_json::json;

use super::{Agent, ENDPOINT, SESSION, elements, sandbox};

#[tokio::test]
async fn a_fail_over_takes_logins_and_clients_and_keeps_the_data() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let before = agent.clone();
    agent.update(1).await;
    agent.next_events().await;
    let held = agent.held().await;
    sandbox.genesys().fail_over();
    let heard = held.await.unwrap();
    assert!(heard.status == 502 && heard.text().contains("nginx"));
    assert_eq!(sandbox.genesys().http_sessions(), 0);
    let connect = agent.connect_message().to_string();
    let heard = agent.send("POST", ENDPOINT, &connect).await;
    assert_eq!(
        (heard.status, heard.text().as_str()),
        (403, "Missing or invalid Csrf token")
    );
    agent.log_in().await;
    assert!(agent.cookies["BIGipServerGWS"].starts_with("node2."));
    assert_ne!(agent.cookies["JSESSIONID"], before.cookies["JSESSIONID"]);
    assert_ne!(agent.csrf, before.csrf);
    assert_eq!(agent.connect().await[0]["error"], "402::Unknown client");
    let answer = agent.subscribe(json!("/**")).await;
    assert_eq!(
        (&answer[0]["error"], answer[0].get("advice")),
        (&json!("402::Unknown client"), None)
    );
    agent.handshake(json!({})).await;
    agent.subscribe(json!("/**")).await;
    agent.update(2).await;
    let events = agent.next_events().await;
    assert_eq!((events.len(), &events[0]["referenceId"]), (1, &json!(2)));
    assert_eq!(sandbox.genesys().user_data(SESSION).unwrap()["k"], 2);
    assert_eq!(
        (
            sandbox.genesys().handshakes(),
            sandbox.genesys().comet_clients().len()
        ),
        (2, 1)
    );
    sandbox.reset();
    agent.cookies.clear();
    agent.log_in().await;
    assert!(agent.cookies["BIGipServerGWS"].starts_with("node1."));
}

#[tokio::test]
async fn dropped_clients_are_unknown_while_logins_stay() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let held = agent.held().await;
    sandbox.genesys().drop_clients();
    let answer = elements(&held.await.unwrap());
    assert_eq!(answer[0]["error"], "402::Unknown client");
    assert_eq!(
        answer[0]["advice"],
        json!({"interval": 0, "reconnect": "handshake"})
    );
    assert!(sandbox.genesys().comet_clients().is_empty());
    assert_eq!(sandbox.genesys().http_sessions(), 1);
    agent.handshake(json!({})).await;
    assert_eq!(agent.connect().await[0]["successful"], true);
}

#[tokio::test]
async fn a_client_outlives_the_http_session_it_came_with() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let held = agent.held().await;
    sandbox.genesys().expire_sessions();
    agent.log_in().await;
    agent.update(1).await;
    assert_eq!(elements(&held.await.unwrap()).len(), 2);
    agent.update(2).await;
    assert_eq!(agent.next_events().await.len(), 1);
}

#[tokio::test]
async fn a_reset_answers_held_connects() {
    let sandbox = sandbox().await;
    let agent = Agent::listening(&sandbox, "agent1").await;
    let held = agent.held().await;
    sandbox.reset();
    assert_eq!(
        elements(&held.await.unwrap())[0]["error"],
        "402::Unknown client"
    );
    assert_eq!(
        (
            sandbox.genesys().handshakes(),
            sandbox.genesys().most_concurrent_connects()
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn bayeux_needs_the_same_login_as_rest() {
    let sandbox = sandbox().await;
    let agent = Agent::listening(&sandbox, "agent1").await;
    let connect = agent.connect_message().to_string();
    let mut stranger = agent.clone();
    stranger.name = "nobody".to_owned();
    assert_eq!(
        stranger.send("POST", ENDPOINT, &connect).await.json()["statusCode"],
        20
    );
    for lost in ["JSESSIONID", "BIGipServerGWS", "token"] {
        let mut careless = agent.clone();
        careless.cookies.remove(lost);
        if lost == "token" {
            careless.csrf.clear();
        }
        let heard = careless.send("POST", ENDPOINT, &connect).await;
        assert_eq!(
            (heard.status, heard.text().as_str()),
            (403, "Missing or invalid Csrf token")
        );
    }
    assert_eq!(sandbox.genesys().outstanding_connects("agent1"), 0);
}
