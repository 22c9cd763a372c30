//! Handshake, subscribe, connect, events.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::{Agent, ENDPOINT, SESSION, elements, events, impatient, sandbox};

#[tokio::test]
async fn a_handshake_gives_an_id_advice_and_the_browser_cookie() {
    let sandbox = sandbox().await;
    let mut agent = Agent::logged_in(&sandbox, "agent1").await;
    let answer = agent.handshake(json!({})).await;
    let expected = json!({
        "id": "1", "channel": "/meta/handshake", "successful": true,
        "version": "1.0", "minimumVersion": "1.0", "supportedConnectionTypes": ["long-polling"],
        "clientId": agent.client,
        "advice": {"interval": 0, "timeout": 20000, "reconnect": "retry"},
    });
    assert_eq!(answer, expected);
    let browser = agent.cookies["BAYEUX_BROWSER"].clone();
    // A browser keeps its cookie over any number of clients.
    agent.handshake(json!({})).await;
    assert_eq!(agent.cookies["BAYEUX_BROWSER"], browser);
    assert_eq!(sandbox.genesys().handshakes(), 2);
    assert_eq!(sandbox.genesys().comet_clients().len(), 2);
}

#[tokio::test]
async fn a_handshake_without_long_polling_or_version_is_refused() {
    let sandbox = sandbox().await;
    let mut agent = Agent::logged_in(&sandbox, "agent1").await;
    let table = [
        (
            json!({"supportedConnectionTypes": ["long-polling"]}),
            "400::version_missing",
        ),
        (
            json!({"version": "2.0", "supportedConnectionTypes": ["long-polling"]}),
            "400::unsupported_version",
        ),
        (
            json!({"version": "1.0", "supportedConnectionTypes": ["websocket"]}),
            "400::unsupported_connection_types",
        ),
    ];
    for (mut message, error) in table {
        message["channel"] = json!("/meta/handshake");
        let answer = agent.bayeux(message).await;
        assert_eq!(
            answer,
            [
                json!({"channel": "/meta/handshake", "successful": false, "error": error, "advice": {"reconnect": "none"}})
            ]
        );
    }
    assert_eq!(sandbox.genesys().handshakes(), 0);
}

#[tokio::test]
async fn a_handshake_goes_alone() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let hello = json!({"channel": "/meta/handshake", "version": "1.0",
        "supportedConnectionTypes": ["long-polling"]});
    let answers = agent
        .bayeux(json!([hello, agent.connect_message()[0]]))
        .await;
    let refused = json!({"channel": "/meta/handshake", "successful": false,
        "error": "400::handshake_not_alone", "advice": {"reconnect": "none"}});
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0], refused);
    assert_eq!(sandbox.genesys().handshakes(), 1);
}

#[tokio::test]
async fn every_write_makes_one_event_with_the_whole_session() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let writes = [
        json!({"operationName": "AttachUserData", "userData": {"UserData1": "DATA1"}}),
        json!({"operationName": "UpdateUserData", "userData": {"UserData1": 987_654_321}}),
        json!({"operationName": "DeleteUserData", "keys": ["UserData1"]}),
    ];
    for (body, reference) in writes.into_iter().zip(1..) {
        let held = agent.held().await;
        assert_eq!(agent.write(body).await, json!({"statusCode": 0}));
        let events = events(elements(&held.await.unwrap()));
        let (_, session) = session(&mut agent).await;
        let expected = json!({
            "messageType": "SMSsessionStateChangeMessage", "notificationType": "PropertiesUpdated",
            "referenceId": reference, "smssession": session,
        });
        assert_eq!(events, [expected]);
        let writes = sandbox.genesys().writes();
        assert_eq!(writes.last().unwrap().reference_id, reference);
    }
    assert_eq!(sandbox.genesys().comet_clients()[0].delivered, 3);
}

async fn session(agent: &mut Agent) -> (u16, Value) {
    let path = format!("/api/v2/me/smssessions/{SESSION}");
    let heard = agent.send("GET", &path, "").await;
    (heard.status, heard.json()["smssession"].clone())
}

