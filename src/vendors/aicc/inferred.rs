//! Rules about the vendor that its documents do not state; each was inferred, and stands here
//! so that it can be found and corrected in one place.

use http::StatusCode;
use serde::Deserialize;

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

/// A query that succeeds without an `id` found no record: what the vendor answers for an
/// absent user is undocumented.
pub(super) fn is_absent(id: &str) -> bool {
    id.is_empty()
}
