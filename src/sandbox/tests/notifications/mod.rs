//! Notifications over real sockets: a client that does all that the documents ask for, and tests that do not.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Heard, basic_of, request, sandbox, say, until};
use crate::sandbox::Sandbox;
use crate::sandbox::genesys::{Notification, NotificationPlan, NotificationRule};

mod ack;
mod clients;
mod connects;
mod control;
mod flow;
mod garbage;
mod nodes;
mod plan;

const SESSION: &str = "0071023821aec011";
const ENDPOINT: &str = "/api/v2/notifications";

/// One account, one cookie jar, one CSRF token, one CometD client.
#[derive(Clone)]
struct Agent {
    sandbox: Sandbox,
    name: String,
    cookies: BTreeMap<String, String>,
    csrf: String,
    client: String,
}

impl Agent {
    async fn logged_in(sandbox: &Sandbox, name: &str) -> Self {
        let mut agent = Self {
            sandbox: sandbox.clone(),
            name: name.to_owned(),
            cookies: BTreeMap::new(),
            csrf: String::new(),
            client: String::new(),
        };
        agent.log_in().await;
        agent
    }

    /// Subscribed to all that is `me`, and past the first connect.
    async fn listening(sandbox: &Sandbox, name: &str) -> Self {
        let mut agent = Self::logged_in(sandbox, name).await;
        agent.handshake(json!({})).await;
        agent.subscribe(json!("/v2/me/*")).await;
        let first = agent.connect().await;
        assert_eq!(first[0]["successful"], true, "{first:?}");
        agent
    }

    async fn log_in(&mut self) {
        let heard = self.send("GET", "/api/v2/me", "").await;
        assert_eq!(heard.status, 200);
        self.csrf = heard.header("x-csrf-token").unwrap().to_owned();
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) -> Heard {
        let heard = self.request(method, path, body).await;
        let given = heard
            .head
            .lines()
            .filter_map(|line| line.strip_prefix("set-cookie: "));
        for cookie in given {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        heard
    }

    fn request(&self, method: &str, path: &str, body: &str) -> impl Future<Output = Heard> + use<> {
        let cookies = self.cookies.iter();
        let cookies: Vec<_> = cookies
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let headers = [
            ("Authorization", basic_of(&self.name)),
            ("Content-Type", "application/json".to_owned()),
            ("Cookie", cookies.join("; ")),
            ("X-CSRF-TOKEN", self.csrf.clone()),
            ("Connection", "close".to_owned()),
        ];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        say(
            self.sandbox.genesys_url(),
            request(method, path, &headers, body),
        )
    }

    async fn bayeux(&mut self, messages: Value) -> Vec<Value> {
        let heard = self.send("POST", ENDPOINT, &messages.to_string()).await;
        assert_eq!(heard.status, 200, "{}", heard.text());
        elements(&heard)
    }

    async fn handshake(&mut self, ext: Value) -> Value {
        let message = json!([{
            "id": "1", "channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["long-polling"], "ext": ext,
        }]);
        let answer = self.bayeux(message).await.remove(0);
        self.client = answer["clientId"].as_str().unwrap().to_owned();
        answer
    }

    async fn subscribe(&mut self, subscription: Value) -> Vec<Value> {
        let message = json!({"channel": "/meta/subscribe", "clientId": self.client, "subscription": subscription});
        self.bayeux(json!([message])).await
    }

    fn connect_message(&self) -> Value {
        json!([{"id": "c", "channel": "/meta/connect", "clientId": self.client, "connectionType": "long-polling"}])
    }

    async fn connect(&mut self) -> Vec<Value> {
        self.bayeux(self.connect_message()).await
    }

    /// What an event's `data` says, of a connect that ends with exactly these.
    async fn next_events(&mut self) -> Vec<Value> {
        events(self.connect().await)
    }

    /// Returns once the server holds the connect.
    async fn held(&self) -> JoinHandle<Heard> {
        let before = self.sandbox.genesys().outstanding_connects(&self.name);
        let request = self.request("POST", ENDPOINT, &self.connect_message().to_string());
        let held = tokio::spawn(request);
        until("the connect is held", async || {
            self.sandbox.genesys().outstanding_connects(&self.name) != before
        })
        .await;
        held
    }

    async fn write(&mut self, body: Value) -> Value {
        let path = format!("/api/v2/me/smssessions/{SESSION}");
        let heard = self.send("POST", &path, &body.to_string()).await;
        assert_eq!(heard.status, 200, "{}", heard.text());
        heard.json()
    }

    async fn update(&mut self, value: u64) -> Value {
        let body = json!({"operationName": "UpdateUserData", "userData": {"k": value}});
        self.write(body).await
    }
}

fn elements(heard: &Heard) -> Vec<Value> {
    serde_json::from_slice(&heard.body).unwrap()
}

/// All but the answer to the connect, which comes last.
fn events(mut elements: Vec<Value>) -> Vec<Value> {
    let answer = elements.pop().unwrap();
    assert_eq!(
        (&answer["channel"], &answer["successful"]),
        (&json!("/meta/connect"), &json!(true))
    );
    let events = elements.into_iter();
    events
        .map(|event| {
            assert_eq!(event["channel"], "/v2/me/smssessions");
            event["data"].clone()
        })
        .collect()
}

fn plan(sandbox: &Sandbox, notification: Notification) {
    let plan = NotificationPlan {
        rules: vec![NotificationRule::new(notification)],
        ..sandbox.genesys().notifications()
    };
    sandbox.genesys().set_notifications(plan).unwrap();
}

/// Connects that nothing happens to end soon.
async fn impatient() -> Sandbox {
    let sandbox = sandbox().await;
    let plan = NotificationPlan {
        timeout_ms: 80,
        ..Default::default()
    };
    sandbox.genesys().set_notifications(plan).unwrap();
    sandbox
}
