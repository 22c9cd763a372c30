//! What tests and the control endpoint see of the notifications, and how they shake them.

use super::{CometClient, InvalidPlan, NotificationPlan, NotificationRule};
use crate::sandbox::genesys::{Genesys, Participant};

impl Genesys {
    /// Say `Completed`. The agent's clients get a StatusChange.
    pub fn set_state(&self, session: &str, state: &str) {
        self.lock()
            .change_session(session, "StatusChange", |session| {
                session.state = state.to_owned();
            });
    }

    /// The agent's clients get a ParticipantsUpdated.
    pub fn set_participants(&self, session: &str, participants: Vec<Participant>) {
        self.lock()
            .change_session(session, "ParticipantsUpdated", |session| {
                session.participants = participants;
            });
    }

    /// Another node takes over, as after a crash: HTTP sessions, CSRF tokens and CometD clients are gone, held
    /// connects end with the balancer's 502; SMS sessions and their user data are kept.
    pub fn fail_over(&self) {
        self.lock().fail_over();
    }

    /// Only the CometD clients are gone: their connects, held ones too, are answered with `402::Unknown client`.
    pub fn drop_clients(&self) {
        self.lock().comet.drop_clients();
    }

    /// The plan as it stands; the times of its rules count down.
    pub fn notifications(&self) -> NotificationPlan {
        self.lock().comet.plan().clone()
    }

    /// All or nothing: a bad plan leaves the old one in force.
    pub fn set_notifications(&self, plan: NotificationPlan) -> Result<(), InvalidPlan> {
        self.lock().comet.set_plan(plan)
    }

    /// Every notification is normal again, and the settings are those of the beginning.
    pub fn clear_notifications(&self) {
        *self.lock().comet.plan() = NotificationPlan::default();
    }

    pub fn push_notification_rule(&self, rule: NotificationRule) -> Result<(), InvalidPlan> {
        self.lock().comet.push_rule(rule)
    }

    /// The CometD clients that are alive, by their id.
    pub fn comet_clients(&self) -> Vec<CometClient> {
        self.lock().comet.clients()
    }

    /// How many connects are being held for an agent's clients.
    pub fn outstanding_connects(&self, agent: &str) -> usize {
        let clients = self.comet_clients();
        let own = clients.iter().filter(|client| client.agent == agent);
        own.map(|client| client.outstanding).sum()
    }

    /// The most connects that any one client ever had open at a time, clients that have gone included.
    pub fn most_concurrent_connects(&self) -> usize {
        self.lock().comet.most_concurrent_connects
    }

    /// How many handshakes were successful.
    pub fn handshakes(&self) -> u64 {
        self.lock().comet.handshakes
    }
}
