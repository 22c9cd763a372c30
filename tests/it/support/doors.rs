//! What opens a door, as it travelled between the gateway and a vendor.

use switchboard::sandbox::journal::Entry;

/// Everything in a request or an answer that opens a door.
pub fn secrets(entry: &Entry) -> Vec<String> {
    let mut secrets = Vec::new();
    for name in ["authorization", "cookie", "x-csrf-token"] {
        for value in entry.request_headers.get_all(name) {
            let value = value.to_str().unwrap();
            let value = value.trim_start_matches("Basic ");
            secrets.push(value.trim_start_matches("Bearer ").to_owned());
        }
    }
    for cookie in entry.response_headers.get_all("set-cookie") {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        secrets.push(pair.split_once('=').unwrap().1.to_owned());
    }
    let body = serde_json::from_slice(&entry.response_body).unwrap_or(serde_json::Value::Null);
    secrets.extend(body["AccessToken"].as_str().map(str::to_owned));
    secrets
}
