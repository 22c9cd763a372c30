//! The fault plan: an ordered list of rules, of which the first that matches a request disturbs its answer.

use std::sync::{Mutex, MutexGuard};

use self::fault::LARGEST_BODY;
use super::aicc::Aicc;
use super::genesys::Genesys;
use super::http::{Operation, Simulator};

mod fault;
mod rule;

pub(super) use fault::nothing_more;
pub use fault::{Code, Fault};
pub use rule::{Rule, Stage};
pub(super) use rule::{certain, strikes};

/// Why a rule was not taken into the plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("unknown vendor {0:?}: it is one of {known}", known = vendors().join(", "))]
    Vendor(String),
    #[error("unknown operation {name:?}: it is one of {known}", known = known.join(", "))]
    Operation {
        name: String,
        known: Vec<&'static str>,
    },
    #[error("probability {0} is not between 0 and 1")]
    Probability(String),
    #[error("status {0} is not between 200 and 599")]
    Status(u16),
    #[error("{0:?} cannot be the value of a header")]
    Header(String),
    #[error("a body of {0} bytes is more than {most}",  most = LARGEST_BODY)]
    Oversize(usize),
}

#[derive(Debug, Default)]
pub struct Plan {
    rules: Mutex<Vec<Rule>>,
}

/// A fault that was drawn for a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawn {
    pub(super) stage: Stage,
    pub(super) fault: Fault,
}

impl Plan {
    /// The rules in their order; `times` counts down, and a used-up rule stays with 0.
    pub fn rules(&self) -> Vec<Rule> {
        self.lock().clone()
    }

    /// All or nothing: one bad rule leaves the old plan in force.
    pub fn replace(&self, rules: Vec<Rule>) -> Result<(), Invalid> {
        rules.iter().try_for_each(Rule::check)?;
        *self.lock() = rules;
        Ok(())
    }

    pub fn push(&self, rule: Rule) -> Result<(), Invalid> {
        rule.check()?;
        self.lock().push(rule);
        Ok(())
    }

    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The fault for this request, which uses up one of its rule's times.
    pub(super) fn draw(&self, vendor: &str, operation: Operation) -> Option<Drawn> {
        let mut rules = self.lock();
        let rule = rules
            .iter_mut()
            .filter(|rule| rule.matches(vendor, operation))
            .find_map(|rule| strikes(&mut rule.times, rule.probability).then_some(rule))?;
        Some(Drawn {
            stage: rule.stage,
            fault: rule.fault.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().expect("no holder of this lock panics")
    }
}

/// A name that is misspelt, or the other vendor's, would never match, and a rehearsal would pass for the
/// wrong reason.
pub(super) fn check_names(vendor: Option<&str>, operation: Option<&str>) -> Result<(), Invalid> {
    if let Some(name) = vendor.filter(|name| !vendors().contains(name)) {
        return Err(Invalid::Vendor(name.to_owned()));
    }
    let known = operations(vendor);
    match operation.filter(|name| !known.contains(name)) {
        Some(name) => Err(Invalid::Operation {
            name: name.to_owned(),
            known,
        }),
        None => Ok(()),
    }
}

fn vendors() -> [&'static str; 2] {
    [Genesys::NAME, Aicc::NAME]
}

/// Of this vendor, or of both.
fn operations(vendor: Option<&str>) -> Vec<&'static str> {
    [
        (Genesys::NAME, Genesys::OPERATIONS),
        (Aicc::NAME, Aicc::OPERATIONS),
    ]
    .into_iter()
    .filter(|(name, _)| vendor.is_none_or(|vendor| vendor == *name))
    .flat_map(|(_, operations)| operations)
    .map(|operation| operation.name)
    .collect()
}

#[cfg(test)]
mod tests;
