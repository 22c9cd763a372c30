//! The SMS sessions of all agents, and the ledger of what was written to them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::change::Change;

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SmsSession {
    pub id: String,
    /// Made with a prefix from the server's configuration, which need not be reachable.
    pub uri: String,
    pub state: String,
    pub participants: Vec<Participant>,
    pub capabilities: Vec<String>,
    pub user_data: Map<String, Value>,
    pub comment: String,
    /// `me` of this session.
    #[serde(skip)]
    pub agent: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    pub r#type: String,
    pub nickname: String,
    pub participant_id: String,
}

/// One accepted change of user data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Write {
    /// What the notification about it refers to.
    pub reference_id: u64,
    pub agent: String,
    pub session: String,
    pub operation: &'static str,
    pub keys: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct SmsSessions {
    by_id: BTreeMap<String, SmsSession>,
    writes: Vec<Write>,
    /// Counted per agent: the vendor promises uniqueness only within one agent's session.
    references: BTreeMap<String, u64>,
}

impl SmsSessions {
    pub(super) fn insert(&mut self, session: SmsSession) {
        self.by_id.insert(session.id.clone(), session);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &SmsSession)> {
        self.by_id.values().map(|session| (&session.agent, session))
    }

    pub(super) fn of(&self, agent: &str) -> impl Iterator<Item = &SmsSession> {
        self.by_id
            .values()
            .filter(move |session| session.agent == agent)
    }

    pub(super) fn find(&self, id: &str) -> Option<&SmsSession> {
        self.by_id.get(id)
    }

    /// What another agent has is not there.
    pub(super) fn find_of(&self, agent: &str, id: &str) -> Option<&SmsSession> {
        self.find(id).filter(|session| session.agent == agent)
    }

    /// For changes from elsewhere, which enter no ledger.
    pub(super) fn find_mut(&mut self, id: &str) -> Option<&mut SmsSession> {
        self.by_id.get_mut(id)
    }

    pub(super) fn next_reference(&mut self, agent: &str) -> u64 {
        let reference = self.references.entry(agent.to_owned()).or_default();
        *reference += 1;
        *reference
    }

    pub(super) fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Does nothing when there is no such session.
    pub(super) fn apply(&mut self, id: &str, change: Change, reference_id: u64) {
        let Some(session) = self.by_id.get_mut(id) else {
            return;
        };
        let (operation, keys) = (change.operation(), change.keys());
        match change {
            // On voice a second attach of a key makes a duplicate. The map cannot show that; the ledger does.
            Change::Attach(pairs) | Change::Update(pairs) => session.user_data.extend(pairs),
            Change::Delete(keys) => session.user_data.retain(|key, _| !keys.contains(key)),
        }
        self.writes.push(Write {
            reference_id,
            agent: session.agent.clone(),
            session: id.to_owned(),
            operation,
            keys,
        });
    }
}
