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
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::Service;
use url::Url;

use super::auth::{Credentials, Grant, Token};
use super::breaker::BreakerLayer;
use super::client::{Client, Ticket};
use super::error::{Error, LoginError};
use super::observer::{Blind, Observer};
use super::operation::{Call, Operation, Reply, Vendor};
use super::secret;
use super::settings::Settings;
use super::stack::Kit;
use super::token_cache::TokenCache;

const ACCOUNT: &str = "default";

/// Of every call here: never reached.
const DEADLINE: Duration = Duration::from_secs(3600);

/// One part, ready to be run again and again.
pub struct Part {
    pub name: &'static str,
    pub run: Box<dyn FnMut()>,
}

impl Part {
    pub(crate) fn new<T>(name: &'static str, mut run: impl FnMut() -> T + 'static) -> Self {
        let run = Box::new(move || {
            std::hint::black_box(run());
        });
        Part { name, run }
    }
}

pub(crate) fn parts() -> Vec<Part> {
    vec![nothing(), warm_token()]
}

/// What running a future at all costs here, to be taken off the others.
fn nothing() -> Part {
    let runtime = runtime();
    Part::new("nothing", move || runtime.block_on(ready(())))
}

fn warm_token() -> Part {
    let runtime = runtime();
    let observer: Arc<dyn Observer> = Arc::new(Blind);
    let tokens = TokenCache::new(
        "vendor",
        ACCOUNT.to_owned(),
        Basic,
        observer,
        BreakerLayer::default(),
    );
    Part::new("token: warm", move || {
        runtime.block_on(tokens.get()).is_ok()
    })
}

/// A whole call of an operation, from its client to a transport that gives this answer, and back:
/// once with nobody who listens, once with this observer.
pub(crate) fn calls<O>(
    names: [&'static str; 2],
    operation: fn() -> O,
    body: &'static str,
    measured: &Arc<dyn Observer>,
) -> [Part; 2]
where
    O: Operation + Sync,
{
    let observers: [Arc<dyn Observer>; 2] = [Arc::new(Blind), Arc::clone(measured)];
    let mut observers = observers.into_iter();
    names.map(|name| {
        let runtime = runtime();
        let observer = observers.next().expect("one for each name");
        let client = runtime.block_on(async { client::<O::Vendor>(observer, answer(body)) });
        Part::new(name, move || {
            let ticket = Ticket::new(ACCOUNT, Instant::now() + DEADLINE);
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

    fn look(&self) -> secret::Version {
        self.version()
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
