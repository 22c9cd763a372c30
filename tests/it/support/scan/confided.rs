//! Where in a request or an answer stands what is told in confidence.

use http::HeaderMap;
use serde_json::Value;
use switchboard::sandbox::journal::Journal;

use super::{confide, is_on};

/// Members of the vendors' requests whose values are persons' own.
const PERSONAL: [&str; 5] = [
    "userData",
    "callNumber",
    "callerPresent",
    "callNumberDefault",
    "callerPresentDefault",
];

/// Headers that open doors.
const DOORS: [&str; 4] = ["authorization", "cookie", "set-cookie", "x-csrf-token"];

/// Everything that travelled between a gateway and the sandbox.
pub fn confide_all(journal: &Journal) {
    if !is_on() {
        return;
    }
    for entry in journal.entries() {
        confide_headers(&entry.request_headers);
        confide_headers(&entry.response_headers);
        confide_body(&entry.request_body);
        if entry.is_login {
            confide_body(&entry.response_body);
        }
    }
}

/// What opens doors among the headers between a caller, the gateway and a vendor.
pub fn confide_headers(headers: &HeaderMap) {
    if !is_on() {
        return;
    }
    for name in DOORS {
        for value in headers.get_all(name) {
            let value = String::from_utf8_lossy(value.as_bytes());
            let opens = match name {
                "authorization" => match value.split_once(' ') {
                    Some(("Basic" | "Bearer" | "bearer", opens)) => opens,
                    _ => &*value,
                },
                "set-cookie" => {
                    let pair = value.split(';').next().unwrap();
                    pair.split_once('=').map_or(pair, |it| it.1)
                }
                _ => &*value,
            };
            confide("door", opens.trim());
        }
    }
}

/// What is persons' own in a request to a vendor, and secret in a login and its answer.
pub fn confide_body(body: &[u8]) {
    if !is_on() {
        return;
    }
    if let Ok(body) = serde_json::from_slice(body) {
        walk(&body, None);
    }
}

fn walk(value: &Value, kind: Option<&'static str>) {
    match (value, kind) {
        (Value::Object(members), _) => {
            for (name, value) in members {
                let kind = match &**name {
                    "app_secret" | "AccessToken" => Some("door"),
                    name if PERSONAL.contains(&name) => Some("personal"),
                    _ => kind,
                };
                walk(value, kind);
            }
        }
        (Value::Array(items), _) => items.iter().for_each(|item| walk(item, kind)),
        (Value::String(text), Some(kind)) => confide(kind, text),
        (Value::Number(number), Some(kind)) => confide(kind, &number.to_string()),
        _ => {}
    }
}
