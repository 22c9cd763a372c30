//! One notification of the vendor, typed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::SystemTime;

use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::pb::{SessionNotification, SmsSession};
use crate::upstream::redact::Redactor;
use crate::vendors::genesys::inferred;
use crate::vendors::genesys::sms_session_data::session;

/// A notification with what only the gateway knows of it.
#[derive(Debug)]
pub(in crate::vendors::genesys) struct Event {
    pub(in crate::vendors::genesys) notification: SessionNotification,
    pub(in crate::vendors::genesys) receive_time: SystemTime,
    pub(super) received: Instant,
    /// The number of the error, with an `Error`, and its words as they came: who knows what was
    /// written takes more out of them than who does not.
    pub(super) error_code: Option<i64>,
    pub(super) error_words: String,
    /// What it weighs in a queue, in bytes.
    pub(super) size: usize,
    /// The same for the same words; only where a reference tells one write from the next.
    pub(super) fingerprint: Option<u64>,
}

/// About a session, and not to be read: what it would have told is lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// `None` when it is not about SMS sessions: an agent's voice calls come on the same channels.
pub(super) fn read(channel: &str, data: &RawValue) -> Result<Option<Event>, Unreadable> {
    let fields: HashMap<String, &RawValue> = match serde_json::from_str(data.get()) {
        Ok(fields) => fields,
        Err(_) if inferred::is_sms_channel(channel) => return Err(Unreadable),
        Err(_) => return Ok(None),
    };
    let named = inferred::WRAPPERS.iter().find_map(|name| fields.get(*name));
    if named.is_none() && !inferred::is_sms_channel(channel) {
        return Ok(None);
    }
    let session = named.and_then(|json| session::session(json));
    let event = Event::new(&fields, session, data);
    // An error tells no state that could be lost, and by its number whom it is about.
    let tells_state = event.is_update() || named.is_some() && !event.is_error();
    if tells_state && event.session().is_none() {
        return Err(Unreadable);
    }
    Ok(Some(event))
}

impl Event {
    fn new(
        fields: &HashMap<String, &RawValue>,
        session: Option<SmsSession>,
        data: &RawValue,
    ) -> Self {
        let text = |name| field::<String>(fields, name).unwrap_or_default();
        let number = |name| field::<Value>(fields, name).and_then(|value| value.as_i64());
        let reference_id = number("referenceId");
        let error_words = text("errorMessage");
        let notification = SessionNotification {
            message_type: text("messageType"),
            notification_type: text("notificationType"),
            reference_id,
            session,
            error_message: Redactor::default().clean(&error_words),
        };
        Event {
            size: notification.encoded_len() + error_words.len(),
            notification,
            receive_time: SystemTime::now(),
            received: Instant::now(),
            error_code: number("errorCode"),
            error_words,
            fingerprint: reference_id.map(|_| fingerprint(data)),
        }
    }

    pub(super) fn session(&self) -> Option<&SmsSession> {
        self.notification.session.as_ref()
    }

    pub(super) fn is_error(&self) -> bool {
        self.notification.notification_type == "Error"
    }

    /// The user data as it is now, where the notification tells it.
    pub(super) fn is_update(&self) -> bool {
        self.notification.notification_type == "PropertiesUpdated"
    }

    /// An update without user data: it may mean that there is none left, and a read has to tell.
    pub(super) fn needs_a_read(&self) -> bool {
        let told = self
            .session()
            .is_some_and(|session| session.user_data.is_some());
        self.is_update() && !told
    }
}

fn field<T: DeserializeOwned>(fields: &HashMap<String, &RawValue>, name: &str) -> Option<T> {
    serde_json::from_str(fields.get(name)?.get()).ok()
}

fn fingerprint(data: &RawValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    data.get().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
