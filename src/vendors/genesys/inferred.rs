//! Rules about the vendor that its documents do not state; each was inferred, and stands here
//! so that it can be found and corrected in one place.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::StatusCode;

use crate::upstream::error::Answer;
use crate::upstream::judge::object;
use crate::upstream::operation::Reply;

/// The page that a login reads: any GET answers with the CSRF header and cookies, and this is
/// the cheapest one documented. A denial of it is about the credentials: the server falls back
/// to an anonymous user, who may do nothing.
pub(super) const LOGIN_PATH: &str = "/api/v2/me";

/// Names under which a list of sessions, or a single one, comes wrapped. Both spellings of
/// "sms" were seen in notifications.
pub(super) const WRAPPERS: [&str; 4] = ["smssessions", "smssession", "smsessions", "smsession"];

/// The topic of SMS sessions, made by the pattern of its sisters. It matters only for events
/// that hold no session: those that do are known by it.
pub(super) fn is_sms_channel(channel: &str) -> bool {
    let topic = channel.rsplit('/').next().unwrap_or_default();
    WRAPPERS.contains(&topic.to_ascii_lowercase().as_str())
}

/// Once a connection has broken, a write that is not to be seen for so long was not done: what
/// the vendor had read by then it would have handed on. The same holds once it has told an error
/// that may be this write's.
pub(super) const ABSENT_AFTER: Duration = Duration::from_secs(1);

/// Which 403 is about a lost cookie or CSRF token. Those two fail with the same words, and the
/// request was not looked at.
pub(super) fn is_csrf_failure(reply: &Reply) -> bool {
    if reply.status != StatusCode::FORBIDDEN {
        return false;
    }
    let text = String::from_utf8_lossy(&reply.body).to_ascii_lowercase();
    text.contains("csrf token")
}

/// A `statusCode` that repeats the HTTP error is not the vendor's: API gateways and proxies in
/// front spell their own errors so, and such an answer says no more than its HTTP status.
pub(super) fn is_echo(status: StatusCode, code: i64) -> bool {
    !status.is_success() && code == i64::from(status.as_u16())
}

/// Whether a 2xx is the vendor's yes to a login, and not a page of something in front: it says so
/// with a `statusCode`, or it began a session, by cookies or a CSRF header, with a JSON object.
pub(super) fn is_login(reply: &Reply, began_session: bool) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        status_code: Option<serde_json::Value>,
    }
    let code = object::<Body>(reply).map(|body| body.status_code);
    match code {
        Some(Some(code)) => code.is_i64(),
        Some(None) => began_session,
        None => false,
    }
}

/// Whether a no to a login is no answer to it: the vendor failed (4) or came to no end (9), by whatever
/// status. A code that is not known is one: accounts lock.
pub(super) fn is_failure(no: &Answer) -> bool {
    matches!(no.code.as_deref(), Some("4" | "9"))
}

/// Basic credentials. Real clients encode them as ISO-8859-1, so a password that fits into it
/// goes out so; only one that does not goes out as UTF-8.
pub(super) fn basic(username: &str, password: &str) -> String {
    let plain = format!("{username}:{password}");
    let latin: Result<Vec<u8>, _> = plain.chars().map(u8::try_from).collect();
    BASE64_STANDARD.encode(latin.unwrap_or_else(|_| plain.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_sms_sessions() {
        for topic in ["/v2/me/smssessions", "/v2/me/SMSSession", "smsessions"] {
            assert!(is_sms_channel(topic), "{topic}");
        }
        for topic in ["", "/v2/me/calls", "/v2/smssessions/7", "/v2/me/*"] {
            assert!(!is_sms_channel(topic), "{topic}");
        }
    }

    #[test]
    fn basic_is_latin_where_it_can_be() {
        assert_eq!(basic("agent1", "secret"), "YWdlbnQxOnNlY3JldA==");
        assert_eq!(basic("a", "ü"), BASE64_STANDARD.encode([b'a', b':', 0xfc]));
        assert_eq!(basic("a", "ł"), BASE64_STANDARD.encode("a:ł"));
    }
}
