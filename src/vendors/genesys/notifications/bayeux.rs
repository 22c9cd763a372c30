//! Bayeux messages as CometD speaks them over long polling: what is sent, and how answers read.
//!
//! Pure: no I/O, no clock. Answers are read leniently, field by field, since one odd field must
//! not hide what the others say.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(super) const HANDSHAKE: &str = "/meta/handshake";
pub(super) const CONNECT: &str = "/meta/connect";
pub(super) const SUBSCRIBE: &str = "/meta/subscribe";
const DISCONNECT: &str = "/meta/disconnect";
const LONG_POLLING: &str = "long-polling";

/// CometD's own, for a server that advises none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// No advice is obeyed beyond this: a server that says more means something else.
const LONGEST: Duration = Duration::from_secs(3600);

/// Alone in its request, as Bayeux demands. Offers the acknowledge extension.
pub(super) fn handshake(id: u64) -> Value {
    json!([{
        "id": id.to_string(),
        "channel": HANDSHAKE,
        "version": "1.0",
        "minimumVersion": "1.0",
        "supportedConnectionTypes": [LONG_POLLING],
        "ext": {"ack": true},
    }])
}

/// One message per channel, so that each has an answer of its own.
pub(super) fn subscribe(id: u64, client: &str, channels: &[String]) -> Value {
    let message = |channel: &String| {
        json!({
            "id": id.to_string(),
            "channel": SUBSCRIBE,
            "clientId": client,
            "subscription": channel,
        })
    };
    channels.iter().map(message).collect()
}

/// `acknowledged` is the last batch that was read, where the server counts them; `at_once` asks
/// for an answer without holding.
pub(super) fn connect(id: u64, client: &str, acknowledged: Option<i64>, at_once: bool) -> Value {
    let mut message = json!({
        "id": id.to_string(),
        "channel": CONNECT,
        "clientId": client,
        "connectionType": LONG_POLLING,
    });
    if let Some(batch) = acknowledged {
        message["ext"] = json!({"ack": batch});
    }
    if at_once {
        message["advice"] = json!({"timeout": 0});
    }
    json!([message])
}

pub(super) fn disconnect(id: u64, client: &str) -> Value {
    json!([{"id": id.to_string(), "channel": DISCONNECT, "clientId": client}])
}

/// All messages of an answer in their order. Any answer may carry events.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    messages: Vec<Message<'a>>,
    /// How many elements were no messages: what they would have told is lost.
    pub(super) unreadable: usize,
}

/// Not JSON, or neither an object nor a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoBayeux;

#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) channel: String,
    fields: HashMap<String, &'a RawValue>,
}

/// What the server said about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) successful: bool,
    pub(super) client_id: Option<String>,
    pub(super) advice: Option<Advised>,
    /// The number before the first colon of the error; its text is for people.
    pub(super) error: Option<u16>,
    pub(super) ack: Option<Ack>,
}

/// The acknowledge extension: offered by a handshake's answer, counted by a connect's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Ack {
    Offered(bool),
    /// As servers offer it that can tell events with the handshake's answer.
    OfferedFrom {
        enabled: bool,
        #[serde(default)]
        batch: i64,
    },
    Batch(i64),
}

/// A list of messages, or a single one, as servers answer with either.
pub(super) fn read(json: &str) -> Result<Answer<'_>, NoBayeux> {
    let root: &RawValue = serde_json::from_str(json).map_err(|_| NoBayeux)?;
    let elements: Vec<&RawValue> = match root.get().as_bytes().first() {
        Some(b'[') => serde_json::from_str(root.get()).map_err(|_| NoBayeux)?,
        Some(b'{') => vec![root],
        _ => return Err(NoBayeux),
    };
    let all = elements.len();
    let messages: Vec<_> = elements.into_iter().filter_map(Message::read).collect();
    Ok(Answer {
        unreadable: all - messages.len(),
        messages,
    })
}

impl<'a> Answer<'a> {
    /// What the server said to requests on this channel.
    pub(super) fn replies(&self, channel: &str) -> impl Iterator<Item = Reply> {
        let named = self.messages.iter().filter(move |m| m.channel == channel);
        named.map(Message::reply)
    }

    /// What was published, with its channel; null where there is nothing with it.
    pub(super) fn events(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        let published = self.messages.iter().filter(|m| !m.is_meta());
        published.map(|m| {
            let data = m.fields.get("data").copied();
            (m.channel.as_str(), data.unwrap_or(RawValue::NULL))
        })
    }
}

impl<'a> Message<'a> {
    fn read(json: &'a RawValue) -> Option<Self> {
        let fields: HashMap<String, &RawValue> = serde_json::from_str(json.get()).ok()?;
        let channel = serde_json::from_str(fields.get("channel")?.get()).ok()?;
        Some(Message { channel, fields })
    }

    fn is_meta(&self) -> bool {
        self.channel.starts_with("/meta/")
    }

    fn field<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.fields.get(name)?.get()).ok()
    }

    fn reply(&self) -> Reply {
        let error: Option<String> = self.field("error");
        let ext: Option<HashMap<String, Value>> = self.field("ext");
        let ack = ext.and_then(|mut ext| serde_json::from_value(ext.remove("ack")?).ok());
        Reply {
            successful: self.field("successful").unwrap_or(false),
            client_id: self.field("clientId").filter(|id: &String| !id.is_empty()),
            advice: self
                .fields
                .get("advice")
                .map(|advice| Advised::read(advice)),
            error: error.and_then(|error| error.split(':').next()?.trim().parse().ok()),
            ack,
        }
    }
}

/// How the server wants to be met again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reconnect {
    Retry,
    Handshake,
    /// Also an unknown word, or a negative interval: neither may be retried automatically.
    Stop,
}

/// What one message advises: only what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Advised {
    reconnect: Option<Reconnect>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
}

impl Advised {
    fn read(json: &RawValue) -> Self {
        let fields: HashMap<String, Value> = serde_json::from_str(json.get()).unwrap_or_default();
        let milliseconds = |name: &str| fields.get(name).and_then(Value::as_i64);
        let span = |ms: i64| u64::try_from(ms).map(Duration::from_millis).ok();
        let interval = milliseconds("interval");
        let reconnect = match fields.get("reconnect").and_then(Value::as_str) {
            _ if interval.is_some_and(|ms| ms < 0) => Some(Reconnect::Stop),
            Some("retry") => Some(Reconnect::Retry),
            Some("handshake") => Some(Reconnect::Handshake),
            Some(_) => Some(Reconnect::Stop),
            None => None,
        };
        Advised {
            reconnect,
            interval: interval.and_then(span),
            timeout: milliseconds("timeout").and_then(span),
        }
    }
}

/// The advice in force: the newest word on each point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) reconnect: Reconnect,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Default for Advice {
    fn default() -> Self {
        Advice {
            reconnect: Reconnect::Retry,
            interval: Duration::ZERO,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

impl Advice {
    pub(super) fn follow(&mut self, advised: Option<Advised>) {
        let Some(advised) = advised else { return };
        self.reconnect = advised.reconnect.unwrap_or(self.reconnect);
        self.interval = advised.interval.unwrap_or(self.interval).min(LONGEST);
        self.timeout = advised.timeout.unwrap_or(self.timeout).min(LONGEST);
    }
}

#[cfg(test)]
#[path = "bayeux_tests.rs"]
mod tests;
