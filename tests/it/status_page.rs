//! The status page and its JSON twin tell the truth about what went wrong, and put nobody's text
//! where it could act.

use std::time::Duration;

use serde_json::Value;
use switchboard::sandbox::faults::{Fault, Rule};
use tonic::Request;

use crate::admin;
use crate::support::calls::{ALL, Call};
use crate::support::watch::{in_time, total, until};
use crate::support::{Gateway, SESSION, USER, impatient};

async fn status(gateway: &Gateway) -> Value {
    let (code, text) = admin::get(gateway, "/status.json").await;
    assert_eq!(code, 200);
    serde_json::from_str(&text).unwrap()
}

fn vendor<'a>(status: &'a Value, name: &str) -> &'a Value {
    let vendors = status["vendors"].as_array().unwrap();
    vendors.iter().find(|it| it["name"] == name).unwrap()
}

fn counted(vendor: &Value, outcome: &str) -> u64 {
    let buckets = vendor["buckets"].as_array().unwrap();
    buckets.iter().map(|it| it[outcome].as_u64().unwrap()).sum()
}

/// The gateway with a breaker that opens with the first failed attempt, and stays so.
async fn jumpy() -> Gateway {
    Gateway::start_with(|config| {
        impatient(config);
        let breaker = &mut config.genesys.as_mut().unwrap().upstream.breaker;
        breaker.enabled = true;
        breaker.min_calls = 1;
        breaker.failure_percent = 1;
        breaker.open = Duration::from_secs(3600);
    })
    .await
}

