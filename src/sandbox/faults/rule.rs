//! Which requests a fault befalls.

use serde::{Deserialize, Serialize};

use super::{Fault, Invalid, check_names};
use crate::sandbox::http::{Kind, Operation};

/// Which requests go wrong, how often, and in which way.
///
/// A rule without `operation` matches the calls of a vendor but neither its logins nor its notifications: a plan
/// about calls must not lock the client out or deafen it. Name `Login` (Genesys), `Token` (AICC), `Handshake`,
/// `Connect` and so on to disturb those.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(default)]
    pub vendor: Option<String>,
    #[serde(default)]
    pub operation: Option<String>,
    /// How many more times; absent means always.
    #[serde(default)]
    pub times: Option<u32>,
    /// From 0 to 1. A rule that loses its throw is passed over, and the next one is looked at.
    #[serde(default = "certain")]
    pub probability: f64,
    #[serde(default)]
    pub stage: Stage,
    pub fault: Fault,
}

/// Whether the vendor has done its work when things go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It has not. `latency` and `trickle` still let it work afterwards: they only take time.
    #[default]
    Before,
    /// It has; only the answer is disturbed, so the client cannot know.
    After,
}

impl Rule {
    /// Every call of both vendors, always, before the vendor acts. The methods below narrow it.
    pub fn new(fault: Fault) -> Self {
        Self {
            vendor: None,
            operation: None,
            times: None,
            probability: 1.0,
            stage: Stage::Before,
            fault,
        }
    }

    #[must_use]
    pub fn vendor(self, vendor: &str) -> Self {
        Self {
            vendor: Some(vendor.to_owned()),
            ..self
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

    #[must_use]
    pub fn after(self) -> Self {
        Self {
            stage: Stage::After,
            ..self
        }
    }

    pub(super) fn matches(&self, vendor: &str, operation: Operation) -> bool {
        let named = match &self.operation {
            Some(name) => name == operation.name,
            None => operation.kind == Kind::Call,
        };
        named && self.vendor.as_deref().is_none_or(|name| name == vendor)
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_names(self.vendor.as_deref(), self.operation.as_deref())?;
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(Invalid::Probability(self.probability.to_string()));
        }
        self.fault.check()
    }
}

/// Whether a rule has times left and wins its throw, which uses up one of them.
pub(in crate::sandbox) fn strikes(times: &mut Option<u32>, probability: f64) -> bool {
    let strikes = *times != Some(0) && rand::random::<f64>() < probability;
    if strikes && let Some(times) = times {
        *times -= 1;
    }
    strikes
}

pub(in crate::sandbox) fn certain() -> f64 {
    1.0
}
