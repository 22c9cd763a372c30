//! Collects everything that is wrong with a request, so that the caller learns it at once.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use tonic::{Code, Status};
use tonic_types::FieldViolation;

use super::details::Rejection;
use crate::pb::ErrorReason;

/// What is wrong so far.
#[derive(Debug, Default)]
pub struct Violations {
    fields: Vec<FieldViolation>,
    /// Where in `fields` a path stands.
    places: HashMap<String, usize>,
    unknown_account: bool,
}

impl Violations {
    /// The field at `path` breaks a rule. A field that breaks several is named once, so that the
    /// count of wrong fields is one.
    pub fn add(&mut self, path: impl Into<String>, rule: impl AsRef<str>) {
        let path = path.into();
        match self.places.entry(path.clone()) {
            Entry::Occupied(place) => {
                let description = &mut self.fields[*place.get()].description;
                description.push_str("; ");
                description.push_str(rule.as_ref());
            }
            Entry::Vacant(place) => {
                place.insert(self.fields.len());
                self.fields.push(FieldViolation::new(path, rule.as_ref()));
            }
        }
    }

    pub fn check(&mut self, holds: bool, path: &str, rule: &str) {
        if !holds {
            self.add(path, rule);
        }
    }

    /// `account` has to name a configured one.
    pub fn account(&mut self, known: bool) {
        if !known {
            self.unknown_account = true;
            self.add("account", "names no account of the gateway's configuration");
        }
    }

    /// 1 to `longest` characters without control characters.
    pub fn text(&mut self, path: &str, value: &str, longest: usize) {
        if value.is_empty() {
            self.add(path, "must not be empty");
        }
        self.at_most(path, value, longest);
    }

    /// At most `longest` characters without control characters.
    pub fn at_most(&mut self, path: &str, value: &str, longest: usize) {
        if value.chars().count() > longest {
            self.add(path, format!("must have at most {longest} characters"));
        }
        // Unicode's control characters are C0, DEL and C1.
        if value.chars().any(char::is_control) {
            self.add(path, "must not contain control characters");
        }
    }

    /// Every element at most once; names those that repeat.
    pub fn distinct(&mut self, path: &str, values: &[String]) {
        let mut seen = HashSet::new();
        for (index, value) in values.iter().enumerate() {
            if !seen.insert(value) {
                self.add(format!("{path}[{index}]"), "stands there twice");
            }
        }
    }

    /// Fine, or the error that names every wrong field.
    pub fn finish(self) -> Result<(), Status> {
        let wrong = self.fields.len();
        if wrong == 0 {
            return Ok(());
        }
        let only_the_account = self.unknown_account && wrong == 1;
        let (reason, message) = if only_the_account {
            let message = "the account is not configured in the gateway".to_owned();
            (ErrorReason::UnknownAccount, message)
        } else {
            (ErrorReason::InvalidField, summary(&self.fields))
        };
        Err(Rejection::new(Code::InvalidArgument, reason, message)
            .fact("attempts", &0)
            .violations(self.fields)
            .into_status())
    }
}

/// For those who see the message alone: the first field, and how many there are.
fn summary(fields: &[FieldViolation]) -> String {
    let first = &fields[0];
    let path: String = first.field.chars().take(80).collect();
    let others = match fields.len() - 1 {
        0 => String::new(),
        1 => "; 1 other field is wrong".to_owned(),
        n => format!("; {n} other fields are wrong"),
    };
    format!("{path}: {}{others}", first.description)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