#[tokio::test]
async fn an_outage_shows_at_its_vendor_and_in_the_calls_that_failed() {
    let gateway = jumpy().await;
    for call in ALL {
        call.send(&gateway).await.unwrap();
    }
    let down = Rule::new(Fault::status(503)).operation("GetSession");
    gateway.sandbox.faults().push(down).unwrap();
    Call::GetSession.send(&gateway).await.unwrap_err();
    Call::GetSession.send(&gateway).await.unwrap_err();

    let status = status(&gateway).await;
    assert_eq!(status["phase"], "ready");
    let (genesys, aicc) = (vendor(&status, "genesys"), vendor(&status, "aicc"));
    assert_eq!(genesys["breaker"]["state"], "open");
    assert_eq!(aicc["breaker"]["state"], "closed");
    assert_eq!(
        (counted(genesys, "failed"), counted(aicc, "failed")),
        (1, 0)
    );
    // What was sent and what is told are the same, logins included.
    let sent = gateway.sandbox.journal().entries();
    let told = ["ok", "refused", "failed"]
        .map(|outcome| counted(genesys, outcome) + counted(aicc, outcome));
    assert_eq!(told.iter().sum::<u64>(), sent.len() as u64);

    let reasons: Vec<_> = status["failed_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["CIRCUIT_OPEN", "CIRCUIT_OPEN"]);
}

/// A vendor that is well looks well, however impatient its callers are.
#[tokio::test]
async fn a_request_that_nobody_waited_for_is_no_failure_of_the_vendors() {
    let gateway = Gateway::start().await;
    Call::GetSession.send(&gateway).await.unwrap();
    let slow = Rule::new(Fault::Hang).operation("GetSession");
    gateway.sandbox.faults().push(slow).unwrap();
    let journal = gateway.sandbox.journal();
    tokio::select! {
        _ = Call::GetSession.send(&gateway) => panic!("it hangs"),
        () = until("the request", || journal.count("genesys", "GetSession") == 2) => {}
    }
    let ended = [("operation", "GetSession"), ("outcome", "cancelled")];
    until("its end", || {
        total(
            &gateway.metrics,
            "switchboard_vendor_attempts_total",
            &ended,
        ) == 1
    })
    .await;
    let status = status(&gateway).await;
    let lately = &vendor(&status, "genesys")["lately"];
    assert_eq!(
        (&lately["failed"], &lately["success"]),
        (&0.into(), &1.0.into())
    );
    assert_eq!(lately["cancelled"], 1);
}

#[tokio::test]
async fn a_failed_call_tells_reason_vendor_status_and_the_callers_id() {
    let gateway = Gateway::start_with(impatient).await;
    gateway
        .sandbox
        .faults()
        .push(Rule::new(Fault::status(400)).operation("GetSession"))
        .unwrap();
    let hostile = "</script><img src=x onerror=alert(1)>";
    let mut request = Request::new(switchboard::pb::GetSessionRequest {
        session_id: SESSION.to_owned(),
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("x-request-id", hostile.parse().unwrap());
    gateway.sms().get_session(request).await.unwrap_err();

    let status = status(&gateway).await;
    let call = &status["failed_calls"][0];
    for (field, expected) in [
        ("method", "contactcenter.v1.SmsSessionData/GetSession"),
        ("code", "INVALID_ARGUMENT"),
        ("reason", "VENDOR_REJECTED"),
        ("vendor", "genesys"),
        ("request_id", hostile),
    ] {
        assert_eq!(call[field], expected);
    }
    assert_eq!(
        (&call["vendor_status"], &call["attempts"]),
        (&400.into(), &1.into())
    );
    assert_eq!(counted(vendor(&status, "genesys"), "refused"), 1);
    // The page itself has nothing of it: the script fetches it, and puts it in as text.
    let (_, page) = admin::get(&gateway, "/").await;
    assert!(!page.contains("onerror"));
}

#[tokio::test]
async fn logins_are_told_by_account_and_never_by_value() {
    let gateway = Gateway::start_with(impatient).await;
    Call::QuerySettings.send(&gateway).await.unwrap();
    gateway
        .sandbox
        .faults()
        .push(Rule::new(Fault::status(503)).operation("Login"))
        .unwrap();
    Call::GetSession.send(&gateway).await.unwrap_err();

    let (_, text) = admin::get(&gateway, "/status.json").await;
    let status: Value = serde_json::from_str(&text).unwrap();
    let account = |name| &vendor(&status, name)["accounts"][0];
    assert_eq!(account("aicc")["name"], "default");
    assert_eq!(account("aicc")["last_login"]["result"], "ok");
    assert!(account("aicc")["token_age_s"].is_number());
    assert_eq!(account("genesys")["last_login"]["result"], "unavailable");
    assert_eq!(account("genesys")["last_failure"]["result"], "unavailable");
    assert!(account("genesys")["token_age_s"].is_null());
    assert!(vendor(&status, "aicc")["accounts"][1]["last_login"].is_null());
    for entry in gateway.sandbox.journal().entries() {
        for name in ["authorization", "cookie", "x-csrf-token"] {
            if let Some(value) = entry.request_headers.get(name) {
                assert!(!text.contains(value.to_str().unwrap()));
            }
        }
    }
    assert!(!text.contains(SESSION) && !text.contains(USER) && !text.contains("agent1"));
}

#[tokio::test]
async fn it_says_that_the_gateway_drains() {
    let mut gateway = Gateway::start_with(|config| {
        config.server.shutdown_delay = Duration::from_secs(600);
        config.server.drain_timeout = Duration::ZERO;
    })
    .await;
    Call::GetSession.send(&gateway).await.unwrap();
    gateway.terminate();
    in_time("draining", async {
        while status(&gateway).await["phase"] != "draining" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_page_is_bound_to_its_own_script() {
    let gateway = Gateway::start().await;
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let page = reqwest::get(format!("http://{}/", gateway.admin))
            .await
            .unwrap();
        let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "text/html; charset=utf-8");
        assert_eq!(header("cache-control"), "no-store");
        let policy = header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap();
        let nonce = nonce.split('\'').next().unwrap().to_owned();
        let text = page.text().await.unwrap();
        assert!(text.contains(&format!("<script nonce=\"{nonce}\">")));
        assert!(text.contains(&format!("<style nonce=\"{nonce}\">")));
        nonces.push(nonce);
    }
    assert_ne!(nonces[0], nonces[1]);
}
