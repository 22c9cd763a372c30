//! The plan from outside the process.

use serde_json::json;

use super::super::control;
use super::{Agent, sandbox};

#[tokio::test]
async fn the_plan_is_shown_replaced_and_cleared() {
    let sandbox = sandbox().await;
    let plain = json!({
        "rules": [], "reference_id_in_answers": false, "ack": true,
        "timeout_ms": 20000, "interval_ms": 0, "max_interval_ms": 10000,
    });
    assert_eq!(
        control(&sandbox, "GET", "/notifications", "").await.json(),
        plain
    );
    let kinds = [
        json!({"kind": "normal"}),
        json!({"kind": "before_answer"}),
        json!({"kind": "late", "ms": 5}),
        json!({"kind": "never"}),
        json!({"kind": "twice"}),
        json!({"kind": "error", "message": "no"}),
        json!({"kind": "without_reference_id"}),
    ];
    let rules = kinds.map(|kind| json!({"operation": "AttachUserData", "times": 1, "probability": 0.5, "notification": kind}));
    let mut plan = json!({"rules": rules, "timeout_ms": 100, "reference_id_in_answers": true});
    let heard = control(&sandbox, "PUT", "/notifications", &plan.to_string()).await;
    for field in ["ack", "interval_ms", "max_interval_ms"] {
        plan[field] = plain[field].clone();
    }
    assert_eq!((heard.status, heard.json()), (200, plan));
    // What GET shows, PUT takes.
    let shown = control(&sandbox, "GET", "/notifications", "").await.text();
    assert_eq!(
        control(&sandbox, "PUT", "/notifications", &shown)
            .await
            .status,
        200
    );
    assert_eq!(
        control(&sandbox, "DELETE", "/notifications", "")
            .await
            .status,
        204
    );
    assert_eq!(
        control(&sandbox, "GET", "/notifications", "").await.json(),
        plain
    );
}

#[tokio::test]
async fn a_bad_plan_is_refused_in_words_and_the_old_one_stays() {
    let sandbox = sandbox().await;
    control(&sandbox, "PUT", "/notifications", r#"{"ack":false}"#).await;
    let table = [
        ("{", "EOF while parsing"),
        (r#"{"rule":[]}"#, "unknown field `rule`"),
        (r#"{"rules":[{}]}"#, "missing field `notification`"),
        (
            r#"{"rules":[{"notification":{"kind":"lost"}}]}"#,
            "unknown variant `lost`",
        ),
        (
            r#"{"rules":[{"notification":{"kind":"late"}}]}"#,
            "missing field `ms`",
        ),
        (
            r#"{"rules":[{"notification":{"kind":"never","ms":1}}]}"#,
            "unknown field `ms`",
        ),
        (
            r#"{"rules":[{"operation":"GetSession","notification":{"kind":"never"}}]}"#,
            r#"unknown operation "GetSession": it is one of AttachUserData, UpdateUserData, DeleteUserData"#,
        ),
        (
            r#"{"rules":[{"probability":2,"notification":{"kind":"never"}}]}"#,
            "probability 2 is not between 0 and 1",
        ),
        (
            r#"{"rules":[{"notification":{"kind":"late","ms":86400001}}]}"#,
            "86400001 ms is more than a day",
        ),
        (
            r#"{"timeout_ms":18446744073709551615}"#,
            "is more than a day",
        ),
    ];
    for (plan, reason) in table {
        let heard = control(&sandbox, "PUT", "/notifications", plan).await;
        let message = heard.json()["error"].as_str().unwrap().to_owned();
        assert!(
            heard.status == 400 && message.contains(reason),
            "{plan}: {message}"
        );
    }
    assert!(!sandbox.genesys().notifications().ack);
}

#[tokio::test]
async fn nodes_and_clients_are_shaken_and_seen() {
    let sandbox = sandbox().await;
    Agent::listening(&sandbox, "agent1").await;
    let comet = |state: serde_json::Value| state["genesys"]["comet"].clone();
    let shown = comet(control(&sandbox, "GET", "/state", "").await.json());
    let client = json!({
        "agent": "agent1", "ack": false, "subscriptions": ["/v2/me/*"],
        "outstanding": 0, "most_outstanding": 1, "delivered": 0, "pending": 0,
    });
    assert_eq!(
        shown,
        json!({"clients": [client], "handshakes": 1, "most_concurrent_connects": 1})
    );
    assert_eq!(
        control(&sandbox, "POST", "/genesys/drop-clients", "")
            .await
            .status,
        204
    );
    assert_eq!(
        (
            sandbox.genesys().comet_clients().len(),
            sandbox.genesys().http_sessions()
        ),
        (0, 1)
    );
    assert_eq!(
        control(&sandbox, "POST", "/genesys/fail-over", "")
            .await
            .status,
        204
    );
    assert_eq!(sandbox.genesys().http_sessions(), 0);
    let help = control(&sandbox, "GET", "/", "").await.text();
    for word in [
        "/notifications",
        "/genesys/fail-over",
        "/genesys/drop-clients",
        "Handshake",
        "before_answer",
    ] {
        assert!(help.contains(word));
    }
    // Ids by which a client could be taken over are not shown.
    let shown = control(&sandbox, "GET", "/requests?operation=Handshake", "")
        .await
        .json();
    assert_eq!(shown[0]["response_body"][0]["clientId"], "(censored)");
}
