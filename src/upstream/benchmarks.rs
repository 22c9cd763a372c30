//! The vendor stack over a transport that answers at once, and what lies beside it.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use opentelemetry::Context as TraceContext;
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tower::Service;
use url::Url;

use super::auth::{Credentials, Grant, Token};
use super::breaker::BreakerState;
use super::client::{Client, Ticket};
use super::error::{Answer, Error, Failure, LoginError, Refusal};
use super::observer::{Attempt, Observer};
use super::operation::{Call, Operation, Progress, Replay, Reply, Vendor};
use super::secret;
use super::settings::Settings;
use super::stack::Kit;
use super::token_cache::TokenCache;
use crate::benchmarks::Part;
use crate::telemetry::Metrics;
use crate::telemetry::client::{ClientMetrics, Request as Measured, inject};

const ACCOUNT: &str = "default";

/// Of every call here: never reached.
const DEADLINE: Duration = Duration::from_secs(3600);

pub(crate) fn parts() -> Vec<Part> {
    vec![nothing(), warm_token(), refusal(), no_answer()]
}

/// What running a future at all costs here, to be taken off the others.
fn nothing() -> Part {
    let runtime = runtime();
    Part::new("nothing", move || runtime.block_on(ready(())))
}

fn warm_token() -> Part {
    let runtime = runtime();
    let observer: Arc<dyn Observer> = Arc::new(Deaf);
    let tokens = TokenCache::new("vendor", ACCOUNT.to_owned(), Basic, observer);
    Part::new("token: warm", move || {
        runtime.block_on(tokens.get()).is_ok()
    })
}

/// An error as the caller gets it: code, message, details.
fn refusal() -> Part {
    Part::new("error: refused by the vendor", || {
        let answer = Answer {
            status: StatusCode::BAD_REQUEST,
            code: Some("2".to_owned()),
            text: "a value is missing".to_owned(),
        };
        let meaning = Refusal::Invalid;
        status(Error::Refused { meaning, answer }, Replay::Idempotent)
    })
}

fn no_answer() -> Part {
    Part::new("error: outcome unknown", || {
        let cause = "connection reset by peer".to_owned();
        status(Error::Lost { cause }, Replay::Once)
    })
}

fn status(error: Error, replay: Replay) -> Status {
    Status::from(Failure {
        vendor: "vendor",
        operation: "operation",
        replay,
        error,
        sent: 1,
        in_doubt: true,
        was_in_doubt: false,
        budget_spent: false,
    })
}

/// A whole call of an operation, from its client to a transport that gives this answer, and back:
/// once with nobody who listens, once as it is measured in production.
pub(crate) fn calls<O>(
    names: [&'static str; 2],
    operation: fn() -> O,
    body: &'static str,
) -> [Part; 2]
where
    O: Operation + Sync,
{
    let observers: [Arc<dyn Observer>; 2] = [Arc::new(Deaf), Arc::new(Measuring::new())];
    let mut observers = observers.into_iter();
    names.map(|name| {
        let runtime = runtime();
        let observer = observers.next().expect("one for each name");
        let client = runtime.block_on(async { client::<O::Vendor>(observer, answer(body)) });
        Part::new(name, move || {
            let ticket = Ticket {
                account: ACCOUNT.to_owned(),
                deadline: Instant::now() + DEADLINE,
                caller_repeats: false,
                progress: Progress::default(),
            };
            let done = runtime.block_on(client.call(operation(), ticket));
            assert!(done.is_ok(), "a benchmark of failures");
        })
    })
}

/// How a request is made of an operation.
pub(crate) fn encode<O: Operation>(name: &'static str, operation: O) -> Part {
    Part::new(name, move || {
        let request = operation.request();
        assert!(request.is_ok(), "an operation that cannot be sent");
        request
    })
}

/// How an answer is judged and read.
pub(crate) fn decode<O: Operation>(name: &'static str, operation: O, body: &'static str) -> Part {
    let answer = answer(body);
    Part::new(name, move || {
        let reply = O::Vendor::judge(const { &O::META }, answer.clone());
        let read = reply.and_then(|reply| operation.decode(&reply));
        assert!(read.is_ok(), "an answer that cannot be read");
        read
    })
}

fn client<V: Vendor>(observer: Arc<dyn Observer>, answer: Reply) -> Client<V> {
    let settings = Settings::default();
    let kit = Kit::new(V::NAME, &settings, observer).expect("default settings are usable");
    let base = Url::parse("http://vendor.example").expect("a URL");
    let accounts = BTreeMap::from([(ACCOUNT.to_owned(), ())]);
    let tasks = TaskTracker::new();
    Client::over(&kit, &base, &accounts, |()| Basic, tasks, &AtOnce(answer))
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

fn answer(body: &'static str) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Reply {
        status: StatusCode::OK,
        headers,
        body: Bytes::from_static(body.as_bytes()),
    }
}

/// In place of a connection.
#[derive(Clone)]
struct AtOnce(Reply);

impl Service<Call> for AtOnce {
    type Response = Reply;
    type Error = Error;
    type Future = Ready<Result<Reply, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        call.progress.mark_sent();
        ready(Ok(self.0.clone()))
    }
}

