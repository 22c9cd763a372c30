//! How tokens are issued, checked, and how they end.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use serde_json::{Value, json};

use super::{bearer, call_with, read, send, token_of};
use crate::sandbox::aicc::{AICC_APP, AICC_OTHER_APP, AICC_OTHER_SECRET, AICC_SECRET, Aicc};
use crate::sandbox::http::Simulator;

#[test]
fn a_token_is_issued_as_documented() {
    let aicc = Aicc::default();
    let (status, token) = token_of(&aicc, "600", AICC_APP, AICC_SECRET);
    assert_eq!(
        (status, &token["Expires"], &token["ApplyType"]),
        (200, &json!("600"), &json!("Bearer"))
    );
    assert_eq!(token["AppKey"], AICC_APP);
    assert!(token.as_object().unwrap().values().all(Value::is_string));
    assert!(
        token["CreateTime"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 1_600_000_000
    );
    for life in ["0", "3601", "", "ten"] {
        assert_eq!(
            token_of(&aicc, life, AICC_APP, AICC_SECRET).0,
            400,
            "{life}"
        );
    }
    let missing = send(
        &aicc,
        "POST",
        "/apigovernance/api/oauth/tokenByAkSk",
        &[],
        "{}",
    );
    assert_eq!(missing.response.status(), 400);
}

#[test]
fn a_request_for_a_token_says_that_it_is_json() {
    let body = json!({"app_key": AICC_APP, "app_secret": AICC_SECRET}).to_string();
    for (said, status) in [
        (None, 400),
        (Some("text/plain"), 400),
        (Some("application/json"), 200),
    ] {
        let mut request = Request::post("/apigovernance/api/oauth/tokenByAkSk");
        if let Some(said) = said {
            request = request.header("content-type", said);
        }
        let request = request.header("X-Token-Expire", "600");
        let request = request.body(Bytes::from(body.clone())).unwrap();
        let answer = Aicc::default().handle(&request).now_or_never().unwrap();
        assert_eq!(answer.response.status(), status, "{said:?}");
    }
}

#[test]
fn a_wrong_key_pair_does_not_look_like_an_expired_token() {
    let aicc = Aicc::default();
    for (key, secret) in [
        (AICC_APP, "wrong"),
        ("nobody", AICC_SECRET),
        (AICC_APP, AICC_OTHER_SECRET),
    ] {
        let (status, answer) = token_of(&aicc, "600", key, secret);
        assert_eq!((status, &answer["errorCode"]), (403, &json!("0")));
        let reason = answer["exceptionInfo"].as_str().unwrap();
        assert!(!reason.contains("auth fail") && !reason.contains("token"));
    }
    let held = bearer(&aicc);
    aicc.set_secret(AICC_APP, "rotated");
    assert_eq!(token_of(&aicc, "600", AICC_APP, AICC_SECRET).0, 403);
    assert_eq!(token_of(&aicc, "600", AICC_APP, "rotated").0, 200);
    assert_eq!(
        call_with(&aicc, &held, "query", r#"{"userId":"x"}"#)
            .response
            .status(),
        200
    );
}

#[test]
fn both_headers_are_needed_and_must_agree() {
    let aicc = Aicc::default();
    let bearer = bearer(&aicc);
    let path = "/apiaccess/CC-Management/v1/openapp/agentsettings/query";
    let illegal = (
        403,
        json!({"errorCode": "0", "exceptionInfo": "auth fail! the access token is illegal"}),
    );
    for headers in [
        vec![],
        vec![("Authorization", bearer.as_str())],
        vec![("X-APP-Key", AICC_APP)],
        vec![
            ("Authorization", bearer.as_str()),
            ("X-APP-Key", AICC_OTHER_APP),
        ],
        vec![("Authorization", "Bearer unknown"), ("X-APP-Key", AICC_APP)],
        vec![
            ("Authorization", bearer.trim_start_matches("Bearer ")),
            ("X-APP-Key", AICC_APP),
        ],
    ] {
        let answer = send(&aicc, "POST", path, &headers, r#"{"userId":"x"}"#);
        assert_eq!(read(&answer), illegal, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_expire_each_in_its_own_time() {
    let aicc = Aicc::default();
    let (first, query) = (bearer(&aicc), r#"{"userId":"x"}"#);
    tokio::time::advance(Duration::from_secs(300)).await;
    let second = bearer(&aicc);
    let status = |bearer: &str| {
        call_with(&aicc, bearer, "query", query)
            .response
            .status()
            .as_u16()
    };
    assert_eq!(
        (status(&first), status(&second), aicc.tokens()),
        (200, 200, 2)
    );
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(
        (status(&first), status(&second), aicc.tokens()),
        (403, 200, 1)
    );
    aicc.expire_tokens();
    assert_eq!((status(&second), aicc.tokens()), (403, 0));
}
