//! Genesys Web Services v2, simulated: the SMS sessions of each agent and the user data attached to them.
//!
//! Where the vendor's pages are silent, the stricter reading is simulated: what a client gets away with here
//! must not depend on a guess.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::http::{Answer, JSON, Operation, Simulator, respond};

mod answers;
mod change;
mod cookies;
mod login;
mod notifications;
mod route;
mod seed;
mod sms;
mod state;
mod step;
mod writing;

pub use notifications::{
    CometClient, InvalidPlan, Notification, NotificationPlan, NotificationRule,
};
pub use sms::{Participant, SmsSession, Write};
use state::State;
use step::Step;

/// The password of `agent1` and `agent2`.
pub const GENESYS_PASSWORD: &str = "sandbox";

/// The simulator's state, for tests to look into and to shake.
#[derive(Debug, Default)]
pub struct Genesys {
    state: Mutex<State>,
}

impl Genesys {
    pub fn add_agent(&self, name: &str, password: &str) {
        self.lock().login.add_account(name, password);
    }

    /// A session in state Chatting with empty user data; any id will do, `a/b c%` as well.
    pub fn add_session(&self, agent: &str, id: &str) {
        self.lock().sms.insert(seed::session(agent, id));
    }

    /// A session that is over and forgotten. The ledger keeps what was written to it; nobody is told.
    pub fn remove_session(&self, id: &str) {
        self.lock().sms.remove(id);
    }

    /// The SMS sessions of an agent.
    pub fn sessions(&self, agent: &str) -> Vec<SmsSession> {
        self.lock().sms.of(agent).cloned().collect()
    }

    pub fn user_data(&self, session: &str) -> Option<Map<String, Value>> {
        self.lock()
            .sms
            .find(session)
            .map(|session| session.user_data.clone())
    }

    /// What somebody else writes, say the agent's desktop: it enters no ledger. The notification has the next
    /// referenceId of the agent, and no rule of the plan applies to it.
    pub fn set_user_data(&self, session: &str, user_data: Map<String, Value>) {
        self.lock().set_user_data(session, user_data);
    }

    /// Every accepted write in its order: here a doubled application shows.
    pub fn writes(&self) -> Vec<Write> {
        self.lock().sms.writes().to_vec()
    }

    /// Session and key of every attached pair, in the order of application.
    pub fn attaches(&self) -> Vec<(String, String)> {
        let pairs = |write: &Write| -> Vec<_> {
            write
                .keys
                .iter()
                .map(|key| (write.session.clone(), key.clone()))
                .collect()
        };
        self.writes()
            .iter()
            .filter(|write| write.operation == "AttachUserData")
            .flat_map(pairs)
            .collect()
    }

    /// Deletes without keys, which would wipe a voice call's data; all were refused.
    pub fn dangerous_deletes(&self) -> u64 {
        self.lock().dangerous_deletes
    }

    /// Starts and ends of contact centre sessions, neither of which a gateway may send.
    pub fn contact_center_session_calls(&self) -> u64 {
        self.lock().contact_center_session_calls
    }

    /// Requests that carried the HTTP session of one agent and the credentials of another.
    pub fn mixed_sessions(&self) -> u64 {
        self.lock().login.mixed
    }

    pub fn http_sessions(&self) -> usize {
        self.lock().login.open()
    }

    /// Forgets all HTTP sessions, as a restarted node does.
    pub fn expire_sessions(&self) {
        self.lock().login.forget_all();
    }

    /// Whether the operator protects against CSRF; on at first.
    pub fn set_csrf(&self, enabled: bool) {
        self.lock().login.csrf = enabled;
    }

    /// Back to the seeds and the plain plan; added agents, HTTP sessions and CometD clients are gone.
    pub fn reset(&self) {
        *self.lock() = State::default();
    }

    /// Everything worth seeing, without passwords and session ids.
    pub(super) fn snapshot(&self) -> Value {
        let (attaches, mut state) = (self.attaches(), self.lock());
        let comet = state.comet.snapshot();
        let sms_sessions = state.sms.all();
        let sms_sessions =
            sms_sessions.map(|(agent, session)| json!({"agent": agent, "session": session}));
        json!({
            "agents": state.login.agents(),
            "csrf": state.login.csrf,
            "http_sessions": state.login.open(),
            "sms_sessions": sms_sessions.collect::<Vec<_>>(),
            "writes": state.sms.writes(),
            "attaches": attaches,
            "dangerous_deletes": state.dangerous_deletes,
            "contact_center_session_calls": state.contact_center_session_calls,
            "mixed_sessions": state.login.mixed,
            "comet": comet,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Simulator for Genesys {
    const NAME: &'static str = "genesys";
    const OPERATIONS: &'static [Operation] = route::OPERATIONS;

    fn operation(&self, request: &Request<Bytes>) -> Operation {
        route::operation(request)
    }

    async fn handle(&self, request: &Request<Bytes>) -> Answer {
        let step = self.lock().handle(request);
        match step {
            Step::Answer(answer) => answer,
            Step::Notified(answer, receipt) => {
                receipt.fetched().await;
                answer
            }
            Step::Held(head, poll) => Answer::unchanged(self.hold(head, poll).await),
        }
    }

    fn accepted() -> Response<Bytes> {
        answers::success()
    }

    fn refused(code: Value, message: &str) -> Response<Bytes> {
        answers::json(
            StatusCode::OK,
            &json!({"statusCode": code, "statusMessage": message}),
        )
    }

    fn wrong_type() -> Response<Bytes> {
        respond(StatusCode::OK, JSON, r#"{"statusCode":{}}"#)
    }

    fn unauthorized() -> Response<Bytes> {
        answers::unauthenticated()
    }

    fn forbidden_token() -> Response<Bytes> {
        answers::csrf()
    }
}

#[cfg(test)]
mod tests;
