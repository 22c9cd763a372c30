//! The control endpoint, round trip and refusals.

use serde_json::{Value, json};

use super::{attach, control, genesys, query, sandbox, token};
use crate::sandbox::aicc::AICC_SECRET;

#[tokio::test]
async fn faults_are_set_used_up_and_cleared() {
    let sandbox = sandbox().await;
    let rules = json!([
        {"vendor": "genesys", "operation": "AttachUserData", "times": 1, "stage": "after", "fault": {"kind": "html", "status": 502}},
        {"fault": {"kind": "vendor_code", "code": "0401000", "message": "no"}},
    ]);
    let heard = control(&sandbox, "PUT", "/faults", &rules.to_string()).await;
    assert_eq!(heard.status, 200);
    assert_eq!(attach(&sandbox).await.status, 502);
    assert_eq!(attach(&sandbox).await.json()["statusCode"], "0401000");
    let shown = control(&sandbox, "GET", "/faults", "").await.json();
    assert_eq!(
        (&shown[0]["times"], &shown[1]["times"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(shown[1]["fault"], rules[1]["fault"]);
    // What GET shows, PUT takes.
    assert_eq!(
        control(&sandbox, "PUT", "/faults", &shown.to_string())
            .await
            .status,
        200
    );
    assert_eq!(control(&sandbox, "DELETE", "/faults", "").await.status, 204);
    assert_eq!(
        control(&sandbox, "GET", "/faults", "").await.json(),
        json!([])
    );
}

#[tokio::test]
async fn a_bad_plan_is_refused_in_words_and_the_old_one_stays() {
    let sandbox = sandbox().await;
    control(
        &sandbox,
        "PUT",
        "/faults",
        r#"[{"fault":{"kind":"reset"}}]"#,
    )
    .await;
    let table = [
        ("[", "EOF while parsing"),
        ("{}", "invalid type: map, expected a sequence"),
        (
            r#"[{"fault":{"kind":"reset"},"time":1}]"#,
            "unknown field `time`",
        ),
        (
            r#"[{"fault":{"kind":"reset","ms":1}}]"#,
            "unknown field `ms`",
        ),
        (
            r#"[{"fault":{"kind":"latency","seconds":1}}]"#,
            "unknown field `seconds`",
        ),
        (r#"[{"fault":{"kind":"latency"}}]"#, "missing field `ms`"),
        (r#"[{"fault":{"kind":"flood"}}]"#, "unknown variant `flood`"),
        (
            r#"[{"stage":"during","fault":{"kind":"reset"}}]"#,
            "unknown variant `during`",
        ),
        (
            r#"[{"vendor":"avaya","fault":{"kind":"reset"}}]"#,
            r#"unknown vendor "avaya": it is one of genesys, aicc"#,
        ),
        (
            r#"[{"operation":"attach","fault":{"kind":"reset"}}]"#,
            r#"unknown operation "attach": it is one of Login,"#,
        ),
        (
            r#"[{"probability":1.5,"fault":{"kind":"reset"}}]"#,
            "probability 1.5 is not between 0 and 1",
        ),
        (
            r#"[{"fault":{"kind":"html","status":100}}]"#,
            "status 100 is not between 200 and 599",
        ),
        (
            r#"[{"fault":{"kind":"throttle","retry_after":"1\n"}}]"#,
            "cannot be the value of a header",
        ),
        (
            r#"[{"fault":{"kind":"oversize","bytes":1000000000}}]"#,
            "a body of 1000000000 bytes is more than",
        ),
    ];
    for (plan, reason) in table {
        let heard = control(&sandbox, "PUT", "/faults", plan).await;
        let message = heard.json()["error"].as_str().unwrap().to_owned();
        assert!(
            heard.status == 400 && message.contains(reason),
            "{plan}: {message}"
        );
    }
    assert_eq!(sandbox.faults().rules().len(), 1);
}

#[tokio::test]
async fn requests_are_shown_without_secrets() {
    let sandbox = sandbox().await;
    query(&sandbox).await;
    genesys(&sandbox, "GET", "/api/v2/me", "").await;
    let shown = control(&sandbox, "GET", "/requests", "").await;
    let entries = shown.json();
    assert_eq!(entries[0]["operation"], "Token");
    assert_eq!(entries[0]["request_body"]["app_secret"], "(censored)");
    assert_eq!(entries[0]["response_body"]["AccessToken"], "(censored)");
    assert_eq!(entries[0]["response_body"]["Expires"], "600");
    assert_eq!(
        entries[1]["request_headers"]["authorization"],
        json!(["(censored)"])
    );
    assert_eq!(
        entries[2]["response_headers"]["set-cookie"],
        json!(["(censored)", "(censored)"])
    );
    assert_eq!(
        entries[2]["response_headers"]["x-csrf-token"],
        json!(["(censored)"])
    );
    assert_eq!(
        entries[2]["response_headers"]["x-csrf-header"],
        json!(["X-CSRF-TOKEN"])
    );
    for entry in sandbox.journal().entries() {
        for secret in ["authorization", "set-cookie", "x-csrf-token"] {
            let values = entry.request_headers.get_all(secret).iter();
            for value in values.chain(entry.response_headers.get_all(secret).iter()) {
                assert!(!shown.text().contains(value.to_str().unwrap()));
            }
        }
    }
    assert!(!shown.text().contains(AICC_SECRET));
}

#[tokio::test]
async fn requests_are_filtered_and_forgotten() {
    let sandbox = sandbox().await;
    query(&sandbox).await;
    query(&sandbox).await;
    attach(&sandbox).await;
    let operations = |shown: Value| -> Vec<_> {
        let entries = shown.as_array().unwrap().clone();
        entries
            .into_iter()
            .map(|entry| entry["operation"].as_str().unwrap().to_owned())
            .collect()
    };
    let shown = control(&sandbox, "GET", "/requests?vendor=aicc&last=3", "").await;
    assert_eq!(operations(shown.json()), ["query", "Token", "query"]);
    let shown = control(&sandbox, "GET", "/requests?operation=AttachUserData", "").await;
    assert_eq!(operations(shown.json()), ["AttachUserData"]);
    let heard = control(&sandbox, "GET", "/requests?vendors=aicc", "").await;
    assert!(heard.status == 400 && heard.text().contains("unknown field `vendors`"));
    for (typo, words) in [
        ("vendor=genesis", "unknown vendor"),
        ("operation=Attach", "unknown operation"),
        ("vendor=aicc&operation=AttachUserData", "unknown operation"),
    ] {
        let heard = control(&sandbox, "GET", &format!("/requests?{typo}"), "").await;
        assert!(
            heard.status == 400 && heard.text().contains(words),
            "{typo}"
        );
    }
    assert_eq!(
        control(&sandbox, "DELETE", "/requests", "").await.status,
        204
    );
    assert_eq!(
        control(&sandbox, "GET", "/requests", "").await.json(),
        json!([])
    );
    assert_eq!(sandbox.journal().count("aicc", "query"), 0);
}

#[tokio::test]
async fn logins_expire_on_demand() {
    let sandbox = sandbox().await;
    token(&sandbox).await;
    genesys(&sandbox, "GET", "/api/v2/me", "").await;
    assert_eq!(
        (sandbox.aicc().tokens(), sandbox.genesys().http_sessions()),
        (1, 1)
    );
    assert_eq!(
        control(&sandbox, "POST", "/aicc/expire-tokens", "")
            .await
            .status,
        204
    );
    assert_eq!(
        control(&sandbox, "POST", "/genesys/expire-sessions", "")
            .await
            .status,
        204
    );
    assert_eq!(
        (sandbox.aicc().tokens(), sandbox.genesys().http_sessions()),
        (0, 0)
    );
}

#[tokio::test]
async fn csrf_is_switched() {
    let sandbox = sandbox().await;
    assert_eq!(
        control(&sandbox, "PUT", "/genesys/csrf", r#"{"enabled":false}"#)
            .await
            .status,
        204
    );
    let heard = genesys(&sandbox, "GET", "/api/v2/me", "").await;
    assert_eq!(heard.header("x-csrf-header"), None);
    let heard = control(
        &sandbox,
        "PUT",
        "/genesys/csrf",
        r#"{"enabled":true,"now":1}"#,
    )
    .await;
    assert!(heard.status == 400 && heard.text().contains("unknown field `now`"));
}

#[tokio::test]
async fn the_state_is_shown_and_reset() {
    let sandbox = sandbox().await;
    control(
        &sandbox,
        "PUT",
        "/faults",
        r#"[{"fault":{"kind":"latency","ms":0}}]"#,
    )
    .await;
    attach(&sandbox).await;
    let state = control(&sandbox, "GET", "/state", "").await.json();
    assert_eq!(
        state["genesys"]["sms_sessions"][0]["session"]["userData"]["UserData1"],
        "DATA1"
    );
    assert_eq!(
        state["genesys"]["attaches"],
        json!([["0071023821aec011", "UserData1"]])
    );
    assert_eq!(state["aicc"]["records"][0]["id"], "1307145259662215169");
    assert_eq!(control(&sandbox, "POST", "/reset", "").await.status, 204);
    let state = control(&sandbox, "GET", "/state", "").await.json();
    assert_eq!(state["genesys"]["writes"], json!([]));
    assert_eq!(state["genesys"]["csrf"], json!(true));
    assert!(sandbox.faults().rules().is_empty() && sandbox.journal().entries().is_empty());
}

#[tokio::test]
async fn the_help_lists_every_path_and_other_paths_point_to_it() {
    let sandbox = sandbox().await;
    let help = control(&sandbox, "GET", "/", "").await.text();
    for path in [
        "/faults",
        "/requests",
        "/state",
        "/reset",
        "/genesys/csrf",
        "/aicc/expire-tokens",
    ] {
        assert!(help.contains(path));
    }
    let heard = control(&sandbox, "GET", "/fault", "").await;
    assert!(heard.status == 404 && heard.text().contains("GET / lists them"));
    let heard = control(&sandbox, "GET", "/reset", "").await;
    assert!(heard.status == 405 && heard.text().contains("GET / lists them"));
}
