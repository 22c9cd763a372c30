//! Input that is no Bayeux, or none that makes sense.

use serde_json::json;

use super::{Agent, ENDPOINT, sandbox};

#[tokio::test]
async fn what_is_no_message_is_a_bad_request() {
    let sandbox = sandbox().await;
    let mut agent = Agent::logged_in(&sandbox, "agent1").await;
    let deep = "[".repeat(100_000);
    for body in [
        "", "nonsense", "1", "null", "[1]", "[{},[]]", "[[{}]]", "{", &deep,
    ] {
        let heard = agent.send("POST", ENDPOINT, body).await;
        assert_eq!(heard.status, 400, "{:.20}", body);
    }
    let heard = agent.send("GET", ENDPOINT, "").await;
    assert_eq!(
        (heard.status, heard.text().as_str()),
        (400, "Unknown Bayeux Transport")
    );
    assert_eq!(agent.send("PUT", ENDPOINT, "[]").await.status, 405);
    assert_eq!(
        agent.bayeux(json!([])).await,
        Vec::<serde_json::Value>::new()
    );
}

#[tokio::test]
async fn each_message_gets_an_answer_of_its_own() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let client = agent.client.clone();
    let table = [
        (
            json!({"id": 7}),
            json!({"id": 7, "successful": false, "error": "400::channel_missing"}),
        ),
        (
            json!({"channel": 1, "clientId": client}),
            json!({"channel": 1, "successful": false, "error": "400::channel_missing"}),
        ),
        (
            json!({"channel": "/v2/me/smssessions", "clientId": client, "data": {}}),
            json!({"channel": "/v2/me/smssessions", "successful": false, "error": "403:/v2/me/smssessions:publish_denied"}),
        ),
        (
            json!({"channel": "/meta/subscribe", "clientId": client}),
            json!({"channel": "/meta/subscribe", "successful": false, "error": "403::subscription_missing"}),
        ),
        (
            json!({"channel": "/meta/subscribe", "clientId": client, "subscription": "/*/a"}),
            json!({"channel": "/meta/subscribe", "successful": false, "error": "403::subscription_invalid", "subscription": "/*/a"}),
        ),
        (
            json!({"channel": "/meta/connect", "clientId": client, "connectionType": "websocket"}),
            json!({"channel": "/meta/connect", "successful": false, "error": "400::unsupported_connection_type"}),
        ),
        (
            json!({"channel": "/meta/subscribe", "clientId": {}, "subscription": "/**"}),
            json!({"channel": "/meta/subscribe", "successful": false, "error": "402::Unknown client"}),
        ),
    ];
    let (messages, expected): (Vec<_>, Vec<_>) = table.into_iter().unzip();
    assert_eq!(agent.bayeux(json!(messages)).await, expected);
}
