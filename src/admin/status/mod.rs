//! The status page, and `/status.json`, which it draws. `docs/STATUS.md` has the shape.
//!
//! The page holds no data: its script reads the JSON and puts every text in as text.

mod report;
mod vendor;

use std::fmt::Write as _;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse};
use uuid::Uuid;

use super::AdminState;
use report::Report;

const PAGE: &str = include_str!("page.html");

/// Stands in the page wherever the policy wants to see the nonce of this answer.
const NONCE: &str = "{{nonce}}";

pub(super) async fn page() -> impl IntoResponse {
    let nonce = Uuid::new_v4().simple().to_string();
    let mut headers = common();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy(&nonce));
    (headers, Html(PAGE.replace(NONCE, &nonce)))
}

pub(super) async fn json(State(state): State<AdminState>) -> impl IntoResponse {
    (common(), Json(Report::new(&state)))
}

fn common() -> HeaderMap {
    [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .into_iter()
    .collect()
}

/// Nothing but the page's own script and style, and its own question.
fn policy(nonce: &str) -> HeaderValue {
    let mut policy = String::from("default-src 'none'; connect-src 'self'; img-src data:");
    for kind in ["script", "style"] {
        let _ = write!(policy, "; {kind}-src 'nonce-{nonce}'");
    }
    policy.push_str("; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    HeaderValue::try_from(policy).expect("a UUID is printable ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_puts_no_text_in_as_markup_and_takes_nothing_from_outside() {
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "https://",
            "style=\"",
            "onclick",
        ] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
        let tags = PAGE.matches("<script").count() + PAGE.matches("<style").count();
        assert_eq!((tags, PAGE.matches(NONCE).count()), (2, 2));
    }
}
