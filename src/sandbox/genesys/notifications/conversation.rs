//! One request of a client, message by message.

use serde_json::Value;

use super::bayeux::{Message, Meta, Reply, UNKNOWN_CLIENT, read};
use super::client::Client;
use super::handshake::refused;
use super::poll::Poll;
use super::wake::Gone;
use super::{Comet, channel};

/// Whose request it is.
pub(in crate::sandbox::genesys) struct Caller<'a> {
    pub(in crate::sandbox::genesys) agent: &'a str,
    /// The value of its browser cookie.
    pub(in crate::sandbox::genesys) browser: Option<&'a str>,
}

/// What a request came to.
pub(in crate::sandbox::genesys) enum Heard {
    /// No Bayeux at all.
    Unreadable,
    /// With the browser cookie to be set, if the client has none.
    Answer(Vec<Value>, Option<String>),
    Held(Poll),
}

/// The answer as it grows.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) body: Vec<Value>,
    pub(super) browser: Option<String>,
    /// Whose events may ride along.
    client: Option<String>,
}

impl Comet {
    pub(in crate::sandbox::genesys) fn hear(&mut self, caller: &Caller<'_>, body: &[u8]) -> Heard {
        self.sweep();
        let Some(messages) = read(body) else {
            return Heard::Unreadable;
        };
        let alone = messages.len() == 1;
        let mut answer = Answer::default();
        for message in messages {
            if message.meta() == Some(Meta::Connect) {
                if let Some(poll) = self.connect(caller, message, alone, &mut answer) {
                    return Heard::Held(poll);
                }
            } else {
                self.reply(caller, &message, alone, &mut answer);
            }
        }
        self.let_ride(&mut answer);
        Heard::Answer(answer.body, answer.browser)
    }

    /// Every answer may carry events. Those to be acknowledged come with a connect only.
    fn let_ride(&mut self, answer: &mut Answer) {
        let client = answer
            .client
            .as_ref()
            .and_then(|id| self.clients.get_mut(id));
        if let Some(client) = client.filter(|client| !client.ack) {
            answer.body.extend(client.take());
        }
    }

    fn reply(&mut self, caller: &Caller<'_>, message: &Message, alone: bool, answer: &mut Answer) {
        let reply = match (message.channel(), message.meta()) {
            (None, _) => message.no("400::channel_missing"),
            // As Bayeux demands it.
            (_, Some(Meta::Handshake)) if !alone => refused(message, "400::handshake_not_alone"),
            (_, Some(Meta::Handshake)) => self.handshake(caller, message, answer),
            (Some(channel), meta) => self.say(caller, message, channel, meta, answer),
        };
        answer.body.push(reply.into());
    }

    /// All that only a known client may say, connects excepted.
    fn say(
        &mut self,
        caller: &Caller<'_>,
        message: &Message,
        channel: &str,
        meta: Option<Meta>,
        answer: &mut Answer,
    ) -> Reply {
        let Some((id, client)) = self.known(caller, message) else {
            return message.no(UNKNOWN_CLIENT);
        };
        answer.client = Some(id.to_owned());
        match meta {
            Some(Meta::Subscribe) => subscription(message, |patterns| client.subscribe(patterns)),
            Some(Meta::Unsubscribe) => {
                subscription(message, |patterns| client.unsubscribe(patterns))
            }
            Some(Meta::Disconnect) => {
                self.remove(id, Gone::Disconnected);
                message.yes()
            }
            // Agents listen; what they have to say goes by REST.
            _ => message.no(&format!("403:{channel}:publish_denied")),
        }
    }

    pub(super) fn known<'a>(
        &mut self,
        caller: &Caller<'_>,
        message: &'a Message,
    ) -> Option<(&'a str, &mut Client)> {
        let id = message.client_id()?;
        let client = self.clients.get_mut(id)?;
        let is_own = client.agent == caller.agent && caller.browser == Some(&client.browser);
        is_own.then_some((id, client))
    }
}

fn subscription(message: &Message, act: impl FnOnce(&[&str])) -> Reply {
    let reply = match channel::patterns(message.subscription()) {
        Ok(patterns) => {
            act(&patterns);
            message.yes()
        }
        Err(error) => message.no(error),
    };
    match message.subscription() {
        Some(subscription) => reply.with("subscription", subscription.clone()),
        None => reply,
    }
}
