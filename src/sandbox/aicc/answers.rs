//! The documented answers, and the undocumented ones in the documented shape.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::sandbox::http::respond;

const CONTENT_TYPE: &str = "application/json;charset=UTF-8";

/// Codes of the business failures, none of which the vendor publishes.
pub(super) const EXISTS: &str = "0401001";
pub(super) const ABSENT: &str = "0401002";
pub(super) const LIMIT: &str = "0401003";

pub(super) fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    respond(status, CONTENT_TYPE, body.to_string())
}

pub(super) fn success(description: &str) -> Response<Bytes> {
    business("0", description)
}

pub(super) fn success_with_id(description: &str, id: &str) -> Response<Bytes> {
    json(
        StatusCode::OK,
        &json!({"returnCode": "0", "returnDesc": description, "id": id}),
    )
}

/// A failure, unless the code is "0"; HTTP says 200 either way.
pub(super) fn business(code: &str, description: &str) -> Response<Bytes> {
    json(
        StatusCode::OK,
        &json!({"returnCode": code, "returnDesc": description}),
    )
}

/// "0" in an error: what counts is the HTTP status.
pub(super) fn gateway(status: StatusCode, message: &str) -> Response<Bytes> {
    json(status, &json!({"errorCode": "0", "exceptionInfo": message}))
}

pub(super) fn illegal_token() -> Response<Bytes> {
    gateway(
        StatusCode::FORBIDDEN,
        "auth fail! the access token is illegal",
    )
}