/// A login that signs with as much as a real one.
struct Basic;

impl Credentials for Basic {
    type Token = Basic;

    fn fetch(&self) -> BoxFuture<'static, Result<Grant<Basic>, LoginError>> {
        let token = Basic;
        Box::pin(ready(Ok(Grant { token, life: None })))
    }

    fn version(&self) -> secret::Version {
        secret::Version::default()
    }
}

impl Token for Basic {
    fn sign(&self, request: &mut Request<Bytes>) {
        for (name, value) in [
            (AUTHORIZATION, "Basic YWdlbnQxOnNlY3JldA=="),
            (COOKIE, "JSESSIONID=node01qw; GWSSESSIONID=4711"),
        ] {
            let mut value = HeaderValue::from_static(value);
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
    }

    fn answered(&self, _: &HeaderMap) {}

    fn secrets(&self) -> Vec<SecretString> {
        Vec::new()
    }
}

struct Deaf;

impl Observer for Deaf {
    fn inject(&self, _: &TraceContext, _: &mut HeaderMap) {}

    fn attempt(&self, _: &Attempt<'_>) {}

    fn retry(&self, _: &'static str, _: &'static str) {}

    fn breaker(&self, _: &'static str, _: BreakerState) {}

    fn login(&self, _: &'static str, _: &str, _: &'static str) {}
}

/// Measures what every call of the gateway measures at its vendor.
struct Measuring(ClientMetrics);

impl Measuring {
    fn new() -> Self {
        let metrics = Metrics::new().expect("metrics");
        let client = ClientMetrics::new(&metrics.meter());
        // They end with their provider, which the process keeps to its end.
        std::mem::forget(metrics);
        Measuring(client)
    }
}

impl Observer for Measuring {
    fn inject(&self, span: &TraceContext, headers: &mut HeaderMap) {
        inject(span, headers);
    }

    fn attempt(&self, attempt: &Attempt<'_>) {
        let outcome = attempt.error.unwrap_or("ok");
        self.0
            .record_attempt(attempt.vendor, attempt.meta.name, outcome);
        self.0.record_request(&Measured {
            method: "POST",
            address: &attempt.server.address,
            port: attempt.server.port,
            template: attempt.server.template(attempt.meta),
            status: attempt.status,
            error: attempt.error,
            duration: attempt.duration,
        });
    }

    fn retry(&self, _: &'static str, _: &'static str) {}

    fn breaker(&self, _: &'static str, _: BreakerState) {}

    fn login(&self, _: &'static str, _: &str, _: &'static str) {}
}
