//! What can go wrong with one answer.

use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Invalid;

/// Larger bodies would try the sandbox's memory, not the client's bounds.
pub(super) const LARGEST_BODY: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Waits, then answers as usual. A client that leaves meanwhile is never acted for (stage `before`).
    Latency { ms: u64 },
    /// Any status from 200 to 599 with any body.
    Status {
        status: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_type: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
    },
    /// The connection is reset without an answer.
    #[serde(deserialize_with = "nothing_more")]
    Reset,
    /// All headers, half of the body, end of connection.
    #[serde(deserialize_with = "nothing_more")]
    CutBody,
    /// A 200 that calls itself JSON and is none.
    #[serde(deserialize_with = "nothing_more")]
    Garbage,
    /// The page of a web server or proxy.
    Html { status: u16 },
    /// A valid yes of this many bytes.
    Oversize { bytes: usize },
    /// A 200 whose code field has a JSON type that no code has.
    #[serde(deserialize_with = "nothing_more")]
    WrongType,
    /// A 200 with `{}`.
    #[serde(deserialize_with = "nothing_more")]
    NoCode,
    /// The vendor's 401.
    #[serde(deserialize_with = "nothing_more")]
    Unauthorized,
    /// The vendor's 403 for a lost CSRF token or an illegal access token.
    #[serde(deserialize_with = "nothing_more")]
    ForbiddenToken,
    /// A 200 with the vendor's no.
    VendorCode { code: Code, message: String },
    /// 429 with Retry-After: seconds or an HTTP date.
    Throttle { retry_after: String },
    /// No answer, until the client leaves or the sandbox stops.
    #[serde(deserialize_with = "nothing_more")]
    Hang,
    /// The vendor's answer: headers at once, the body byte by byte.
    Trickle { ms_per_byte: u64 },
}

/// Genesys counts, AICC spells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Code {
    Number(i64),
    Text(String),
}

impl Fault {
    /// This status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            body: None,
            content_type: None,
            retry_after: None,
            location: None,
        }
    }

    /// Its name on the control endpoint and in the journal.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Status { .. } => "status",
            Self::Reset => "reset",
            Self::CutBody => "cut_body",
            Self::Garbage => "garbage",
            Self::Html { .. } => "html",
            Self::Oversize { .. } => "oversize",
            Self::WrongType => "wrong_type",
            Self::NoCode => "no_code",
            Self::Unauthorized => "unauthorized",
            Self::ForbiddenToken => "forbidden_token",
            Self::VendorCode { .. } => "vendor_code",
            Self::Throttle { .. } => "throttle",
            Self::Hang => "hang",
            Self::Trickle { .. } => "trickle",
        }
    }

    /// Whether the vendor works in spite of it: it only slows the answer down.
    pub(in crate::sandbox) fn lets_through(&self) -> bool {
        matches!(self, Self::Latency { .. } | Self::Trickle { .. })
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Status {
                status,
                content_type,
                retry_after,
                location,
                ..
            } => {
                check_status(*status)?;
                [content_type, retry_after, location]
                    .into_iter()
                    .flatten()
                    .try_for_each(|value| check_header(value))
            }
            Self::Html { status } => check_status(*status),
            Self::Throttle { retry_after } => check_header(retry_after),
            Self::Oversize { bytes } if *bytes > LARGEST_BODY => Err(Invalid::Oversize(*bytes)),
            _ => Ok(()),
        }
    }
}

impl Code {
    pub(in crate::sandbox) fn to_value(&self) -> Value {
        match self {
            Self::Number(code) => Value::from(*code),
            Self::Text(code) => Value::from(code.as_str()),
        }
    }
}

impl From<i64> for Code {
    fn from(code: i64) -> Self {
        Self::Number(code)
    }
}

impl From<&str> for Code {
    fn from(code: &str) -> Self {
        Self::Text(code.to_owned())
    }
}

fn check_status(status: u16) -> Result<(), Invalid> {
    match StatusCode::from_u16(status) {
        Ok(_) if (200..600).contains(&status) => Ok(()),
        _ => Err(Invalid::Status(status)),
    }
}

fn check_header(value: &str) -> Result<(), Invalid> {
    HeaderValue::from_str(value)
        .map(drop)
        .map_err(|_| Invalid::Header(value.to_owned()))
}

/// For a fault without fields serde would ignore whatever stands beside `kind`.
pub(in crate::sandbox) fn nothing_more<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}
