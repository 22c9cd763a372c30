//! The documented answers. Not 0 means `statusMessage` and nothing else, beside the HTTP status.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::sandbox::http::{JSON, TEXT, respond};

pub(super) const PARAMETER_MISSING: i64 = 1;
pub(super) const PARAMETER_INVALID: i64 = 2;
pub(super) const NOT_FOUND: i64 = 6;
const NOT_AUTHENTICATED: i64 = 20;

pub(super) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    respond(status, JSON, body.to_string())
}

pub(super) fn success() -> Response<Bytes> {
    respond(StatusCode::OK, JSON, r#"{"statusCode":0}"#)
}

/// As sister operations answer; those of SMS sessions are documented without it.
pub(super) fn success_with_reference(reference_id: u64) -> Response<Bytes> {
    let body = json!({"statusCode": 0, "referenceId": reference_id});
    json(StatusCode::OK, &body)
}

pub(super) fn refusal(status: StatusCode, code: i64, message: &str) -> Response<Bytes> {
    json(
        status,
        &json!({"statusCode": code, "statusMessage": message}),
    )
}

pub(super) fn missing(message: &str) -> Response<Bytes> {
    refusal(StatusCode::BAD_REQUEST, PARAMETER_MISSING, message)
}

pub(super) fn invalid(message: &str) -> Response<Bytes> {
    refusal(StatusCode::BAD_REQUEST, PARAMETER_INVALID, message)
}

pub(super) fn not_found() -> Response<Bytes> {
    refusal(StatusCode::NOT_FOUND, NOT_FOUND, "Resource not found")
}

pub(super) fn unauthenticated() -> Response<Bytes> {
    refusal(
        StatusCode::UNAUTHORIZED,
        NOT_AUTHENTICATED,
        "Authentication required",
    )
}

/// The same text for a missing token, a wrong one, and a lost cookie.
pub(super) fn csrf() -> Response<Bytes> {
    respond(StatusCode::FORBIDDEN, TEXT, "Missing or invalid Csrf token")
}
