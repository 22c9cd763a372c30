//! What the simulator knows, and what it answers once the caller is let in.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::answers::{
    csrf, invalid, json as respond_json, missing, not_found, success, unauthenticated,
};
use super::change::{Change, Unreadable};
use super::login::{Denied, Login, Visitor};
use super::route::{self, Route};
use super::seed;
use super::sms::SmsSessions;
use crate::sandbox::http::{Answer, TEXT, respond, says_json};

#[derive(Debug)]
pub(super) struct State {
    pub(super) login: Login,
    pub(super) sms: SmsSessions,
    pub(super) dangerous_deletes: u64,
    pub(super) contact_center_session_calls: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            login: Login::default(),
            sms: seed::sessions(),
            dangerous_deletes: 0,
            contact_center_session_calls: 0,
        }
    }
}

impl State {
    pub(super) fn handle(&mut self, request: &Request<Bytes>) -> Answer {
        let visitor = match self.login.admit(request) {
            Ok(visitor) => visitor,
            Err(Denied::Credentials) => return Answer::unchanged(unauthenticated()),
            Err(Denied::Csrf) => return Answer::unchanged(csrf()),
        };
        let mut answer = self.serve(&visitor, request);
        self.login
            .mark(&visitor, request.method(), &mut answer.response);
        answer
    }

    fn serve(&mut self, visitor: &Visitor, request: &Request<Bytes>) -> Answer {
        let Some(route) = route::route(request.uri().path()) else {
            return Answer::unchanged(not_found());
        };
        match (request.method(), route) {
            (&Method::GET, route) => {
                Answer::unchanged(self.read(&visitor.agent, &route, request.uri().query()))
            }
            (&Method::POST, _) if !says_json(request) => Answer::unchanged(respond(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                TEXT,
                "Unsupported Media Type",
            )),
            (&Method::POST, Route::Session(id)) => self.change(&visitor.agent, &id, request.body()),
            (&Method::POST, Route::Me) => self.contact_center_session(visitor, request.body()),
            _ => Answer::unchanged(respond(
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "Method Not Allowed",
            )),
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
        };
        respond_json(StatusCode::OK, &json!({"statusCode": 0, name: value}))
    }

    fn change(&mut self, agent: &str, id: &str, body: &[u8]) -> Answer {
        match Change::read(body) {
            Ok(change) => match self.sms.apply(agent, id, change) {
                true => Answer::applied(success()),
                false => Answer::unchanged(not_found()),
            },
            Err(Unreadable::Missing(message)) => Answer::unchanged(missing(message)),
            Err(Unreadable::Invalid(message)) => Answer::unchanged(invalid(message)),
            Err(Unreadable::WipesAll) => {
                self.dangerous_deletes += 1;
                Answer::unchanged(missing("Parameter 'keys' is missing"))
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
