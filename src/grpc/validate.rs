//! Collects everything that is wrong with a request, so that the caller learns it at once.

use std::collections::{HashMap, HashSet};

use tonic::{Code, Status};
use tonic_types::FieldViolation;

use super::details::Rejection;
use crate::pb::ErrorReason;

/// As many wrong fields are kept, which is more than an error can name; further ones are counted. A
/// message of some megabytes can have millions.
const MOST_KEPT: usize = 256;

/// What is wrong so far.
#[derive(Debug, Default)]
pub struct Violations {
    fields: Vec<FieldViolation>,
    /// Where in `fields` a path stands.
    places: HashMap<String, usize>,
    /// How many wrong fields are not kept, and the last of them.
    further: usize,
    last: String,
    unknown_account: bool,
}

impl Violations {
    /// The field at `path` breaks a rule. A field that breaks several is named once, so that the
    /// count of wrong fields is one: all rules for a field are checked before those for the next.
    pub fn add(&mut self, path: impl Into<String>, rule: impl AsRef<str>) {
        let path = path.into();
        if let Some(place) = self.places.get(&path) {
            let description = &mut self.fields[*place].description;
            description.push_str("; ");
            description.push_str(rule.as_ref());
        } else if self.fields.len() < MOST_KEPT {
            self.places.insert(path.clone(), self.fields.len());
            self.fields.push(FieldViolation::new(path, rule.as_ref()));
        } else if self.further == 0 || self.last != path {
            self.further += 1;
            self.last = path;
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

    /// Every element at most once, and none of which `wrong` knows a rule that it breaks.
    pub fn distinct<'a>(
        &mut self,
        path: &str,
        values: &[String],
        wrong: impl Fn(&str) -> Option<&'a str>,
    ) {
        let mut seen = HashSet::new();
        for (index, value) in values.iter().enumerate() {
            let twice = (!seen.insert(value)).then_some("stands there twice");
            for rule in wrong(value).into_iter().chain(twice) {
                self.add(format!("{path}[{index}]"), rule);
            }
        }
    }

    /// Fine, or the error that names every wrong field.
    pub fn finish(self) -> Result<(), Status> {
        let wrong = self.fields.len() + self.further;
        if wrong == 0 {
            return Ok(());
        }
        let only_the_account = self.unknown_account && wrong == 1;
        let (reason, message) = if only_the_account {
            let message = "the account is not configured in the gateway".to_owned();
            (ErrorReason::UnknownAccount, message)
        } else {
            (
                ErrorReason::InvalidField,
                summary(&self.fields[0], wrong - 1),
            )
        };
        Err(Rejection::new(Code::InvalidArgument, reason, message)
            .fact("attempts", &0)
            .violations(self.fields, self.further)
            .into_status())
    }
}

/// For those who see the message alone: the first field, and how many others there are.
fn summary(first: &FieldViolation, others: usize) -> String {
    let path: String = first.field.chars().take(80).collect();
    let others = match others {
        0 => String::new(),
        1 => "; 1 other field is wrong".to_owned(),
        n => format!("; {n} other fields are wrong"),
    };
    format!("{path}: {}{others}", first.description)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
