//! What the tests of the kit and of the vendors share: calls, scripted vendors, fake logins.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use secrecy::SecretString;
use tokio::time::Instant;
use tower::{Service, service_fn};

use super::auth::{Credentials, Grant, Token};
use super::breaker::{BreakerLayer, BreakerState};
use super::error::{Answer, Error, Failure, Kind, LoginError, Refusal};
use super::observer::{Attempt, Blind, Observer, Server};
use super::operation::{Call, Meta, Replay, Reply};
use super::progress::Progress;
use super::secret::Version;
use super::token_cache::TokenCache;

const fn meta(name: &'static str, replay: Replay, creates: bool) -> Meta {
    Meta {
        name,
        method: Method::POST,
        template: "/thing",
        replay,
        creates,
    }
}

pub(crate) static READ: Meta = meta("Read", Replay::Safe, false);
pub(crate) static CHANGE: Meta = meta("Change", Replay::Idempotent, false);
pub(crate) static ADD: Meta = meta("Add", Replay::Once, false);
pub(crate) static CREATE: Meta = meta("Create", Replay::Once, true);

pub(crate) const REPLAYS: [Replay; 3] = [Replay::Safe, Replay::Idempotent, Replay::Once];

pub(crate) const REFUSALS: [Refusal; 12] = [
    Refusal::Invalid,
    Refusal::State,
    Refusal::Denied,
    Refusal::NotFound,
    Refusal::AlreadyExists,
    Refusal::Conflict,
    Refusal::TooLarge,
    Refusal::Misconfigured,
    Refusal::Blocked,
    Refusal::Unfinished,
    Refusal::Credentials,
    Refusal::Failed,
];

/// An observer that remembers what it was told.
#[derive(Default)]
pub(super) struct Witness {
    /// How each attempt ended.
    pub(super) attempts: Mutex<Vec<Option<&'static str>>>,
    /// To which vendor, and why, each request was sent again.
    pub(super) retries: Mutex<Vec<(&'static str, &'static str)>>,
    pub(super) tls_failures: AtomicU64,
}

impl Observer for Witness {
    fn inject(&self, _: &opentelemetry::Context, _: &mut HeaderMap) {}
    fn attempt(&self, attempt: &Attempt<'_>) {
        self.attempts.lock().unwrap().push(attempt.error);
    }
    fn retry(&self, vendor: &'static str, reason: &'static str) {
        self.retries.lock().unwrap().push((vendor, reason));
    }
    fn retry_refusals(&self, _: &'static str, _: u64) {}
    fn breaker(&self, _: &'static str, _: BreakerState) {}
    fn account(&self, _: &'static str, _: &str, _: &[&'static str]) {}
    fn login(&self, _: &'static str, _: &str, _: &'static str) {}
    fn queue_refusals(&self, _: &'static str, _: u64) {}
    fn tls_failures(&self, _: &'static str, more: u64) {
        self.tls_failures.fetch_add(more, Ordering::Relaxed);
    }
}

/// Where attempts are said to go.
pub(super) fn server() -> Server {
    Server {
        address: "vendor.example".into(),
        port: 443,
        base: "https://vendor.example".to_owned(),
        path: None,
    }
}

/// A call that has `within` until its deadline.
pub(super) fn call(replay: Replay, within: Duration) -> Call {
    Call {
        meta: match replay {
            Replay::Safe => &READ,
            Replay::Idempotent => &CHANGE,
            Replay::Once => &ADD,
        },
        request: Box::new(Request::new(Bytes::from_static(b"{}"))),
        deadline: Instant::now() + within,
        caller_repeats: false,
        replayed: false,
        progress: Progress::default(),
        signed: None,
    }
}

/// An answer; what begins with `<` is declared as HTML, all else as JSON.
pub(crate) fn reply(
    status: u16,
    headers: &[(&'static str, &str)],
    body: impl AsRef<[u8]>,
) -> Reply {
    let body = Bytes::copy_from_slice(body.as_ref());
    let declared = if body.starts_with(b"<") {
        "text/html"
    } else {
        "application/json;charset=UTF-8"
    };
    let mut map = HeaderMap::new();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static(declared));
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: map,
        body,
    }
}

pub(super) fn yes() -> Result<Reply, Error> {
    Ok(reply(200, &[], "{}"))
}

pub(crate) fn answer(status: u16) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        code: Some("20".to_owned()),
        text: "no".to_owned(),
    }
}

/// An account whose logins these are.
pub(super) fn tokens(logins: &Logins) -> TokenCache<Logins> {
    TokenCache::new(
        "vendor",
        "default".into(),
        logins.clone(),
        Arc::new(Blind),
        BreakerLayer::default(),
    )
}

pub(crate) fn never_sent() -> Error {
    Error::NeverSent {
        cause: "connection refused".to_owned(),
    }
}

pub(crate) fn lost() -> Error {
    Error::Lost {
        cause: "connection reset".to_owned(),
    }
}

pub(crate) fn refused(meaning: Refusal) -> Error {
    Error::Refused {
        meaning,
        answer: answer(400),
    }
}

pub(crate) fn credential_refused() -> Error {
    Error::CredentialRefused(answer(401))
}

pub(crate) fn bare(status: u16) -> Error {
    Error::Bare(answer(status))
}

pub(crate) fn throttled(retry_after: Option<Duration>) -> Error {
    Error::Throttled {
        retry_after,
        answer: answer(429),
    }
}

pub(crate) fn busy(retry_after: Duration) -> Error {
    Error::Busy {
        retry_after,
        answer: answer(503),
    }
}

pub(crate) fn login_throttled(retry_after: Option<Duration>) -> LoginError {
    LoginError::Throttled {
        retry_after,
        answer: answer(429),
    }
}

