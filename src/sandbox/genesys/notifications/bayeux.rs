//! The messages of Bayeux over JSON: as they are read, and the answers to them.

use std::time::Duration;

use serde_json::{Map, Value};

/// The server's own text; other servers say it in other words.
pub(super) const UNKNOWN_CLIENT: &str = "402::Unknown client";

#[derive(Debug, Clone, PartialEq)]
pub(in crate::sandbox::genesys) struct Message(Map<String, Value>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox::genesys) enum Meta {
    Handshake,
    Connect,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

/// An array of messages, or one that stands alone. `None` when the body is neither.
pub(in crate::sandbox::genesys) fn read(body: &[u8]) -> Option<Vec<Message>> {
    let message = |value| match value {
        Value::Object(fields) => Some(Message(fields)),
        _ => None,
    };
    match serde_json::from_slice(body).ok()? {
        Value::Array(messages) => messages.into_iter().map(message).collect(),
        alone => Some(vec![message(alone)?]),
    }
}

impl Message {
    pub(super) fn channel(&self) -> Option<&str> {
        self.text("channel")
    }

    pub(in crate::sandbox::genesys) fn meta(&self) -> Option<Meta> {
        match self.channel()? {
            "/meta/handshake" => Some(Meta::Handshake),
            "/meta/connect" => Some(Meta::Connect),
            "/meta/subscribe" => Some(Meta::Subscribe),
            "/meta/unsubscribe" => Some(Meta::Unsubscribe),
            "/meta/disconnect" => Some(Meta::Disconnect),
            _ => None,
        }
    }

    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    pub(super) fn client_id(&self) -> Option<&str> {
        self.text("clientId")
    }

    pub(super) fn offers_long_polling(&self) -> bool {
        let types = self.0.get("supportedConnectionTypes");
        types
            .and_then(Value::as_array)
            .is_some_and(|types| types.iter().any(|known| known == LONG_POLLING))
    }

    pub(super) fn is_long_polling(&self) -> bool {
        self.text("connectionType") == Some(LONG_POLLING)
    }

    /// In a handshake: whether the client can acknowledge. Newer clients say it with an object.
    pub(super) fn offers_ack(&self) -> bool {
        let offer = self.0.get("ext").and_then(|ext| ext.get("ack"));
        offer.is_some_and(|offer| offer == true || offer.get("enabled") == Some(&Value::Bool(true)))
    }

    /// In a connect: the last batch that the client has. Before the first it is negative or 0.
    pub(super) fn acknowledged(&self) -> Option<i64> {
        self.0.get("ext")?.get("ack")?.as_i64()
    }

    /// In a connect: how long the client wants this one to be held.
    pub(super) fn timeout(&self) -> Option<Duration> {
        let milliseconds = self.0.get("advice")?.get("timeout")?.as_u64()?;
        Some(Duration::from_millis(milliseconds))
    }

    pub(super) fn subscription(&self) -> Option<&Value> {
        self.0.get("subscription").filter(|value| !value.is_null())
    }

    pub(super) fn yes(&self) -> Reply {
        let reply = self.reply(true);
        match self.client_id() {
            Some(id) => reply.with("clientId", id),
            None => reply,
        }
    }

    pub(super) fn no(&self, error: &str) -> Reply {
        self.reply(false).with("error", error)
    }

    fn reply(&self, successful: bool) -> Reply {
        let mut fields = Map::new();
        for field in ["id", "channel"] {
            if let Some(value) = self.0.get(field) {
                fields.insert(field.to_owned(), value.clone());
            }
        }
        Reply(fields).with("successful", successful)
    }
}

pub(super) const LONG_POLLING: &str = "long-polling";

/// The answer to one message.
#[derive(Debug)]
pub(super) struct Reply(Map<String, Value>);

impl Reply {
    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }
}

impl From<Reply> for Value {
    fn from(reply: Reply) -> Self {
        Self::Object(reply.0)
    }
}
