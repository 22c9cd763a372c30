//! Huawei Cloud AICC, CC-Management: a bearer token by AK/SK, and a `returnCode` in every
//! answer that is about the request itself.

mod agent_settings;
mod auth;
#[cfg(any(test, feature = "benchmarks"))]
pub(crate) mod benchmarks;
pub mod config;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod inferred;
mod wire;

use http::StatusCode;
use tokio_util::task::TaskTracker;

pub use self::config::Config;
use crate::grpc::Facades;
use crate::grpc::dedupe::Dedupe;
use crate::pb::agent_settings_server::AgentSettingsServer;
use crate::upstream::client::{Client, LoginTransport};
use crate::upstream::error::{Error, Refusal};
use crate::upstream::judge::{self, by_status, plain_text};
use crate::upstream::operation::{Meta, Reply, Vendor};
use crate::upstream::stack::Kit;

/// The vendor.
#[derive(Debug, Clone, Copy)]
pub struct Aicc;

impl Vendor for Aicc {
    const NAME: &'static str = "aicc";

    /// The HTTP status goes first: error answers say `"errorCode":"0"`. Within a 2xx only a
    /// `returnCode` of "0" is a yes, and one that cannot be read is no answer.
    fn judge(meta: &Meta, reply: Reply) -> Result<Reply, Error> {
        let envelope = wire::Envelope::of(&reply);
        let code = envelope.code();
        // The hot path: nothing has to be worded for a yes.
        if reply.status.is_success() && code.as_deref() == Some("0") {
            return Ok(reply);
        }
        let text = envelope.text().unwrap_or_else(|| plain_text(&reply));
        if inferred::is_token_failure(&reply) {
            return Err(Error::CredentialRefused(judge::answer(&reply, code, text)));
        }
        let meaning = match reply.status {
            // Stated: a business failure, check the values. Not transient.
            StatusCode::INTERNAL_SERVER_ERROR => Refusal::State,
            // Stated: a wrong path. An absent record is a returnCode.
            StatusCode::NOT_FOUND => Refusal::Misconfigured,
            status if status.is_success() => return Err(no_yes(&reply, code, text)),
            _ => return by_status(meta, &reply, code, text).map_or(Ok(reply), Err),
        };
        Err(Error::Refused {
            meaning,
            answer: judge::answer(&reply, code, text),
        })
    }
}

/// A 2xx that is not a yes.
fn no_yes(reply: &Reply, code: Option<String>, text: String) -> Error {
    if code.is_none() {
        return judge::unreadable(reply, "no JSON object with a returnCode");
    }
    Error::Refused {
        meaning: Refusal::State,
        answer: judge::answer(reply, code, text),
    }
}

/// Sets the vendor up on its kit and mounts its services.
pub fn mount(
    kit: &Kit,
    config: &Config,
    facades: &mut Facades,
    dedupe: &Dedupe,
    tasks: TaskTracker,
) -> Client<Aicc> {
    let logins = LoginTransport::at(
        kit,
        &auth::origin(&config.token_url),
        config.token_url.path(),
    );
    let credentials =
        |account: &config::Account| auth::App::new(account.clone(), config, logins.clone());
    let client = Client::new(kit, &config.base_url, &config.accounts, credentials, tasks);
    let facade = agent_settings::Facade::new(client.clone(), dedupe.clone());
    facades.add(AgentSettingsServer::new(facade));
    client
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
