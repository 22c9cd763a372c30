//! What the simulator knows, and what it answers: the path first, then the method, the token, the body.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{self, ABSENT, EXISTS, LIMIT};
use super::records::Records;
use super::route::{Route, route};
use super::settings::Settings;
use super::tokens::Tokens;
use crate::sandbox::http::{Answer, TEXT, page, respond, says_json};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tokens: Tokens,
    pub(super) records: Records,
}

/// Every body there is: each operation takes what it needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    id: Option<String>,
    user_id: String,
    #[serde(flatten)]
    settings: Settings,
}

impl State {
    pub(super) fn handle(&mut self, request: &Request<Bytes>) -> Answer {
        let Some(route) = route(request.uri().path()) else {
            return Answer::unchanged(page(StatusCode::NOT_FOUND));
        };
        if request.method() != Method::POST {
            return Answer::unchanged(respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, ""));
        }
        if route == Route::Token {
            return Answer::unchanged(self.tokens.issue(request));
        }
        if !self.tokens.admit(request.headers()) {
            return Answer::unchanged(answers::illegal_token());
        }
        match read(request) {
            Some(body) => self.operate(route, body),
            None => Answer::unchanged(respond(StatusCode::BAD_REQUEST, TEXT, "")),
        }
    }

    fn operate(&mut self, route: Route, body: Body) -> Answer {
        if let Some(name) = body.settings.beyond_limit() {
            return Answer::unchanged(answers::business(LIMIT, &format!("{name} is invalid")));
        }
        match (route, body.id) {
            (Route::Create, _) => self.create(&body.user_id, body.settings),
            (Route::Update, Some(id)) => self.update(&id, &body.user_id, body.settings),
            (Route::Query, _) => Answer::unchanged(self.query(&body.user_id)),
            (Route::Delete, _) => self.delete(&body.user_id),
            (Route::Update | Route::Token, _) => {
                Answer::unchanged(respond(StatusCode::BAD_REQUEST, TEXT, ""))
            }
        }
    }

    fn create(&mut self, user_id: &str, settings: Settings) -> Answer {
        match self.records.create(user_id, settings) {
            Some(id) => Answer::applied(answers::success_with_id("create success.", &id)),
            None => Answer::unchanged(answers::business(
                EXISTS,
                "the agent settings already exist",
            )),
        }
    }

    fn update(&mut self, id: &str, user_id: &str, settings: Settings) -> Answer {
        if self.records.update(id, user_id, settings) {
            return Answer::applied(answers::success_with_id("update success.", id));
        }
        Answer::unchanged(answers::business(ABSENT, "the agent settings do not exist"))
    }

    /// An absent user is a success without a record.
    fn query(&self, user_id: &str) -> Response<Bytes> {
        let record = self.records.find(user_id).map(|record| json!(record));
        let mut body = record
            .and_then(|record| record.as_object().cloned())
            .unwrap_or_default();
        body.insert("returnCode".to_owned(), Value::from("0"));
        body.insert("returnDesc".to_owned(), Value::from("query success"));
        answers::json(StatusCode::OK, &Value::Object(body))
    }

    fn delete(&mut self, user_id: &str) -> Answer {
        if self.records.delete(user_id) {
            return Answer::applied(answers::success("delete success."));
        }
        Answer::unchanged(answers::business(ABSENT, "the agent settings do not exist"))
    }
}

fn read(request: &Request<Bytes>) -> Option<Body> {
    let body: Body = serde_json::from_slice(request.body())
        .ok()
        .filter(|_| says_json(request))?;
    (!body.user_id.is_empty()).then_some(body)
}
