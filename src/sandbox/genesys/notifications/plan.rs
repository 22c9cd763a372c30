//! How the server tells of changes: its settings, and the rules by which single notifications go astray.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sandbox::faults::{certain, nothing_more, strikes};
use crate::sandbox::genesys::route::{ATTACH, DELETE, UPDATE};

const WRITES: [&str; 3] = [ATTACH, UPDATE, DELETE];
/// A day. More would only try the clock's range.
pub(super) const LONGEST_MS: u64 = 86_400_000;

/// Why a plan was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    #[error("unknown operation {0:?}: it is one of {known}", known = WRITES.join(", "))]
    Operation(String),
    #[error("probability {0} is not between 0 and 1")]
    Probability(String),
    #[error("{0} ms is more than a day")]
    TooLong(u64),
}

/// Fields that are left out have their default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotificationPlan {
    /// The first that matches a write decides; without any, its notification is normal.
    pub rules: Vec<NotificationRule>,
    /// Whether the answer to a write carries its referenceId. The documented SMS samples do not.
    pub reference_id_in_answers: bool,
    /// Whether the server has the acknowledge extension.
    pub ack: bool,
    /// How long a connect is held, as advised.
    pub timeout_ms: u64,
    /// How long a client waits between two connects, as advised.
    pub interval_ms: u64,
    /// A client without a connect for longer than this and the interval is gone.
    pub max_interval_ms: u64,
}

/// Which writes are told of in another way than normal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationRule {
    /// Absent means every write.
    #[serde(default)]
    pub operation: Option<String>,
    /// How many more times; absent means always.
    #[serde(default)]
    pub times: Option<u32>,
    /// From 0 to 1. A rule that loses its throw is passed over, and the next one is looked at.
    #[serde(default = "certain")]
    pub probability: f64,
    pub notification: Notification,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Notification {
    /// Sent when the write is applied; it and the answer travel side by side.
    #[serde(deserialize_with = "nothing_more")]
    Normal,
    /// The answer is kept back until every subscribed client has fetched the notification.
    #[serde(deserialize_with = "nothing_more")]
    BeforeAnswer,
    /// Sent so much later than the write was applied.
    Late { ms: u64 },
    /// The write is applied, and nobody hears of it.
    #[serde(deserialize_with = "nothing_more")]
    Never,
    #[serde(deserialize_with = "nothing_more")]
    Twice,
    /// The answer is a yes, but nothing is applied: a notification of the failure comes instead.
    Error { message: String },
    #[serde(deserialize_with = "nothing_more")]
    WithoutReferenceId,
}

impl NotificationPlan {
    /// What becomes of the notification of this write; uses up one of its rule's times.
    pub(in crate::sandbox::genesys) fn draw(&mut self, operation: &str) -> Notification {
        self.rules
            .iter_mut()
            .filter(|rule| rule.matches(operation))
            .find_map(|rule| strikes(&mut rule.times, rule.probability).then_some(rule))
            .map_or(Notification::Normal, |rule| rule.notification.clone())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// How long a client lives without a connect.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_millis(self.interval_ms + self.max_interval_ms)
    }

    pub(super) fn check(&self) -> Result<(), InvalidPlan> {
        [self.timeout_ms, self.interval_ms, self.max_interval_ms]
            .into_iter()
            .try_for_each(check_span)?;
        self.rules.iter().try_for_each(NotificationRule::check)
    }
}

impl Default for NotificationPlan {
    /// The advice as recorded from a live server; maxInterval as CometD has it.
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            reference_id_in_answers: false,
            ack: true,
            timeout_ms: 20_000,
            interval_ms: 0,
            max_interval_ms: 10_000,
        }
    }
}

impl NotificationRule {
    /// Every write, always. The methods below narrow it.
    pub fn new(notification: Notification) -> Self {
        Self {
            operation: None,
            times: None,
            probability: 1.0,
            notification,
        }
    }

    #[must_use]
    pub fn operation(self, operation: &str) -> Self {
        Self {
            operation: Some(operation.to_owned()),
            ..self
        }
    }

    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    #[must_use]
    pub fn probability(self, probability: f64) -> Self {
        Self {
            probability,
            ..self
        }
    }

    fn matches(&self, operation: &str) -> bool {
        self.operation
            .as_deref()
            .is_none_or(|name| name == operation)
    }

    pub(super) fn check(&self) -> Result<(), InvalidPlan> {
        // A misspelt name would never match, and the rehearsal would pass for the wrong reason.
        if let Some(name) = self
            .operation
            .as_deref()
            .filter(|name| !WRITES.contains(name))
        {
            return Err(InvalidPlan::Operation(name.to_owned()));
        }
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(InvalidPlan::Probability(self.probability.to_string()));
        }
        match self.notification {
            Notification::Late { ms } => check_span(ms),
            _ => Ok(()),
        }
    }
}

fn check_span(ms: u64) -> Result<(), InvalidPlan> {
    match ms <= LONGEST_MS {
        true => Ok(()),
        false => Err(InvalidPlan::TooLong(ms)),
    }
}
