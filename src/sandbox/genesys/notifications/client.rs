//! One CometD client: what it subscribed to, what waits for it, and its connects.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::bayeux::Message;
use super::channel;
use super::plan::NotificationPlan;
use super::queue::{Queue, Undelivered};
use super::wake::Wake;

/// A living CometD client as tests see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CometClient {
    #[serde(skip)]
    pub id: String,
    pub agent: String,
    pub ack: bool,
    pub subscriptions: Vec<String>,
    /// Connects that are being held.
    pub outstanding: usize,
    /// The most connects that were open at a time; more than one is the client's mistake.
    pub most_outstanding: usize,
    /// Events that were sent; one that is sent again for want of an acknowledgement counts again.
    pub delivered: u64,
    /// Events that wait to be sent or acknowledged.
    pub pending: usize,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) agent: String,
    /// The value of the cookie it came with. Under another one it is a stranger.
    pub(super) browser: String,
    pub(super) ack: bool,
    pub(super) wake: Arc<Wake>,
    subscriptions: BTreeSet<String>,
    queue: Queue,
    batch: u64,
    newest_connect: u64,
    outstanding: usize,
    most_outstanding: usize,
    delivered: u64,
    last_connect: Instant,
    advised: Option<Value>,
}

impl Client {
    pub(super) fn new(agent: &str, browser: String, ack: bool) -> Self {
        Self {
            agent: agent.to_owned(),
            browser,
            ack,
            wake: Arc::default(),
            subscriptions: BTreeSet::new(),
            queue: Queue::default(),
            batch: 1,
            newest_connect: 0,
            outstanding: 0,
            most_outstanding: 0,
            delivered: 0,
            last_connect: Instant::now(),
            advised: None,
        }
    }

    pub(super) fn subscribe(&mut self, patterns: &[&str]) {
        self.subscriptions
            .extend(patterns.iter().map(|pattern| (*pattern).to_owned()));
    }

    pub(super) fn unsubscribe(&mut self, patterns: &[&str]) {
        self.subscriptions
            .retain(|pattern| !patterns.contains(&pattern.as_str()));
    }

    /// However many of its patterns match, an event comes once.
    pub(super) fn hears(&self, channel: &str) -> bool {
        let mut patterns = self.subscriptions.iter();
        patterns.any(|pattern| channel::matches(pattern, channel))
    }

    pub(super) fn offer(&mut self, event: Value, due: Instant, undelivered: Option<Undelivered>) {
        self.queue.push(event, due, undelivered);
        self.wake.notify.notify_waiters();
    }

    /// Takes the place of a connect that is still held, which is answered by that.
    pub(super) fn connect(&mut self, acknowledged: Option<i64>) -> u64 {
        if let Some(acknowledged) = acknowledged.filter(|_| self.ack) {
            self.queue.acknowledge(acknowledged);
        }
        self.newest_connect += 1;
        self.most_outstanding = self.most_outstanding.max(self.outstanding + 1);
        self.last_connect = Instant::now();
        self.wake.notify.notify_waiters();
        self.newest_connect
    }

    pub(super) fn is_first_connect(&self) -> bool {
        self.newest_connect == 1
    }

    pub(super) fn is_newest(&self, connect: u64) -> bool {
        self.newest_connect == connect
    }

    pub(super) fn most_outstanding(&self) -> usize {
        self.most_outstanding
    }

    pub(super) fn hold(&mut self) {
        self.outstanding += 1;
    }

    pub(super) fn release(&mut self) {
        self.outstanding -= 1;
        self.last_connect = Instant::now();
    }

    pub(super) fn is_lost(&self, plan: &NotificationPlan) -> bool {
        self.outstanding == 0 && self.last_connect.elapsed() > plan.patience()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.next_due()
    }

    pub(super) fn has_due(&self) -> bool {
        self.next_due().is_some_and(|due| due <= Instant::now())
    }

    /// Whether a connect is answered at once: what it leaves unacknowledged comes again.
    pub(super) fn has_news(&self, connect: &Message) -> bool {
        let again = connect.acknowledged().is_some() && self.queue.has_unacknowledged();
        again || self.has_due()
    }

    pub(super) fn take(&mut self) -> Vec<Value> {
        let taken = self.queue.take(self.batch, self.ack);
        self.delivered += taken.len() as u64;
        taken
    }

    pub(super) fn close_batch(&mut self) -> u64 {
        self.batch += 1;
        self.batch - 1
    }

    /// Only what the client has not been told yet.
    pub(super) fn advice(&mut self, plan: &NotificationPlan) -> Option<Value> {
        let advice = json!({
            "interval": plan.interval_ms,
            "timeout": plan.timeout_ms,
            "reconnect": "retry",
        });
        let is_known = self.advised.as_ref() == Some(&advice) && !self.is_first_connect();
        self.advised = Some(advice.clone());
        (!is_known).then_some(advice)
    }

    pub(super) fn shown(&self, id: &str) -> CometClient {
        CometClient {
            id: id.to_owned(),
            agent: self.agent.clone(),
            ack: self.ack,
            subscriptions: self.subscriptions.iter().cloned().collect(),
            outstanding: self.outstanding,
            most_outstanding: self.most_outstanding,
            delivered: self.delivered,
            pending: self.queue.len(),
        }
    }
}

impl Drop for Client {
    /// In whichever way it goes, the connects that are held for it must hear of it.
    fn drop(&mut self) {
        self.wake.notify.notify_waiters();
    }
}
