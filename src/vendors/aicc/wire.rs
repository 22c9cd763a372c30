//! The vendor's JSON, read as tolerantly as its pages differ.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::pb::{CallType, PersonalSettings};
use crate::upstream::judge::object;
use crate::upstream::lenient::{lenient, scalar, text};
use crate::upstream::operation::Reply;
use crate::upstream::redact::Redactor;

/// What every answer begins with, and what the gateway in front of the vendor says instead.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Envelope {
    return_code: Value,
    return_desc: Value,
    exception_info: Value,
}

impl Envelope {
    pub(super) fn of(reply: &Reply) -> Envelope {
        object(reply).unwrap_or_default()
    }

    /// A string, or a whole number in its place. Kept as text: codes have leading zeros.
    pub(super) fn code(&self) -> Option<String> {
        match &self.return_code {
            Value::String(code) => Some(code.trim().to_owned()).filter(|code| !code.is_empty()),
            Value::Number(code) if code.is_i64() => Some(code.to_string()),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        [&self.return_desc, &self.exception_info]
            .into_iter()
            .find_map(|text| text.as_str().map(str::to_owned))
    }

    /// The gateway in front of the vendor says what went wrong, in place of an answer.
    pub(super) fn tells_of_failure(&self) -> bool {
        self.exception_info.is_string()
    }

    /// The words of a yes; they may hold numbers of people, as those of a no.
    pub(super) fn description(&self) -> String {
        Redactor::default().clean(self.return_desc.as_str().unwrap_or_default())
    }
}

/// What a create or an update answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) id: String,
    pub(super) description: String,
}

impl Written {
    pub(super) fn of(reply: &Reply) -> Written {
        /// Nothing but the id, so that nothing else in the answer can cost it.
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Identified {
            #[serde(deserialize_with = "text")]
            id: String,
        }
        let Identified { id } = read(reply).unwrap_or_default();
        Written {
            id,
            description: Envelope::of(reply).description(),
        }
    }
}

/// Settings as they go out: only what is named is sent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    call_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_present: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_number: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    call_number_default: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_present_default: Option<&'a str>,
}

/// The fields of `PersonalSettings` that a mask may name.
pub(super) const FIELDS: [&str; 5] = [
    "call_type",
    "caller_present",
    "call_number",
    "call_number_default",
    "caller_present_default",
];

impl<'a> Settings<'a> {
    /// Every populated field, and nothing else.
    pub(super) fn populated(settings: &'a PersonalSettings) -> Self {
        Self::chosen(settings, |_, populated| populated)
    }

    /// Exactly the named fields, an unset one as its empty value.
    pub(super) fn masked(settings: &'a PersonalSettings, mask: &[String]) -> Self {
        Self::chosen(settings, |field, _| mask.iter().any(|path| path == field))
    }

    fn chosen(settings: &'a PersonalSettings, send: impl Fn(&str, bool) -> bool) -> Self {
        let list =
            |field, list: &'a Vec<String>| send(field, !list.is_empty()).then_some(list.as_slice());
        let text = |field, text: &'a String| send(field, !text.is_empty()).then_some(text.as_str());
        let call_type = call_type_out(settings.call_type());
        Settings {
            call_type: call_type.filter(|_| send("call_type", true)),
            caller_present: list("caller_present", &settings.caller_present),
            call_number: list("call_number", &settings.call_number),
            call_number_default: text("call_number_default", &settings.call_number_default),
            caller_present_default: text(
                "caller_present_default",
                &settings.caller_present_default,
            ),
        }
    }
}

fn call_type_out(call_type: CallType) -> Option<&'static str> {
    match call_type {
        CallType::Unspecified => None,
        CallType::Direct => Some("0"),
        CallType::Bidirectional => Some("1"),
        CallType::PassThrough => Some("2"),
    }
}

fn call_type_in(call_type: &str) -> CallType {
    match call_type {
        "0" => CallType::Direct,
        "1" => CallType::Bidirectional,
        "2" => CallType::PassThrough,
        _ => CallType::Unspecified,
    }
}

/// A record as the vendor shows it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Record {
    #[serde(deserialize_with = "text")]
    pub(super) id: String,
    #[serde(deserialize_with = "text")]
    pub(super) user_id: String,
    #[serde(deserialize_with = "text")]
    pub(super) agent_name: String,
    #[serde(deserialize_with = "text")]
    pub(super) create_time: String,
    #[serde(deserialize_with = "text")]
    pub(super) tenant_id: String,
    #[serde(deserialize_with = "text")]
    call_type: String,
    #[serde(deserialize_with = "list")]
    caller_present: Vec<String>,
    #[serde(deserialize_with = "list")]
    call_number: Vec<String>,
    #[serde(deserialize_with = "text")]
    call_number_default: String,
    #[serde(deserialize_with = "text")]
    caller_present_default: String,
}

impl Record {
    pub(super) fn into_settings(self) -> PersonalSettings {
        PersonalSettings {
            call_type: call_type_in(&self.call_type).into(),
            caller_present: self.caller_present,
            call_number: self.call_number,
            call_number_default: self.call_number_default,
            caller_present_default: self.caller_present_default,
        }
    }
}

/// Reads an answer; the error says where it is wrong and quotes nothing of it.
pub(super) fn read<T: for<'de> Deserialize<'de>>(reply: &Reply) -> Result<T, String> {
    let body = lenient(&reply.body);
    // Serde would take an array for a struct, field by field.
    if body.trim_start().starts_with('[') {
        return Err("an array in place of an object".to_owned());
    }
    serde_json::from_str(&body).map_err(|error| {
        let place = format!("at line {} column {}", error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => format!("a value of an unexpected type, {place}"),
            _ => format!("not JSON, {place}"),
        }
    })
}

/// A list of numbers as an update takes them back: a comma-joined string is split, in place of the list or
/// within it, and null and empty ones are none.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?;
    let items: Vec<&RawValue> = match json.get().starts_with('[') {
        true => serde_json::from_str(json.get()).map_err(D::Error::custom)?,
        false => vec![json],
    };
    let mut numbers = Vec::new();
    for item in items {
        let joined = scalar(item).ok_or_else(|| D::Error::custom("no list of strings"))?;
        let parts = joined.split(',').map(str::trim);
        numbers.extend(parts.filter(|it| !it.is_empty()).map(str::to_owned));
    }
    Ok(numbers)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