pub(crate) fn login_busy(retry_after: Duration) -> LoginError {
    LoginError::Busy {
        retry_after,
        answer: answer(503),
    }
}

pub(crate) fn unavailable(repeatable: bool) -> LoginError {
    LoginError::Unavailable {
        cause: "HTTP 503".to_owned(),
        status: Some(StatusCode::SERVICE_UNAVAILABLE),
        repeatable,
    }
}

/// A verdict in one word or a few, so that tables stay readable.
pub(crate) fn verdict(result: &Result<Reply, Error>) -> String {
    match result {
        Ok(_) => "yes".to_owned(),
        Err(Error::Refused { meaning, .. }) => format!("{meaning:?}"),
        Err(Error::CredentialRefused(_)) => "credentials refused".to_owned(),
        Err(Error::Throttled { retry_after, .. }) => format!("throttled {retry_after:?}"),
        Err(Error::Busy { retry_after, .. }) => format!("busy {retry_after:?}"),
        Err(Error::Bare(answer)) => format!("bare {}", answer.status.as_u16()),
        Err(Error::Unreadable { .. }) => "unreadable".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

/// When attempts came in.
#[derive(Clone, Default)]
pub(super) struct Attempts(Arc<Mutex<Vec<Instant>>>);

impl Attempts {
    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The time between the beginnings of one attempt and of the next.
    pub(super) fn gaps(&self) -> Vec<Duration> {
        let times = self.0.lock().unwrap();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

/// A vendor that answers every attempt by its number, which counts from 0.
pub(super) fn vendor<F, R>(
    answer: F,
) -> (
    impl Service<Call, Response = Reply, Error = Error, Future = R> + Clone + Send + 'static,
    Attempts,
)
where
    F: Fn(usize, Call) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Reply, Error>> + Send + 'static,
{
    let attempts = Attempts::default();
    let noted = attempts.clone();
    let service = service_fn(move |call| {
        let number = {
            let mut times = noted.0.lock().unwrap();
            times.push(Instant::now());
            times.len() - 1
        };
        answer(number, call)
    });
    (service, attempts)
}

/// A login that goes by a script, one entry for each time; beyond its end all are granted.
#[derive(Clone)]
pub(super) struct Logins(Arc<Desk>);

struct Desk {
    life: Option<Duration>,
    script: Mutex<VecDeque<Login>>,
    made: AtomicUsize,
    version: AtomicU64,
}

/// How one login goes.
pub(super) struct Login {
    takes: Duration,
    ends: Ending,
}

enum Ending {
    Granted(Option<Duration>),
    Failed(LoginError),
    Panicked,
}

impl Login {
    pub(super) fn granted(life: impl Into<Option<Duration>>) -> Login {
        Login::ending(Ending::Granted(life.into()))
    }

    pub(super) fn failed(error: LoginError) -> Login {
        Login::ending(Ending::Failed(error))
    }

    pub(super) fn refused() -> Login {
        Login::failed(LoginError::Refused(answer(401)))
    }

    pub(super) fn panicked() -> Login {
        Login::ending(Ending::Panicked)
    }

    fn ending(ends: Ending) -> Login {
        let takes = Duration::ZERO;
        Login { takes, ends }
    }

    pub(super) fn after(self, takes: Duration) -> Login {
        Login { takes, ..self }
    }
}

impl Logins {
    /// `life` is what logins beyond the script grant.
    pub(super) fn new(
        life: impl Into<Option<Duration>>,
        script: impl IntoIterator<Item = Login>,
    ) -> Logins {
        Logins(Arc::new(Desk {
            life: life.into(),
            script: Mutex::new(script.into_iter().collect()),
            made: AtomicUsize::new(0),
            version: AtomicU64::new(0),
        }))
    }

    /// How many logins were begun.
    pub(super) fn made(&self) -> usize {
        self.0.made.load(Ordering::Relaxed)
    }

    /// The secret becomes another one.
    pub(super) fn change_secret(&self) {
        self.0.version.fetch_add(1, Ordering::Relaxed);
    }
}

impl Credentials for Logins {
    type Token = Numbered;

    fn fetch(&self) -> BoxFuture<'static, Result<Grant<Numbered>, LoginError>> {
        let number = self.0.made.fetch_add(1, Ordering::Relaxed) + 1;
        let next = self.0.script.lock().unwrap().pop_front();
        let Login { takes, ends } = next.unwrap_or_else(|| Login::granted(self.0.life));
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            match ends {
                Ending::Granted(life) => Ok(Grant {
                    token: Numbered(number),
                    life,
                }),
                Ending::Failed(error) => Err(error),
                Ending::Panicked => panic!("a login that panics, as the test wants it"),
            }
        })
    }

    fn version(&self) -> Version {
        Version::numbered(self.0.version.load(Ordering::Relaxed))
    }

    fn look(&self) -> Version {
        self.version()
    }
}

/// The token of the login of that number, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Numbered(pub(super) usize);

impl Token for Numbered {
    fn sign(&self, request: &mut Request<Bytes>) {
        let mut value = HeaderValue::from_str(&format!("Token {}", self.0)).unwrap();
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }

    fn answered(&self, _: &HeaderMap) {}

    fn secrets(&self) -> Vec<SecretString> {
        vec![format!("secret of token {}", self.0).into()]
    }
}

/// A failed call of one request that was sent.
pub(crate) fn failure(replay: Replay, error: Error) -> Failure {
    let in_doubt = error.kind() == Kind::Ambiguous;
    Failure {
        sent: 1,
        in_doubt,
        ..Failure::unsent("genesys", "Test", replay, error)
    }
}
