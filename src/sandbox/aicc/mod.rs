//! Huawei Cloud AICC, simulated: the token service and the agent settings of CC-Management.
//!
//! The vendor publishes no error codes. Those made up here have the look of their neighbours, and no client may
//! tell them apart: anything but "0" is a no.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

use super::http::{Answer, Operation, Simulator, TEXT, respond};

mod answers;
mod records;
mod route;
mod settings;
mod state;
mod tokens;

pub use records::Record;
pub use settings::Settings;
use state::State;

pub const AICC_APP: &str = "my-app";
/// The secret of [`AICC_APP`].
pub const AICC_SECRET: &str = "sandbox-secret";
pub const AICC_OTHER_APP: &str = "my-other-app";
/// The secret of [`AICC_OTHER_APP`].
pub const AICC_OTHER_SECRET: &str = "sandbox-other-secret";

/// The simulator's state, for tests to look into and to shake.
#[derive(Debug, Default)]
pub struct Aicc {
    state: Mutex<State>,
}

impl Aicc {
    /// All records, by userId.
    pub fn records(&self) -> Vec<Record> {
        self.lock().records.all().cloned().collect()
    }

    pub fn record(&self, user_id: &str) -> Option<Record> {
        self.lock().records.find(user_id).cloned()
    }

    /// The userId of every applied create, in the order of application.
    pub fn creates(&self) -> Vec<String> {
        self.lock().records.creates().to_vec()
    }

    /// Tokens that were issued and have not expired.
    pub fn tokens(&self) -> usize {
        self.lock().tokens.valid()
    }

    /// Every token issued so far is illegal from now on.
    pub fn expire_tokens(&self) {
        self.lock().tokens.expire_all();
    }

    /// What the tenant's administrator can do at any time. Tokens already issued stay good; a new app is added.
    pub fn set_secret(&self, app_key: &str, secret: &str) {
        self.lock().tokens.set_secret(app_key, secret);
    }

    /// Back to the seed; tokens are gone and secrets are those of the beginning.
    pub fn reset(&self) {
        *self.lock() = State::default();
    }

    /// Everything worth seeing, without secrets and tokens.
    pub(super) fn snapshot(&self) -> Value {
        let state = self.lock();
        json!({
            "apps": state.tokens.apps(),
            "tokens": state.tokens.valid(),
            "records": state.records.all().collect::<Vec<_>>(),
            "creates": state.records.creates(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Simulator for Aicc {
    const NAME: &'static str = "aicc";
    const OPERATIONS: &'static [Operation] = route::OPERATIONS;

    fn operation(&self, request: &Request<Bytes>) -> Operation {
        route::route(request.uri().path()).map_or(Operation::UNKNOWN, route::Route::operation)
    }

    async fn handle(&self, request: &Request<Bytes>) -> Answer {
        self.lock().handle(request)
    }

    fn accepted() -> Response<Bytes> {
        answers::success("success")
    }

    fn refused(code: Value, message: &str) -> Response<Bytes> {
        answers::json(
            StatusCode::OK,
            &json!({"returnCode": code, "returnDesc": message}),
        )
    }

    fn wrong_type() -> Response<Bytes> {
        answers::json(StatusCode::OK, &json!({"returnCode": ["0"]}))
    }

    /// No body is documented for it.
    fn unauthorized() -> Response<Bytes> {
        respond(StatusCode::UNAUTHORIZED, TEXT, "")
    }

    fn forbidden_token() -> Response<Bytes> {
        answers::illegal_token()
    }
}

#[cfg(test)]
mod tests;
