//! The journal as strangers may see it.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::sandbox::journal::Entry;

const CENSORED: &str = "(censored)";
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "set-cookie", "x-csrf-token"];
const SECRET_FIELDS: [&str; 3] = ["app_secret", "AccessToken", "clientId"];

pub(super) fn entry(entry: &Entry) -> Value {
    json!({
        "sequence": entry.sequence,
        "vendor": entry.vendor,
        "operation": entry.operation,
        "is_login": entry.is_login,
        "is_notification": entry.is_notification,
        "connection": entry.connection,
        "method": entry.method.as_str(),
        "target": entry.target,
        "request_headers": headers(&entry.request_headers),
        "request_body": body(&entry.request_body),
        "status": entry.status,
        "response_headers": headers(&entry.response_headers),
        "response_body": body(&entry.response_body),
        "applied": entry.applied,
        "fault": entry.fault,
    })
}

fn headers(headers: &HeaderMap) -> Value {
    let mut shown: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let value = match SECRET_HEADERS.contains(&name.as_str()) {
            true => CENSORED.into(),
            false => String::from_utf8_lossy(value.as_bytes()),
        };
        let values = shown
            .entry(name.as_str())
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(Value::from(value));
        }
    }
    Value::Object(shown)
}

/// JSON is shown as such; anything else as text, and not at all where it may hold a secret.
fn body(body: &Bytes) -> Value {
    if let Ok(mut value) = serde_json::from_slice(body) {
        censor(&mut value);
        return value;
    }
    let text = String::from_utf8_lossy(body);
    match SECRET_FIELDS.iter().any(|field| text.contains(field)) {
        true => Value::from(CENSORED),
        false => Value::from(text),
    }
}

fn censor(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match SECRET_FIELDS.contains(&name.as_str()) {
                    true => *value = Value::from(CENSORED),
                    false => censor(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(censor),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