#[tokio::test]
async fn changes_from_elsewhere_are_told_as_well() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let data = json!({"by": "desktop"});
    sandbox
        .genesys()
        .set_user_data(SESSION, data.as_object().unwrap().clone());
    sandbox.genesys().set_state(SESSION, "Completed");
    let participants = sandbox.genesys().sessions("agent1")[0].participants.clone();
    sandbox
        .genesys()
        .set_participants(SESSION, participants[..1].to_vec());
    let events = agent.next_events().await;
    let types: Vec<_> = events
        .iter()
        .map(|event| &event["notificationType"])
        .collect();
    assert_eq!(
        types,
        ["PropertiesUpdated", "StatusChange", "ParticipantsUpdated"]
    );
    assert_eq!(
        (
            &events[0]["referenceId"],
            &events[0]["smssession"]["userData"]
        ),
        (&json!(1), &data)
    );
    assert_eq!(events[1]["smssession"]["state"], "Completed");
    assert_eq!(events[1].get("referenceId"), None);
    // Left out, which does not mean empty.
    assert_eq!(events[1]["smssession"].get("userData"), None);
    assert_eq!(
        events[2]["smssession"]["participants"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(sandbox.genesys().writes().is_empty());
}

#[tokio::test]
async fn only_subscribers_of_the_same_agent_hear() {
    let sandbox = impatient().await;
    let mut other = Agent::listening(&sandbox, "agent2").await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.update(1).await;
    assert!(other.next_events().await.is_empty());
    assert_eq!(agent.next_events().await.len(), 1);
    // However many patterns match, it comes once; and none matches any more, not at all.
    agent.subscribe(json!(["/**", "/v2/me/smssessions"])).await;
    agent.update(2).await;
    assert_eq!(agent.next_events().await.len(), 1);
    let all = json!(["/**", "/v2/me/smssessions", "/v2/me/*"]);
    let message =
        json!({"channel": "/meta/unsubscribe", "clientId": agent.client, "subscription": all});
    let answer = agent.bayeux(message).await;
    assert_eq!(
        (&answer[0]["successful"], &answer[0]["subscription"]),
        (&json!(true), &all)
    );
    agent.update(3).await;
    assert!(agent.next_events().await.is_empty());
}

#[tokio::test]
async fn events_ride_along_with_other_answers() {
    let sandbox = sandbox().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.update(1).await;
    let answer = agent.subscribe(json!("/v2/me/calls")).await;
    assert_eq!(answer[0]["channel"], "/meta/subscribe");
    assert_eq!(answer[1]["data"]["referenceId"], 1);
}

#[tokio::test]
async fn a_poll_lasts_as_long_as_advised_or_asked_for() {
    let sandbox = impatient().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    let start = Instant::now();
    let answer = agent.connect().await;
    assert!(start.elapsed() >= Duration::from_millis(80));
    let expected = json!({"id": "c", "channel": "/meta/connect", "successful": true, "clientId": agent.client});
    assert_eq!(answer, [expected]);
    let plan = crate::sandbox::genesys::NotificationPlan::default();
    sandbox.genesys().set_notifications(plan).unwrap();
    let mut message = agent.connect_message();
    message[0]["advice"] = json!({"timeout": 0});
    let answer = agent.bayeux(message).await;
    // New advice is told once.
    assert_eq!(answer[0]["advice"]["timeout"], 20000);
}

#[tokio::test]
async fn the_first_connect_is_answered_at_once_with_advice() {
    let sandbox = sandbox().await;
    let mut agent = Agent::logged_in(&sandbox, "agent1").await;
    agent.handshake(json!({})).await;
    let answer = agent.connect().await;
    assert_eq!(
        answer[0]["advice"],
        json!({"interval": 0, "timeout": 20000, "reconnect": "retry"})
    );
}

#[tokio::test]
async fn the_journal_knows_every_bayeux_request_by_name() {
    let sandbox = impatient().await;
    let mut agent = Agent::listening(&sandbox, "agent1").await;
    agent.connect().await;
    let both = json!([
        {"channel": "/meta/unsubscribe", "clientId": agent.client, "subscription": "/v2/me/*"},
        {"channel": "/meta/disconnect", "clientId": agent.client},
    ]);
    agent.bayeux(both).await;
    agent.bayeux(json!({"channel": "/meta/disconnect"})).await;
    agent.send("POST", ENDPOINT, "nonsense").await;
    let entries = sandbox.journal().entries();
    let names: Vec<_> = entries.iter().map(|entry| entry.operation).collect();
    assert_eq!(
        names,
        [
            "Login",
            "Handshake",
            "Subscribe",
            "Connect",
            "Connect",
            "Unsubscribe",
            "Disconnect",
            "Notifications"
        ]
    );
    assert!(
        entries[1..]
            .iter()
            .all(|entry| entry.is_notification && !entry.is_login)
    );
    assert!(!entries[0].is_notification && entries.iter().all(|entry| !entry.applied));
}
