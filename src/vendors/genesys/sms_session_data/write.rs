//! What the three writes share: their address, and how an accepted one is answered.

use std::fmt::Display;

use bytes::Bytes;
use http::Request;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prost_types::Struct;
use serde::{Deserialize, Serialize};

use super::user_data::Json;
use crate::grpc::validate::{Violations, text, unless};
use crate::pb::SmsSession;
use crate::upstream::error::Error;
use crate::upstream::judge::{self, unreadable};
use crate::upstream::operation::{Meta, Operation, Reply, json_request};
use crate::vendors::genesys::Genesys;

/// Everything but RFC 3986's unreserved characters, so that an id is one segment whatever it
/// holds.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(super) const TEMPLATE: &str = "/api/v2/me/smssessions/{id}";

const LONGEST_ID: usize = 128;

/// The address of a session, the id sent as exactly one segment.
pub(super) fn path(session_id: &str) -> String {
    format!(
        "/api/v2/me/smssessions/{}",
        utf8_percent_encode(session_id, SEGMENT)
    )
}

/// `.` and `..` would be resolved away by any HTTP client or proxy: they name other resources.
pub(super) fn check_id(path: impl Display, session_id: &str, violations: &mut Violations) {
    let named = !matches!(session_id, "." | "..");
    let dots = unless(named, "must be neither `.` nor `..`");
    violations.field(path, text(session_id, LONGEST_ID).chain(dots));
}

/// What the vendor's `operationName` stands beside.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, T> {
    operation_name: &'a str,
    #[serde(flatten)]
    argument: T,
}

/// The request of one write; its meta names the operation.
pub(super) fn request(
    meta: &Meta,
    session_id: &str,
    argument: impl Serialize,
) -> Result<Request<Bytes>, Error> {
    let body = Body {
        operation_name: meta.name,
        argument,
    };
    json_request(meta, &path(session_id), &body)
}

/// The argument of an attach or an update.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserData<'a> {
    pub(super) user_data: Option<Json<'a>>,
}

/// A write, and how its effect is known.
pub(in crate::vendors::genesys) trait Write:
    Operation<Vendor = Genesys, Output = Accepted> + Sync
{
    /// Whether it is shown by what is not there: a state of before it, or of before what it takes away
    /// was put there, shows the same.
    const SHOWN_BY_ABSENCE: bool = false;

    fn session_id(&self) -> &str;

    /// Whether the session is as this write leaves it.
    fn is_in_place(&self, session: &SmsSession) -> bool;

    /// Whether the session shows that it was not done.
    fn is_absent(&self, session: &SmsSession) -> bool {
        !self.is_in_place(session)
    }
}

/// Whether a session holds all these pairs.
pub(super) fn holds(session: &SmsSession, pairs: Option<&Struct>) -> bool {
    let none = Struct::default();
    let held = session.user_data.as_ref().unwrap_or(&none);
    let mut pairs = pairs.unwrap_or(&none).fields.iter();
    pairs.all(|(key, value)| held.fields.get(key) == Some(value))
}

/// An accepted write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vendors::genesys) struct Accepted {
    pub(in crate::vendors::genesys) reference_id: Option<i64>,
}

/// A write without a `statusCode` was not accepted in so many words, whatever the HTTP status.
pub(super) fn accepted(reply: &Reply) -> Result<Accepted, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        status_code: i64,
        #[serde(default)]
        reference_id: Option<serde_json::Value>,
    }
    let none = || unreadable(reply, "no JSON object with a numeric statusCode");
    let answer: Answer = judge::object(reply).ok_or_else(none)?;
    if answer.status_code != 0 {
        return Err(unreadable(reply, "its statusCode is not 0"));
    }
    // Optional by all that is known, so an odd one is no reason to doubt the write.
    let reference_id = answer.reference_id.and_then(|value| value.as_i64());
    Ok(Accepted { reference_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use proptest::prelude::*;

    fn reply(body: &str) -> Reply {
        Reply {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn only_a_status_code_of_zero_is_a_yes() {
        let plain = accepted(&reply(r#"{"statusCode":0}"#)).unwrap();
        assert_eq!(plain.reference_id, None);
        let linked = accepted(&reply(r#"{"statusCode":0,"referenceId":83}"#)).unwrap();
        assert_eq!(linked.reference_id, Some(83));
        let odd = accepted(&reply(r#"{"statusCode":0,"referenceId":"x"}"#)).unwrap();
        assert_eq!(odd.reference_id, None);
        for no in [
            "",
            "{}",
            "[]",
            "[0]",
            "[0,83]",
            "<html>",
            r#"{"statusCode":"0"}"#,
            r#"{"statusCode":{}}"#,
            r#"{"statusCode":null}"#,
            r#"{"statusCode":2}"#,
        ] {
            assert!(
                matches!(accepted(&reply(no)), Err(Error::Unreadable { .. })),
                "{no}"
            );
        }
        let page = accepted(&reply("<html>")).unwrap_err().to_string();
        assert!(page.ends_with("it is an HTML page"), "{page}");
    }

    proptest! {
        /// What the vendor gets is one segment, and decoding it once gives the id.
        #[test]
        fn an_id_is_one_segment(id in "[^\\p{Cc}]{1,128}") {
            prop_assume!(id != "." && id != "..");
            let path = path(&id);
            let segment = path.strip_prefix("/api/v2/me/smssessions/").unwrap();
            prop_assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
            let decoded = percent_encoding::percent_decode_str(segment).decode_utf8().unwrap();
            prop_assert_eq!(decoded, id.as_str());
            // The URL parser must not resolve it away either.
            let url = url::Url::parse(&format!("http://h{path}")).unwrap();
            prop_assert_eq!(url.path(), path.as_str());
        }
    }
}
