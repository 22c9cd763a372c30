//! Rules about the vendor that its documents do not state; each was inferred, and stands here
//! so that it can be found and corrected in one place.

use http::StatusCode;
use serde::Deserialize;

use super::wire::Envelope;
use crate::upstream::judge::object;
use crate::upstream::operation::Reply;

/// Which 403 is about an expired or illegal token: stated for a sister interface behind the
/// same gateway. Others are about a wrong key pair, or a blocked address.
pub(super) fn is_token_failure(reply: &Reply) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        exception_info: String,
    }
    if reply.status != StatusCode::FORBIDDEN {
        return false;
    }
    let body: Option<Body> = object(reply);
    body.is_some_and(|body| {
        let words = body
            .exception_info
            .to_ascii_lowercase()
            .replace(['_', '-'], " ");
        words.contains("auth fail")
            || words.contains("access token")
            || words.contains("accesstoken")
    })
}

/// Whether a 2xx without a token is the vendor's no to a login, and not a page of something in front:
/// it says so as in answers to calls, with a `returnCode` that is no yes, or as the gateway in front of
/// it does.
pub(super) fn is_login_refusal(envelope: &Envelope) -> bool {
    let code = envelope.code();
    code.map_or(envelope.tells_of_failure(), |code| code != "0")
}

/// A query that succeeds without an `id` found no record: what the vendor answers for an
/// absent user is undocumented.
pub(super) fn is_absent(id: &str) -> bool {
    id.is_empty()
}
