//! Who a token says its bearer is, by the keys that its issuer publishes.
//!
//! Keys come from a file or a URL, and are looked at again by one task for all calls: every
//! second in a file, every five minutes at a URL, and at once when the key of a token is not
//! among them, but not more often than every five seconds. Keys that cannot be had, or cannot be
//! read, leave those from before in use; until the first are there, no token passes.

mod keys;
mod verified;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use opentelemetry::metrics::{Counter, Meter};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};

pub use self::keys::Rules;
use self::keys::{Keys, Refusal};
pub(super) use self::verified::{Bearer, left};
use crate::upstream::files::{self, Complaint, LOOK_AGAIN};
use crate::upstream::transport::Document;

/// What a caller is told of a token that was good once.
pub(super) const EXPIRED: &str = "the token has expired";

/// How long a key that its issuer has taken back may still be used.
const URL_AGAIN: Duration = Duration::from_secs(300);

/// Between two fetches, whoever asks: anybody can name a key that does not exist.
const NOT_BEFORE: Duration = Duration::from_secs(5);

/// Longer than a fetch takes at most.
const PATIENCE: Duration = Duration::from_secs(6);

/// Callers that wait for a key at one time. They hold places of the gateway, and anybody can name a
/// key that does not exist.
const WAITING: usize = 256;

/// Where the keys are published.
pub enum Source {
    File(PathBuf),
    Url(Document),
}

/// Verifies tokens.
pub struct Tokens {
    rules: Rules,
    source: Source,
    keys: ArcSwap<Keys>,
    /// A token is of a key that is not there.
    missed: Notify,
    waiting: Semaphore,
    /// Counts how often the source was asked, or would have been too soon.
    looked: watch::Sender<u64>,
    failures: Counter<u64>,
}

/// Why there are no keys to be had from a source.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    #[error(transparent)]
    File(#[from] files::FileError),
    #[error("{0} cannot be used: {1}")]
    Keys(String, keys::KeysError),
    #[error("{0}")]
    Url(String),
}

impl Tokens {
    /// A file is read now, so that a mistake is told at the start; a URL is asked later, as the
    /// gateway starts without it.
    pub fn new(rules: Rules, source: Source, meter: &Meter) -> Result<Self, TokensError> {
        let keys = match &source {
            Source::File(path) => read(path, &rules)?,
            Source::Url(_) => Keys::none(),
        };
        let failures = meter
            .u64_counter("switchboard_jwks_reload_failures")
            .with_description("Times that the keys of tokens could not be had or read.")
            .build();
        failures.add(0, &[]);
        Ok(Tokens {
            rules,
            source,
            keys: ArcSwap::from_pointee(keys),
            missed: Notify::new(),
            waiting: Semaphore::new(WAITING),
            looked: watch::Sender::new(0),
            failures,
        })
    }

    /// Whom a token names; or why it is refused. Waits no longer than until `deadline` for a key.
    pub(super) async fn bearer(&self, token: &str, deadline: Instant) -> Result<Bearer, Refusal> {
        let first = self.keys.load_full().verify(token);
        if !matches!(first, Err(Refusal::UnknownKey(_))) {
            return first;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return first;
        };
        let mut looked = self.looked.subscribe();
        self.missed.notify_one();
        let patience = Instant::now() + PATIENCE;
        let looked = timeout_at(patience.min(deadline), looked.changed()).await;
        // Whatever came of it, the keys that there are now decide.
        match self.keys.load_full().verify(token) {
            Err(Refusal::UnknownKey(_)) if looked.is_err() && deadline < patience => {
                Err(Refusal::Late)
            }
            verified => verified,
        }
    }

    /// Until there are keys, which there are for good then.
    pub(super) async fn had(&self) {
        let mut looked = self.looked.subscribe();
        let had = looked.wait_for(|_| !self.keys.load().are_none());
        // It cannot close: the other end is here.
        let _ = had.await;
    }

    /// Whether a URL gives keys, asked once; a file was read at the start.
    pub(in crate::grpc) async fn try_url(&self) -> Option<Result<(), TokensError>> {
        match &self.source {
            Source::File(_) => None,
            Source::Url(_) => Some(self.fetch().await.map(drop)),
        }
    }

    /// Looks at the source again and again, for as long as it is polled.
    pub(in crate::grpc) async fn keep(&self) {
        let mut asked_at: Option<Instant> = None;
        let mut complaint = Complaint::default();
        loop {
            let early = asked_at.is_some_and(|at| at.elapsed() < NOT_BEFORE);
            if !(early && self.is_slow()) {
                asked_at = Some(Instant::now());
                self.look(&mut complaint).await;
            }
            self.looked.send_modify(|times| *times += 1);
            tokio::select! {
                () = self.missed.notified() => {}
                () = sleep(self.pause(complaint.lasts())) => {}
            }
        }
    }

    fn is_slow(&self) -> bool {
        matches!(self.source, Source::Url(_))
    }

    fn pause(&self, failed: bool) -> Duration {
        match (&self.source, failed) {
            (Source::File(_), _) => LOOK_AGAIN,
            (Source::Url(_), true) => NOT_BEFORE,
            (Source::Url(_), false) => URL_AGAIN,
        }
    }

    /// Says a failure once, and counts it each time.
    async fn look(&self, complaint: &mut Complaint) {
        match self.fetch().await {
            Ok(keys) => {
                complaint.is_over();
                if !keys.is_same(&self.keys.load()) {
                    tracing::info!(keys = keys.len(), "the keys of tokens have changed");
                    self.keys.store(Arc::new(keys));
                }
            }
            Err(error) => {
                self.failures.add(1, &[]);
                let error = error.to_string();
                if complaint.is_new(&error) {
                    match self.keys.load().are_none() {
                        true => tracing::warn!(error, "no keys yet: every token is refused"),
                        false => tracing::warn!(
                            error,
                            "no new keys for tokens: those from before stay in use"
                        ),
                    }
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Keys, TokensError> {
        match &self.source {
            Source::File(path) => read(path, &self.rules),
            Source::Url(document) => {
                let json = document.get().await;
                let json = json.map_err(|error| TokensError::Url(error.to_string()))?;
                parse(document.url().as_str(), &json, &self.rules)
            }
        }
    }
}

fn read(path: &Path, rules: &Rules) -> Result<Keys, TokensError> {
    let json: Bytes = files::read(path)?.into();
    parse(&path.display().to_string(), &json, rules)
}

fn parse(name: &str, json: &[u8], rules: &Rules) -> Result<Keys, TokensError> {
    Keys::parse(json, rules).map_err(|error| TokensError::Keys(name.to_owned(), error))
}
