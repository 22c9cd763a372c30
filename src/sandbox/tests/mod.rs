//! The sandbox over real sockets, spoken to byte by byte: no HTTP client smooths anything over.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use tokio::time::{Duration, sleep, timeout};

use super::genesys::GENESYS_PASSWORD;
use super::{Options, Sandbox};

mod control;
mod faults;
mod listeners;
mod notifications;

/// What came back until the connection ended, and how it ended if not in good order.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: Vec<u8>,
    end: Option<ErrorKind>,
}

impl Heard {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Until it is so; nothing that is waited for here takes this long unless it never comes.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let come_true = async {
        while !is_so().await {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let come_true = timeout(Duration::from_secs(30), come_true).await;
    assert!(come_true.is_ok(), "still waiting: {what}");
}

async fn sandbox() -> Sandbox {
    Sandbox::start(Options::default()).await.unwrap()
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: sandbox\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

/// Sends the bytes on a connection of their own and listens until it ends.
async fn say(url: String, bytes: String) -> Heard {
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut heard = Vec::new();
        let end = stream
            .read_to_end(&mut heard)
            .err()
            .map(|error| error.kind());
        let split = heard.windows(4).position(|window| window == b"\r\n\r\n");
        let body = split.map(|at| heard.split_off(at + 4)).unwrap_or_default();
        let head = String::from_utf8(heard).unwrap();
        let status = head.get(9..12).map_or(0, |status| status.parse().unwrap());
        Heard {
            status,
            head,
            body,
            end,
        }
    })
    .await
    .unwrap()
}

fn basic() -> String {
    basic_of("agent1")
}

fn basic_of(agent: &str) -> String {
    use base64::Engine;
    let pair = format!("{agent}:{GENESYS_PASSWORD}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair)
    )
}

async fn genesys(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> Heard {
    let authorization = basic();
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/json"),
        ("Connection", "close"),
    ];
    say(sandbox.genesys_url(), request(method, path, &headers, body)).await
}

/// Attaches a pair to the documented session, with CSRF protection off.
async fn attach(sandbox: &Sandbox) -> Heard {
    sandbox.genesys().set_csrf(false);
    let body = r#"{"operationName":"AttachUserData","userData":{"UserData1":"DATA1"}}"#;
    genesys(
        sandbox,
        "POST",
        "/api/v2/me/smssessions/0071023821aec011",
        body,
    )
    .await
}

async fn token(sandbox: &Sandbox) -> Heard {
    let path = "/apigovernance/api/oauth/tokenByAkSk";
    let body = json!({"app_key": super::aicc::AICC_APP, "app_secret": super::aicc::AICC_SECRET});
    let headers = [
        ("Content-Type", "application/json"),
        ("X-Token-Expire", "600"),
        ("Connection", "close"),
    ];
    let bytes = request("POST", path, &headers, &body.to_string());
    say(sandbox.aicc_url(), bytes).await
}

async fn query(sandbox: &Sandbox) -> Heard {
    let token = token(sandbox).await.json();
    let bearer = format!("Bearer {}", token["AccessToken"].as_str().unwrap_or("none"));
    let path = "/apiaccess/CC-Management/v1/openapp/agentsettings/query";
    let headers = [
        ("Authorization", bearer.as_str()),
        ("X-APP-Key", super::aicc::AICC_APP),
        ("Content-Type", "application/json"),
        ("Connection", "close"),
    ];
    let bytes = request(
        "POST",
        path,
        &headers,
        r#"{"userId":"1660270845627002401"}"#,
    );
    say(sandbox.aicc_url(), bytes).await
}

async fn control(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> Heard {
    let bytes = request(method, path, &[("Connection", "close")], body);
    say(sandbox.control_url(), bytes).await
}
