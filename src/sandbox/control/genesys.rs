//! What Genesys alone has: HTTP sessions, CSRF protection, notifications, nodes.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Refusal, answer, read};
use crate::sandbox::Parts;
use crate::sandbox::genesys::NotificationPlan;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Csrf {
    enabled: bool,
}

pub(super) fn router() -> Router<Parts> {
    Router::new()
        .route("/genesys/expire-sessions", post(expire_sessions))
        .route("/genesys/csrf", put(set_csrf))
        .route("/genesys/fail-over", post(fail_over))
        .route("/genesys/drop-clients", post(drop_clients))
        .route(
            "/notifications",
            get(plan).put(replace_plan).delete(clear_plan),
        )
}

async fn expire_sessions(State(parts): State<Parts>) -> StatusCode {
    parts.genesys.expire_sessions();
    StatusCode::NO_CONTENT
}

async fn set_csrf(State(parts): State<Parts>, body: Bytes) -> Result<StatusCode, Refusal> {
    let Csrf { enabled } = read(&body)?;
    parts.genesys.set_csrf(enabled);
    Ok(StatusCode::NO_CONTENT)
}

async fn fail_over(State(parts): State<Parts>) -> StatusCode {
    parts.genesys.fail_over();
    StatusCode::NO_CONTENT
}

async fn drop_clients(State(parts): State<Parts>) -> StatusCode {
    parts.genesys.drop_clients();
    StatusCode::NO_CONTENT
}

async fn plan(State(parts): State<Parts>) -> Response {
    answer(StatusCode::OK, &json!(parts.genesys.notifications()))
}

async fn replace_plan(State(parts): State<Parts>, body: Bytes) -> Result<Response, Refusal> {
    let plan: NotificationPlan = read(&body)?;
    parts
        .genesys
        .set_notifications(plan)
        .map_err(|invalid| Refusal(invalid.to_string()))?;
    Ok(answer(
        StatusCode::OK,
        &json!(parts.genesys.notifications()),
    ))
}

async fn clear_plan(State(parts): State<Parts>) -> StatusCode {
    parts.genesys.clear_notifications();
    StatusCode::NO_CONTENT
}
