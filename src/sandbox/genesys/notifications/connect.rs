//! Connects: when they are answered, and with what.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Comet;
use super::bayeux::{Message, UNKNOWN_CLIENT};
use super::conversation::{Answer, Caller};
use super::plan::LONGEST_MS;
use super::poll::{Look, Poll};
use super::wake::Gone;

impl Comet {
    /// `Some` when the answer has to wait.
    pub(super) fn connect(
        &mut self,
        caller: &Caller<'_>,
        message: Message,
        alone: bool,
        answer: &mut Answer,
    ) -> Option<Poll> {
        let Some((id, client)) = self.known(caller, &message) else {
            answer.body.push(unknown(&message));
            return None;
        };
        if !message.is_long_polling() {
            let refusal = message.no("400::unsupported_connection_type");
            answer.body.push(refusal.into());
            return None;
        }
        let id = id.to_owned();
        let connect = client.connect(message.acknowledged());
        let at_once = !alone || client.is_first_connect() || client.has_news(&message);
        let most = client.most_outstanding();
        self.most_concurrent_connects = self.most_concurrent_connects.max(most);
        let timeout = self.timeout(&message);
        if at_once || timeout.is_zero() {
            answer.body.extend(self.connected(&id, &message));
            return None;
        }
        self.hold(id, connect, message, timeout)
    }

    fn hold(
        &mut self,
        id: String,
        connect: u64,
        message: Message,
        timeout: Duration,
    ) -> Option<Poll> {
        let client = self.clients.get_mut(&id)?;
        client.hold();
        Some(Poll {
            wake: Arc::clone(&client.wake),
            client: id,
            connect,
            message,
            deadline: Instant::now() + timeout,
        })
    }

    /// As advised, unless the client asks for another.
    fn timeout(&self, message: &Message) -> Duration {
        match message.timeout() {
            Some(asked) => asked.min(Duration::from_millis(LONGEST_MS)),
            None => self.plan.timeout(),
        }
    }

    /// Whether a held connect can be answered by now.
    pub(in crate::sandbox::genesys) fn look(&mut self, poll: &Poll) -> Look {
        let Some(client) = self.clients.get(&poll.client) else {
            return gone(poll);
        };
        if !client.is_newest(poll.connect) {
            return Look::Answer(vec![poll.message.yes().into()]);
        }
        if client.has_due() || Instant::now() >= poll.deadline {
            return Look::Answer(self.connected(&poll.client, &poll.message));
        }
        let next = client.next_due().unwrap_or(poll.deadline);
        Look::Wait(next.min(poll.deadline))
    }

    pub(in crate::sandbox::genesys) fn release(&mut self, poll: &Poll) {
        if let Some(client) = self.clients.get_mut(&poll.client) {
            client.release();
        }
    }

    /// Events first, then the answer that closes their batch.
    fn connected(&mut self, id: &str, message: &Message) -> Vec<Value> {
        let Some(client) = self.clients.get_mut(id) else {
            return vec![unknown(message)];
        };
        let mut body = client.take();
        let mut reply = message.yes();
        if let Some(advice) = client.advice(&self.plan) {
            reply = reply.with("advice", advice);
        }
        if client.ack {
            reply = reply.with("ext", json!({"ack": client.close_batch()}));
        }
        body.push(reply.into());
        body
    }
}

fn gone(poll: &Poll) -> Look {
    match poll.wake.gone.get() {
        Some(Gone::FailedOver) => Look::NodeLost,
        Some(Gone::Disconnected) => {
            let reply = poll
                .message
                .yes()
                .with("advice", json!({"reconnect": "none"}));
            Look::Answer(vec![reply.into()])
        }
        Some(Gone::Dropped) | None => Look::Answer(vec![unknown(&poll.message)]),
    }
}

/// The advice comes with a connect only: on other channels the client has to know by itself.
fn unknown(message: &Message) -> Value {
    let advice = json!({"interval": 0, "reconnect": "handshake"});
    message.no(UNKNOWN_CLIENT).with("advice", advice).into()
}
