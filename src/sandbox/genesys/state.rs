//! What the simulator knows, and what it answers once the caller is let in.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::answers::{
    csrf, invalid, json as respond_json, missing, not_found, success, unauthenticated,
};
use super::login::{Denied, Login, Visitor};
use super::notifications::{Caller, Comet, Heard};
use super::route::{self, Route};
use super::sms::SmsSessions;
use super::step::Step;
use super::{cookies, seed};
use crate::sandbox::http::{Answer, TEXT, respond, says_json};

/// As CometD labels its answers.
const BAYEUX_JSON: &str = "application/json;charset=UTF-8";

#[derive(Debug)]
pub(super) struct State {
    pub(super) login: Login,
    pub(super) sms: SmsSessions,
    pub(super) comet: Comet,
    pub(super) dangerous_deletes: u64,
    pub(super) contact_center_session_calls: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            login: Login::default(),
            sms: seed::sessions(),
            comet: Comet::default(),
            dangerous_deletes: 0,
            contact_center_session_calls: 0,
        }
    }
}

impl State {
    pub(super) fn handle(&mut self, request: &Request<Bytes>) -> Step {
        let visitor = match self.login.admit(request) {
            Ok(visitor) => visitor,
            Err(Denied::Credentials) => return Answer::unchanged(unauthenticated()).into(),
            Err(Denied::Csrf) => return Answer::unchanged(csrf()).into(),
        };
        let mut step = self.serve(&visitor, request);
        self.login
            .mark(&visitor, request.method(), step.response_mut());
        step
    }

    /// Another node takes over: it has the sessions, but knows neither logins nor listeners.
    pub(super) fn fail_over(&mut self) {
        self.login.fail_over();
        self.comet.fail_over();
    }

    fn serve(&mut self, visitor: &Visitor, request: &Request<Bytes>) -> Step {
        let Some(route) = route::route(request.uri().path()) else {
            return Answer::unchanged(not_found()).into();
        };
        match (request.method(), route) {
            (&Method::GET, route) => {
                Answer::unchanged(self.read(&visitor.agent, &route, request.uri().query())).into()
            }
            (&Method::POST, _) if !says_json(request) => {
                no(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type").into()
            }
            (&Method::POST, Route::Session(id)) => self.change(&visitor.agent, &id, request.body()),
            (&Method::POST, Route::Me) => {
                self.contact_center_session(visitor, request.body()).into()
            }
            (&Method::POST, Route::Notifications) => self.notifications(&visitor.agent, request),
            _ => no(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed").into(),
        }
    }

    fn read(&self, agent: &str, route: &Route, query: Option<&str>) -> Response<Bytes> {
        let (name, value) = match route {
            Route::Me => ("user", user(agent)),
            Route::Sessions if asks_for_fields(query) => (
                "smssessions",
                self.sms.of(agent).map(|it| json!(it)).collect(),
            ),
            // Without fields a collection is the addresses of its members.
            Route::Sessions => (
                "uris",
                self.sms
                    .of(agent)
                    .map(|session| json!(session.uri))
                    .collect(),
            ),
            Route::Session(id) => match self.sms.find_of(agent, id) {
                Some(session) => ("smssession", json!(session)),
                None => return not_found(),
            },
            // Bayeux over long polling is spoken by POST only.
            Route::Notifications => {
                return respond(StatusCode::BAD_REQUEST, TEXT, "Unknown Bayeux Transport");
            }
        };
        respond_json(StatusCode::OK, &json!({"statusCode": 0, name: value}))
    }

    fn notifications(&mut self, agent: &str, request: &Request<Bytes>) -> Step {
        let caller = Caller {
            agent,
            browser: cookies::find(request.headers(), cookies::BROWSER),
        };
        let head = || respond(StatusCode::OK, BAYEUX_JSON, "");
        match self.comet.hear(&caller, request.body()) {
            Heard::Unreadable => no(StatusCode::BAD_REQUEST, "Bad Request").into(),
            Heard::Held(poll) => Step::Held(head(), poll),
            Heard::Answer(body, browser) => {
                let mut response = head().map(|_| Value::from(body).to_string().into());
                if let Some(browser) = browser {
                    cookies::give_browser(response.headers_mut(), &browser);
                }
                Answer::unchanged(response).into()
            }
        }
    }

    fn contact_center_session(&mut self, visitor: &Visitor, body: &[u8]) -> Answer {
        match route::operation_name(body).as_deref() {
            Some(route::START) => {}
            // It logs the agent out of the channels and takes the HTTP session with it.
            Some(route::END) => self.login.leave(visitor),
            Some(_) => return Answer::unchanged(invalid("Unknown operation")),
            None => return Answer::unchanged(missing("Parameter 'operationName' is missing")),
        }
        self.contact_center_session_calls += 1;
        Answer::applied(success())
    }
}

fn no(status: StatusCode, message: &'static str) -> Answer {
    Answer::unchanged(respond(status, TEXT, message))
}

fn asks_for_fields(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("fields=")))
}

fn user(agent: &str) -> Value {
    json!({
        "id": agent,
        "userName": agent,
        "firstName": "Sandbox",
        "lastName": agent,
        "roles": ["ROLE_AGENT"],
    })
}
