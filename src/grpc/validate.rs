//! Collects everything that is wrong with a request, so that the caller learns it at once.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Display;

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
    /// How many wrong fields are not kept.
    further: usize,
    unknown_account: bool,
}

/// What a field breaks, in words.
pub type Rule<'a> = Cow<'a, str>;

/// The rule, where it does not hold.
pub fn unless(holds: bool, rule: &'static str) -> Option<Rule<'static>> {
    (!holds).then_some(Cow::Borrowed(rule))
}

/// 1 to `longest` characters without control characters.
pub fn text(value: &str, longest: usize) -> impl Iterator<Item = Rule<'static>> {
    let empty = unless(!value.is_empty(), "must not be empty");
    empty.into_iter().chain(at_most(value, longest))
}

/// At most `longest` characters without control characters.
pub fn at_most(value: &str, longest: usize) -> impl Iterator<Item = Rule<'static>> {
    let long = value.chars().count() > longest;
    let long = long.then(|| format!("must have at most {longest} characters").into());
    // Unicode's control characters are C0, DEL and C1.
    let plain = !value.chars().any(char::is_control);
    let odd = unless(plain, "must not contain control characters");
    long.into_iter().chain(odd)
}

impl Violations {
    /// The field at `path` breaks these rules, if any. They are told together, so that it is named once.
    pub fn field<'a>(&mut self, path: impl Display, broken: impl IntoIterator<Item = Rule<'a>>) {
        let mut broken = broken.into_iter();
        let Some(first) = broken.next() else { return };
        if self.fields.len() == MOST_KEPT {
            // Not even spelled: for millions that would take seconds.
            self.further += 1;
            return;
        }
        let rules = broken.fold(first.into_owned(), |rules, rule| rules + "; " + &rule);
        let violation = FieldViolation::new(path.to_string(), rules);
        self.fields.push(violation);
    }

    /// The same for a field with one rule.
    pub fn check(&mut self, holds: bool, path: &str, rule: &'static str) {
        self.field(path, unless(holds, rule));
    }

    /// `account` has to name a configured one.
    pub fn account(&mut self, known: bool) {
        self.unknown_account |= !known;
        let rule = "names no account of the gateway's configuration";
        self.check(known, "account", rule);
    }

    /// Every element at most once, and none of which `wrong` knows a rule that it breaks.
    pub fn distinct<'a>(
        &mut self,
        path: &str,
        values: &[String],
        wrong: impl Fn(&str) -> Option<&'a str>,
    ) {
        let mut seen = HashSet::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let twice = unless(seen.insert(value), "is a duplicate");
            let wrong = wrong(value).map(Cow::Borrowed);
            let broken = wrong.into_iter().chain(twice);
            self.field(format_args!("{path}[{index}]"), broken);
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
