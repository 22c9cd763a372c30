//! Genesys Web Services v2: HTTP Basic with cookies and CSRF, and a `statusCode` in every answer.
//!
//! Not Workspace v3 and not Genesys Cloud, whose words look alike and mean other things.

mod auth;
#[cfg(any(test, feature = "benchmarks"))]
pub(crate) mod benchmarks;
pub mod config;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod inferred;
mod notifications;
mod sms_session_data;

use opentelemetry::metrics::Meter;
use serde::Deserialize;

pub use self::config::Config;
use self::notifications::Notifications;
use crate::grpc::Facades;
use crate::grpc::dedupe::Dedupe;
use crate::lifecycle::Lifecycle;
use crate::pb::sms_session_data_server::SmsSessionDataServer;
use crate::upstream::client::{Client, LoginTransport};
use crate::upstream::error::{Error, Refusal};
use crate::upstream::judge::{self, by_status, plain_text};
use crate::upstream::operation::{Meta, Reply, Vendor};
use crate::upstream::stack::Kit;

/// Whether the vendor holds such requests for as long as it has nothing to say: how long they
/// take tells nothing of its health.
pub fn is_held(meta: &Meta) -> bool {
    std::ptr::eq(meta, &notifications::CONNECT)
}

/// The vendor.
#[derive(Debug, Clone, Copy)]
pub struct Genesys;

impl Vendor for Genesys {
    const NAME: &'static str = "genesys";

    /// The body goes first when it is JSON with a `statusCode`, else the HTTP status decides.
    fn judge(meta: &Meta, reply: Reply) -> Result<Reply, Error> {
        let envelope: Option<Envelope> = judge::object(&reply);
        let code = envelope.as_ref().map(|envelope| envelope.status_code);
        // The hot path: nothing has to be worded for a yes.
        if reply.status.is_success() && code.is_none_or(|code| code == SUCCESS) {
            return Ok(reply);
        }
        let code = code.filter(|code| !inferred::is_echo(reply.status, *code));
        let text = envelope
            .and_then(|envelope| Some(envelope.status_message.as_str()?.to_owned()))
            .unwrap_or_else(|| plain_text(&reply));
        let spelled = code.map(|code| code.to_string());
        if code == Some(NOT_AUTHENTICATED) || inferred::is_csrf_failure(&reply) {
            return Err(Error::CredentialRefused(judge::answer(
                &reply, spelled, text,
            )));
        }
        // A 401 is about credentials whatever the envelope says; a 5xx with code 0 is no yes.
        let by_code = code.filter(|code| *code != SUCCESS && reply.status != 401);
        if let Some(code) = by_code {
            return Err(Error::Refused {
                meaning: meaning(code),
                answer: judge::answer(&reply, spelled, text),
            });
        }
        match by_status(meta, &reply, spelled, text) {
            Some(error) => Err(error),
            None => Ok(reply),
        }
    }
}

const SUCCESS: i64 = 0;
const NOT_AUTHENTICATED: i64 = 20;

/// The vendor's table of `statusCode`, for those that refuse. Code 20 is judged before it.
fn meaning(code: i64) -> Refusal {
    match code {
        1 | 10 => Refusal::Invalid,
        2 | 11 | 12..=17 | 19 => Refusal::State,
        3 | 5 => Refusal::Denied,
        6 => Refusal::NotFound,
        8 => Refusal::Credentials,
        9 => Refusal::Unfinished,
        18 => Refusal::AlreadyExists,
        // 4 internal error, 7 a bulk operation's partial success (there is no bulk here), and
        // codes of releases to come.
        _ => Refusal::Failed,
    }
}

/// What every answer of the vendor begins with.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status_code: i64,
    /// Mostly a string; an odd one must not hide the code.
    #[serde(default)]
    status_message: serde_json::Value,
}

/// Sets the vendor up on its kit and mounts its services.
pub fn mount(
    kit: &Kit,
    config: &Config,
    facades: &mut Facades,
    dedupe: &Dedupe,
    meter: &Meter,
    lifecycle: &Lifecycle,
) -> Client<Genesys> {
    let path = &config.notifications.path;
    // As in any template: what follows may be anything.
    let path = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
    let kit = &kit.clone().polling(path);
    let logins = LoginTransport::new(kit, &config.base_url);
    let credentials = |account: &config::Account| {
        auth::Agent::new(account.clone(), config.base_url.clone(), logins.clone())
    };
    let tasks = lifecycle.tasks.clone();
    let client = Client::new(kit, &config.base_url, &config.accounts, credentials, tasks);
    let notifications = Notifications::new(config, &client, meter, lifecycle);
    let facade = sms_session_data::Facade::new(
        client.clone(),
        dedupe.clone(),
        notifications,
        config.allow_undocumented_values,
    );
    facades.add(SmsSessionDataServer::new(facade));
    client
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
