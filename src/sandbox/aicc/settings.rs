//! The settings of an agent and their documented limits.

use serde::{Deserialize, Serialize};

const LONGEST_LIST: usize = 5;
const LONGEST_NUMBER: usize = 15;

/// All optional. A null counts as not sent: what it means is documented nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_present: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_number: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_number_default: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_present_default: Option<String>,
}

impl Settings {
    /// The name of the first setting beyond its limit.
    pub(super) fn beyond_limit(&self) -> Option<&'static str> {
        let call_type = self
            .call_type
            .as_deref()
            .is_none_or(|it| matches!(it, "0" | "1" | "2"));
        let checks = [
            ("callType", call_type),
            ("callerPresent", list(self.caller_present.as_deref())),
            ("callNumber", list(self.call_number.as_deref())),
            (
                "callNumberDefault",
                number(self.call_number_default.as_deref()),
            ),
            (
                "callerPresentDefault",
                number(self.caller_present_default.as_deref()),
            ),
        ];
        checks
            .into_iter()
            .find(|(_, within)| !within)
            .map(|(name, _)| name)
    }

    /// What was sent replaces what was there; the rest stays.
    pub(super) fn merge(&mut self, sent: Self) {
        replace(&mut self.call_type, sent.call_type);
        replace(&mut self.caller_present, sent.caller_present);
        replace(&mut self.call_number, sent.call_number);
        replace(&mut self.call_number_default, sent.call_number_default);
        replace(
            &mut self.caller_present_default,
            sent.caller_present_default,
        );
    }
}

fn replace<T>(current: &mut Option<T>, sent: Option<T>) {
    if sent.is_some() {
        *current = sent;
    }
}

/// Each element is one number, and not several with commas between them.
fn list(numbers: Option<&[String]>) -> bool {
    let is_one = |it: &String| !it.is_empty() && !it.contains(',') && number(Some(it));
    numbers.is_none_or(|list| list.len() <= LONGEST_LIST && list.iter().all(is_one))
}

fn number(number: Option<&str>) -> bool {
    number.is_none_or(|it| it.chars().count() <= LONGEST_NUMBER && !it.contains(char::is_control))
}
