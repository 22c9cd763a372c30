//! Notifications: CometD as the vendor runs it, long polling only, and what the writes make it say.
//!
//! The first connect of a client is answered at once, and a connect that shares its request with other messages
//! is not held, both as in CometD. A second connect answers the first. A client that comes with another agent's
//! login, or without its browser cookie, is a stranger to the server and gets the answer of an unknown one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::sms::SmsSession;

mod bayeux;
mod channel;
mod client;
mod connect;
mod conversation;
mod event;
mod handshake;
mod outside;
mod plan;
mod poll;
mod queue;
mod wake;

pub(super) use bayeux::{Message, Meta, read};
use client::Client;
pub use client::CometClient;
pub(super) use conversation::{Caller, Heard};
pub use plan::{InvalidPlan, Notification, NotificationPlan, NotificationRule};
pub(super) use poll::{Poll, Receipt};
use queue::Undelivered;
use wake::Gone;

#[derive(Debug, Default)]
pub(super) struct Comet {
    plan: NotificationPlan,
    clients: BTreeMap<String, Client>,
    /// Of all times, clients that have gone included.
    handshakes: u64,
    /// Of any one client at any time, clients that have gone included.
    most_concurrent_connects: usize,
}

impl Comet {
    pub(super) fn plan(&mut self) -> &mut NotificationPlan {
        &mut self.plan
    }

    pub(super) fn set_plan(&mut self, plan: NotificationPlan) -> Result<(), InvalidPlan> {
        plan.check()?;
        self.plan = plan;
        Ok(())
    }

    pub(super) fn push_rule(&mut self, rule: NotificationRule) -> Result<(), InvalidPlan> {
        rule.check()?;
        self.plan.rules.push(rule);
        Ok(())
    }

    /// Those that are still alive.
    pub(super) fn clients(&mut self) -> Vec<CometClient> {
        self.sweep();
        let clients = self.clients.iter();
        clients.map(|(id, client)| client.shown(id)).collect()
    }

    /// Held connects are answered as those of unknown clients.
    pub(super) fn drop_clients(&mut self) {
        self.remove_all(Gone::Dropped);
    }

    /// Held connects end with their node.
    pub(super) fn fail_over(&mut self) {
        self.remove_all(Gone::FailedOver);
    }

    /// Tells of a write, or of its failure, in the way that was drawn for it.
    pub(super) fn tell(
        &mut self,
        session: &SmsSession,
        reference_id: u64,
        how: Notification,
    ) -> Option<Receipt> {
        let updated = || event::properties_updated(session, Some(reference_id));
        let agent = session.agent.as_str();
        match how {
            Notification::Normal => self.publish(agent, &updated()),
            Notification::BeforeAnswer => {
                return Some(self.publish_with_receipt(agent, &updated()));
            }
            Notification::Late { ms } => {
                let due = Instant::now() + Duration::from_millis(ms);
                self.queue(agent, &updated(), due, None);
            }
            Notification::Never => {}
            Notification::Twice => {
                self.publish(agent, &updated());
                self.publish(agent, &updated());
            }
            Notification::Error { message } => {
                self.publish(agent, &event::error(session, reference_id, &message));
            }
            Notification::WithoutReferenceId => {
                self.publish(agent, &event::properties_updated(session, None));
            }
        }
        None
    }

    /// Tells of a change other than of user data.
    pub(super) fn tell_change(&mut self, session: &SmsSession, notification_type: &str) {
        self.publish(&session.agent, &event::changed(session, notification_type));
    }

    fn publish(&mut self, agent: &str, event: &Value) {
        self.queue(agent, event, Instant::now(), None);
    }

    fn publish_with_receipt(&mut self, agent: &str, event: &Value) -> Receipt {
        let (undelivered, delivered) = mpsc::channel(1);
        self.queue(agent, event, Instant::now(), Some(&undelivered));
        Receipt(delivered)
    }

    fn queue(&mut self, agent: &str, event: &Value, due: Instant, receipt: Option<&Undelivered>) {
        self.sweep();
        let clients = self.clients.values_mut();
        for client in clients.filter(|it| it.agent == agent && it.hears(event::CHANNEL)) {
            client.offer(event.clone(), due, receipt.cloned());
        }
    }

    fn remove(&mut self, id: &str, why: Gone) {
        if let Some(client) = self.clients.remove(id) {
            // Set once, as it is removed once.
            let _ = client.wake.gone.set(why);
        }
    }

    fn remove_all(&mut self, why: Gone) {
        for (_, client) in std::mem::take(&mut self.clients) {
            let _ = client.wake.gone.set(why);
        }
    }

    fn sweep(&mut self) {
        let plan = &self.plan;
        self.clients.retain(|_, client| !client.is_lost(plan));
    }

    pub(super) fn snapshot(&mut self) -> Value {
        json!({
            "clients": self.clients(),
            "handshakes": self.handshakes,
            "most_concurrent_connects": self.most_concurrent_connects,
        })
    }
}

#[cfg(test)]
mod tests;
