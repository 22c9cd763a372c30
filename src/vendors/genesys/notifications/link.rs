//! What the notifications of an account need of the vendor: its requests, and a read.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use crate::pb::SmsSession;
use crate::upstream::client::{Client, Ticket};
use crate::upstream::error::{Error, Failure, Refusal};
use crate::upstream::operation::{Meta, Replay, json_request};
use crate::vendors::genesys::Genesys;
use crate::vendors::genesys::sms_session_data::list_sessions::ListSessions;

/// How long one read of the sessions may take, its repeats included.
const READ: Duration = Duration::from_secs(10);

/// Where the vendor serves notifications unless configured otherwise.
const TEMPLATE: &str = "/api/v2/notifications";

pub(super) static HANDSHAKE: Meta = meta("Handshake");
pub(super) static SUBSCRIBE: Meta = meta("Subscribe");
pub(in crate::vendors::genesys) static CONNECT: Meta = meta("Connect");
pub(super) static DISCONNECT: Meta = meta("Disconnect");

const fn meta(name: &'static str) -> Meta {
    Meta {
        name,
        method: Method::POST,
        template: TEMPLATE,
        replay: Replay::Safe,
        creates: false,
    }
}

/// The way to the vendor for one account.
pub(super) trait Link: Send + Sync + 'static {
    /// Sends Bayeux messages; the answer as it came.
    fn post(
        &self,
        meta: &'static Meta,
        messages: &Value,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Error>>;

    /// Reads all sessions of the agent.
    fn sessions(&self) -> BoxFuture<'static, Result<Vec<SmsSession>, Failure>>;
}

/// Over the vendor's client, with the cookies and the token of the account's calls.
pub(super) struct Wire {
    pub(super) client: Client<Genesys>,
    pub(super) account: String,
    pub(super) path: String,
}

impl Link for Wire {
    fn post(
        &self,
        meta: &'static Meta,
        messages: &Value,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Error>> {
        let request = json_request(meta, &self.path, messages);
        let (client, account) = (self.client.clone(), self.account.clone());
        Box::pin(async move {
            let deadline = Instant::now() + patience;
            let reply = client.poll(&account, meta, request?, deadline).await;
            let reply = reply.map_err(|error| misplaced(unanswered(error, patience)))?;
            Ok(reply.body)
        })
    }

    fn sessions(&self) -> BoxFuture<'static, Result<Vec<SmsSession>, Failure>> {
        let client = self.client.clone();
        let ticket = Ticket::new(&self.account, Instant::now() + READ);
        Box::pin(async move {
            let read = client.call(ListSessions, ticket).await;
            read.map_err(|failure| Failure {
                error: unanswered(failure.error, READ),
                ..failure
            })
        })
    }
}

/// The patience is the gateway's own. Nobody may be told that a deadline ran out who set none, as
/// that is no reason to open a stream again.
fn unanswered(error: Error, after: Duration) -> Error {
    match error {
        Error::Deadline => Error::TimedOut { after },
        error => error,
    }
}

/// Where notifications are served is configured: a 404 is about that, and not about a record.
fn misplaced(error: Error) -> Error {
    match error {
        Error::Refused {
            meaning: Refusal::NotFound,
            answer,
        } => Error::Refused {
            meaning: Refusal::Misconfigured,
            answer,
        },
        error => error,
    }
}
