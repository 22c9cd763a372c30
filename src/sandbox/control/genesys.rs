//! What Genesys alone has: HTTP sessions, CSRF protection, notifications, nodes.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post, put};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Refusal, answer, done, read};
use crate::sandbox::Parts;
use crate::sandbox::genesys::NotificationPlan;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Csrf {
    enabled: bool,
}

pub(super) fn router() -> Router<Parts> {
    Router::new()
        .route(
            "/genesys/expire-sessions",
            post(done(|parts| parts.genesys.expire_sessions())),
        )
        .route("/genesys/csrf", put(set_csrf))
        .route(
            "/genesys/fail-over",
            post(done(|parts| parts.genesys.fail_over())),
        )
        .route(
            "/genesys/drop-clients",
            post(done(|parts| parts.genesys.drop_clients())),
        )
        .route(
            "/notifications",
            get(plan)
                .put(replace_plan)
                .delete(done(|parts| parts.genesys.clear_notifications())),
        )
}

async fn set_csrf(State(parts): State<Parts>, body: Bytes) -> Result<StatusCode, Refusal> {
    let Csrf { enabled } = read(&body)?;
    parts.genesys.set_csrf(enabled);
    Ok(StatusCode::NO_CONTENT)
}

async fn plan(State(parts): State<Parts>) -> Response {
    answer(StatusCode::OK, &json!(parts.genesys.notifications()))
}

async fn replace_plan(State(parts): State<Parts>, body: Bytes) -> Result<Response, Refusal> {
    let plan: NotificationPlan = read(&body)?;
    parts.genesys.set_notifications(plan)?;
    let plan = json!(parts.genesys.notifications());
    Ok(answer(StatusCode::OK, &plan))
}
