//! The three changes of user data, read from a request body.

use serde_json::{Map, Value};

use super::route::{ATTACH, DELETE, UPDATE};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Attach(Map<String, Value>),
    Update(Map<String, Value>),
    Delete(Vec<String>),
}

/// Why a body names no change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A delete without keys. On voice it is accepted and wipes everything.
    WipesAll,
    Missing(&'static str),
    Invalid(&'static str),
}

impl Change {
    pub(super) fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let body: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|_| Unreadable::Invalid("Request body is not a JSON object"))?;
        match body.get("operationName") {
            None | Some(Value::Null) => {
                Err(Unreadable::Missing("Parameter 'operationName' is missing"))
            }
            Some(Value::String(name)) if name == ATTACH => pairs(&body).map(Self::Attach),
            Some(Value::String(name)) if name == UPDATE => pairs(&body).map(Self::Update),
            Some(Value::String(name)) if name == DELETE => keys(&body).map(Self::Delete),
            Some(_) => Err(Unreadable::Invalid("Unknown operation")),
        }
    }

    pub(super) fn operation(&self) -> &'static str {
        match self {
            Self::Attach(_) => ATTACH,
            Self::Update(_) => UPDATE,
            Self::Delete(_) => DELETE,
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        match self {
            Self::Attach(pairs) | Self::Update(pairs) => pairs.keys().cloned().collect(),
            Self::Delete(keys) => keys.clone(),
        }
    }
}

fn pairs(body: &Map<String, Value>) -> Result<Map<String, Value>, Unreadable> {
    match body.get("userData") {
        Some(Value::Object(pairs)) if !pairs.is_empty() => Ok(pairs.clone()),
        None | Some(Value::Null | Value::Object(_)) => {
            Err(Unreadable::Missing("Parameter 'userData' is missing"))
        }
        Some(_) => Err(Unreadable::Invalid("Parameter 'userData' is not an object")),
    }
}

fn keys(body: &Map<String, Value>) -> Result<Vec<String>, Unreadable> {
    let keys = match body.get("keys") {
        Some(Value::Array(keys)) if !keys.is_empty() => keys,
        None | Some(Value::Null | Value::Array(_)) => return Err(Unreadable::WipesAll),
        Some(_) => return Err(Unreadable::Invalid("Parameter 'keys' is not an array")),
    };
    let strings = keys.iter().map(|key| key.as_str().map(str::to_owned));
    strings.collect::<Option<_>>().ok_or(Unreadable::Invalid(
        "Parameter 'keys' holds something else than strings",
    ))
}
