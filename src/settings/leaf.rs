//! The types a single setting can have.
//!
//! The file is taken at its word: `"4096"` is text and no number. A variable of the environment
//! has no type of its own and is read as what its key wants.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ::config::{Value, ValueKind};
use url::Url;

use super::{layers, units};
use crate::settings::ByteSize;

/// A type that one setting can be read as; the error says what was expected and what was found.
pub trait Leaf: Sized {
    fn read(value: &Value) -> Result<Self, String>;
}

impl Leaf for bool {
    fn read(value: &Value) -> Result<Self, String> {
        match &value.kind {
            ValueKind::Boolean(it) => Ok(*it),
            ValueKind::String(text) if layers::variable(value).is_some() => text
                .to_ascii_lowercase()
                .parse()
                .map_err(|_| expected("true or false", value)),
            _ => Err(expected("true or false", value)),
        }
    }
}

macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Leaf for $number {
            fn read(value: &Value) -> Result<Self, String> {
                let number = match &value.kind {
                    ValueKind::I64(it) => Self::try_from(*it).ok(),
                    ValueKind::String(text) if layers::variable(value).is_some() => text.parse().ok(),
                    _ => None,
                };
                number.ok_or_else(|| expected("a whole number", value))
            }
        }
    )*};
}
whole_numbers!(u16, u32, u64, usize);

impl Leaf for String {
    fn read(value: &Value) -> Result<Self, String> {
        text(value, "text").cloned()
    }
}

impl Leaf for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let duration = match &value.kind {
            ValueKind::I64(0) => Some(Duration::ZERO),
            ValueKind::String(text) => units::parse_duration(text),
            _ => None,
        };
        duration.ok_or_else(|| expected("a duration such as 500ms, 10s or 5m", value))
    }
}

impl Leaf for ByteSize {
    fn read(value: &Value) -> Result<Self, String> {
        let size = match &value.kind {
            ValueKind::I64(it) => u64::try_from(*it).ok().map(ByteSize),
            ValueKind::String(text) => text.parse().ok(),
            _ => None,
        };
        size.ok_or_else(|| expected("a size such as 4MiB, 64KiB or a number of bytes", value))
    }
}

impl Leaf for SocketAddr {
    fn read(value: &Value) -> Result<Self, String> {
        let wanted = "an address such as 127.0.0.1:50051 or [::1]:50051";
        let text = text(value, wanted)?;
        text.parse().map_err(|_| expected(wanted, value))
    }
}

impl Leaf for Url {
    fn read(value: &Value) -> Result<Self, String> {
        let wanted = "a URL such as https://vendor.example.com";
        let text = text(value, wanted)?;
        // Never echoed: a URL may carry a password.
        Url::parse(text).map_err(|why| format!("expected {wanted}: {why}"))
    }
}

impl Leaf for PathBuf {
    fn read(value: &Value) -> Result<Self, String> {
        match text(value, "the path of a file")?.as_str() {
            "" => Err("expected the path of a file, found empty text".to_owned()),
            path => Ok(PathBuf::from(path)),
        }
    }
}

impl Leaf for Vec<String> {
    fn read(value: &Value) -> Result<Self, String> {
        match &value.kind {
            ValueKind::Array(items) => items
                .iter()
                .enumerate()
                .map(|(i, item)| String::read(item).map_err(|why| format!("[{i}]: {why}")))
                .collect(),
            ValueKind::String(text) if layers::variable(value).is_some() => list_in_variable(text),
            _ => Err(expected("a list of texts", value)),
        }
    }
}

/// A variable holds a list as JSON or, when no item has a comma in it, with commas.
fn list_in_variable(text: &str) -> Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|_| "expected a list with commas, or a JSON array of strings".to_owned());
    }
    Ok(text.split(',').map(|item| item.trim().to_owned()).collect())
}

fn text<'a>(value: &'a Value, wanted: &str) -> Result<&'a String, String> {
    match &value.kind {
        ValueKind::String(text) => Ok(text),
        // Not echoed, unlike the numbers in `expected`: a key that wants text may want an identity.
        ValueKind::Table(_) | ValueKind::Array(_) => Err(expected(wanted, value)),
        ValueKind::Boolean(_) => Err(format!("expected {wanted}, found a boolean: quote it")),
        _ => Err(format!("expected {wanted}, found a number: quote it")),
    }
}

/// "expected …, found …". Only for types that hold no secret, for it echoes what it found.
pub(super) fn expected(wanted: &str, value: &Value) -> String {
    let found = match &value.kind {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Table(_) => "a mapping".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::String(text) if text.chars().count() > 60 => "a long text".to_owned(),
        ValueKind::String(text) => format!("the text {text:?}"),
        other => format!("`{other}`"),
    };
    format!("expected {wanted}, found {found}")
}
