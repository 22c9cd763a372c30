//! The control endpoint: JSON in and out, for rehearsals from outside the process.

use std::error::Error;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Parts;
use super::faults::{Rule, check_names};
use super::http::{JSON, Serve};

mod censored;
mod genesys;

const HELP: &str = include_str!("help.txt");
/// How many of the newest requests are shown unless the caller asks for another number.
const SHOWN: usize = 1000;

/// What the caller did wrong, in words.
struct Refusal(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    vendor: Option<String>,
    operation: Option<String>,
    last: Option<usize>,
}

pub(super) fn site(parts: Parts) -> Serve {
    let router = router(parts);
    Arc::new(move |wire| {
        let service = TowerToHyperService::new(router.clone());
        Box::pin(async move {
            let mut server = http1::Builder::new();
            server.header_read_timeout(None::<Duration>);
            // A caller that leaves early hurts nobody.
            let _ = server.serve_connection(TokioIo::new(wire), service).await;
        })
    })
}

fn router(parts: Parts) -> Router {
    Router::new()
        .route("/", get(HELP))
        .route(
            "/faults",
            get(faults)
                .put(replace_faults)
                .delete(done(|parts| parts.faults.clear())),
        )
        .route(
            "/requests",
            get(requests).delete(done(|parts| parts.journal.clear())),
        )
        .route("/state", get(state))
        .route("/reset", post(done(Parts::reset)))
        .route(
            "/aicc/expire-tokens",
            post(done(|parts| parts.aicc.expire_tokens())),
        )
        .merge(genesys::router())
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "no such path; GET / lists them") })
        .method_not_allowed_fallback(|| async {
            failure(
                StatusCode::METHOD_NOT_ALLOWED,
                "no such method here; GET / lists them",
            )
        })
        .with_state(parts)
}

/// What is done at once, and has no answer.
fn done(act: fn(&Parts)) -> impl Fn(State<Parts>) -> Ready<StatusCode> + Clone {
    move |State(parts)| {
        act(&parts);
        ready(StatusCode::NO_CONTENT)
    }
}

async fn faults(State(parts): State<Parts>) -> Response {
    answer(StatusCode::OK, &json!(parts.faults.rules()))
}

async fn replace_faults(State(parts): State<Parts>, body: Bytes) -> Result<Response, Refusal> {
    let rules: Vec<Rule> = read(&body)?;
    parts.faults.replace(rules)?;
    Ok(answer(StatusCode::OK, &json!(parts.faults.rules())))
}

async fn requests(
    State(parts): State<Parts>,
    filter: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(filter) = filter.map_err(|rejection| Refusal(rejection.body_text()))?;
    let (vendor, operation) = (filter.vendor.as_deref(), filter.operation.as_deref());
    check_names(vendor, operation)?;
    let mut entries = parts.journal.entries();
    entries.retain(|entry| {
        vendor.is_none_or(|vendor| vendor == entry.vendor)
            && operation.is_none_or(|operation| operation == entry.operation)
    });
    let newest = entries.len().saturating_sub(filter.last.unwrap_or(SHOWN));
    let shown: Vec<Value> = entries.iter().skip(newest).map(censored::entry).collect();
    Ok(answer(StatusCode::OK, &Value::Array(shown)))
}

async fn state(State(parts): State<Parts>) -> Response {
    answer(
        StatusCode::OK,
        &json!({"genesys": parts.genesys.snapshot(), "aicc": parts.aicc.snapshot()}),
    )
}

/// Whatever the content type says: `curl --data` alone must do.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    Ok(serde_json::from_slice(body)?)
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, JSON)], format!("{body:#}\n")).into_response()
}

fn failure(status: StatusCode, message: &str) -> Response {
    answer(status, &json!({"error": message}))
}

impl<E: Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Refusal(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        failure(StatusCode::BAD_REQUEST, &self.0)
    }
}
