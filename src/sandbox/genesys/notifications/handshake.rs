//! How a client comes into being.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Comet;
use super::bayeux::{LONG_POLLING, Message, Reply};
use super::client::Client;
use super::conversation::{Answer, Caller};

impl Comet {
    pub(super) fn handshake(
        &mut self,
        caller: &Caller<'_>,
        message: &Message,
        answer: &mut Answer,
    ) -> Reply {
        if let Some(error) = objection(message) {
            return refused(message, error);
        }
        let browser = caller.browser.map_or_else(random, str::to_owned);
        if caller.browser.is_none() {
            answer.browser = Some(browser.clone());
        }
        let (id, ack) = (random(), self.plan.ack && message.offers_ack());
        let mut client = Client::new(caller.agent, browser, ack);
        let welcome = welcome(message, &id, ack, client.advice(&self.plan));
        self.handshakes += 1;
        self.clients.insert(id, client);
        welcome
    }
}

pub(super) fn refused(message: &Message, error: &str) -> Reply {
    let advice = json!({"reconnect": "none"});
    message.no(error).with("advice", advice)
}

fn objection(message: &Message) -> Option<&'static str> {
    match message.text("version") {
        None => Some("400::version_missing"),
        Some("1.0") if message.offers_long_polling() => None,
        Some("1.0") => Some("400::unsupported_connection_types"),
        Some(_) => Some("400::unsupported_version"),
    }
}

fn welcome(message: &Message, id: &str, ack: bool, advice: Option<Value>) -> Reply {
    let mut welcome = message
        .yes()
        .with("version", "1.0")
        .with("minimumVersion", "1.0")
        .with("supportedConnectionTypes", vec![LONG_POLLING])
        .with("clientId", id);
    if let Some(advice) = advice {
        welcome = welcome.with("advice", advice);
    }
    match ack {
        true => welcome.with("ext", json!({"ack": true})),
        false => welcome,
    }
}

fn random() -> String {
    Uuid::new_v4().simple().to_string()
}
