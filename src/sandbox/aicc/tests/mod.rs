//! The words of a client, without a wire in between.

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use serde_json::{Value, json};

use super::{AICC_APP, AICC_SECRET, Aicc};
use crate::sandbox::http::{Answer, Simulator};

mod settings;
mod tokens;

const USER: &str = "1660270845627002401";
const ID: &str = "1307145259662215169";

fn send(aicc: &Aicc, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Bytes::from(body.to_owned())).unwrap();
    let answer = aicc.handle(&request).now_or_never();
    answer.expect("a call is answered at once")
}

fn read(answer: &Answer) -> (u16, Value) {
    let body = serde_json::from_slice(answer.response.body()).unwrap_or(Value::Null);
    (answer.response.status().as_u16(), body)
}

fn token_of(aicc: &Aicc, life: &str, key: &str, secret: &str) -> (u16, Value) {
    let body = json!({"app_key": key, "app_secret": secret}).to_string();
    read(&send(
        aicc,
        "POST",
        "/apigovernance/api/oauth/tokenByAkSk",
        &[("X-Token-Expire", life)],
        &body,
    ))
}

fn bearer(aicc: &Aicc) -> String {
    let (status, token) = token_of(aicc, "600", AICC_APP, AICC_SECRET);
    assert_eq!(status, 200);
    format!("Bearer {}", token["AccessToken"].as_str().unwrap())
}

fn call_with(aicc: &Aicc, bearer: &str, operation: &str, body: &str) -> Answer {
    let path = format!("/apiaccess/CC-Management/v1/openapp/agentsettings/{operation}");
    send(
        aicc,
        "POST",
        &path,
        &[("Authorization", bearer), ("X-APP-Key", AICC_APP)],
        body,
    )
}

fn call(aicc: &Aicc, operation: &str, body: &Value) -> (u16, Value) {
    read(&call_with(
        aicc,
        &bearer(aicc),
        operation,
        &body.to_string(),
    ))
}
