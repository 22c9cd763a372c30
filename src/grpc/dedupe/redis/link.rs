//! The connection to Redis: made when it is needed, made anew when it broke or when the file with
//! its URL changed, and never waited for long.

use std::sync::{self, Arc, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{Counter, Meter};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::upstream::secret::{Secret, Version};

/// For connecting, with TLS and authentication, and for each answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Who comes so soon after a connection that could not be made, or was of no use, is told so at once.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// How long a changed URL that is of no use is let alone while the old one does.
const LONG_PAUSE: Duration = Duration::from_secs(10);

/// A store is back when it has not failed for so long, and another cause is told no sooner: a full one
/// refuses some questions and answers others.
const QUIET: Duration = Duration::from_secs(5);

pub(super) struct Link {
    url: Secret,
    state: Mutex<State>,
    trouble: sync::Mutex<Option<Trouble>>,
    failures: Counter<u64>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    /// Numbers connections, so that a broken one is told from its successor.
    made: u64,
    /// When no connection could be made, and why.
    failed: Option<(Instant, Failed)>,
    /// When a changed URL was tried beside a connection that lives.
    tried: Option<(Instant, Version)>,
}

#[derive(Clone)]
struct Live {
    number: u64,
    version: Version,
    connection: MultiplexedConnection,
}

/// A store that fails, as far as the log was told.
struct Trouble {
    cause: String,
    told: Instant,
    /// The last time.
    failed: Instant,
}

/// Why Redis did not do what it was asked. Of its own words those are left out that may quote the question.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    cause: String,
    pub(super) came: Came,
    /// It was the connection's fault, and another may do better.
    again: bool,
}

/// How far a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Not to a Redis that takes questions.
    Nowhere,
    /// To a Redis that did not answer, and may have done it nevertheless or do it later.
    Perhaps,
    /// To a Redis that refused it.
    Refused,
}

impl Link {
    pub(super) fn new(url: Secret, meter: &Meter) -> Arc<Self> {
        let failures = meter
            .u64_counter("switchboard_dedupe_store_failures")
            .with_description(
                "Questions to the store of request_ids that it did not answer, or refused.",
            );
        let failures = failures.build();
        failures.add(0, &[]);
        Arc::new(Link {
            url,
            state: Mutex::default(),
            trouble: sync::Mutex::default(),
            failures,
        })
    }

    /// Asks Redis, twice if a connection turns out to be of no use any more: whatever is asked must bear
    /// it.
    pub(super) async fn ask(self: &Arc<Self>, question: &Cmd) -> Result<Vec<Vec<u8>>, Failed> {
        let mut answer = self.ask_once(question).await;
        if let Err(Failed {
            again: true, came, ..
        }) = answer
        {
            answer = self.ask_once(question).await;
            if let Err(failed) = &mut answer {
                if failed.again {
                    self.pause(failed).await;
                }
                // The first time it may have been done.
                if came == Came::Perhaps {
                    failed.came = came;
                }
            }
        }
        self.note(&answer);
        answer
    }

    async fn ask_once(self: &Arc<Self>, question: &Cmd) -> Result<Vec<Vec<u8>>, Failed> {
        let mut live = self.live().await?;
        let answer = question.query_async(&mut live.connection).await;
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let useless = is_about_the_connection(&error);
                if useless {
                    self.forget(live.number).await;
                }
                Err(Failed {
                    cause: cause(&error),
                    came: match error.code() {
                        Some(_) if useless => Came::Nowhere,
                        Some(_) => Came::Refused,
                        // An answer that cannot be read may have been a yes.
                        None => Came::Perhaps,
                    },
                    again: useless && !error.is_timeout(),
                })
            }
        }
    }

    /// One connects, and who comes meanwhile waits for that; for a connection to a changed URL nobody does.
    async fn live(self: &Arc<Self>) -> Result<Live, Failed> {
        let mut state = self.state.lock().await;
        let version = self.url.version();
        if let Some(live) = state.live.clone() {
            if live.version != version && state.is_to_try(version) {
                state.tried = Some((Instant::now(), version));
                tokio::spawn(Arc::clone(self).change_to(version));
            }
            return Ok(live);
        }
        if let Some((at, failed)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(failed.clone());
        }
        match self.connect().await {
            Ok(connection) => Ok(state.take(connection, version)),
            Err(failed) => {
                state.failed = Some((Instant::now(), failed.clone()));
                Err(failed)
            }
        }
    }

    async fn change_to(self: Arc<Self>, version: Version) {
        match self.connect().await {
            Ok(connection) => drop(self.state.lock().await.take(connection, version)),
            Err(Failed { cause, .. }) => tracing::warn!(
                cause,
                "the changed URL of the store of request_ids cannot be used yet"
            ),
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Failed> {
        let url = self.url.read();
        let url = url.map_err(|error| Failed::to_connect(error.to_string()))?;
        let timeouts = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let connecting = async {
            let client = Client::open(url.expose_secret())?;
            client
                .get_multiplexed_async_connection_with_config(&timeouts)
                .await
        };
        let connected = connecting.await;
        connected.map_err(|error| Failed::to_connect(cause(&error)))
    }

    async fn forget(&self, number: u64) {
        let mut state = self.state.lock().await;
        if state.live.as_ref().is_some_and(|it| it.number == number) {
            state.live = None;
        }
    }

    /// A new connection was of no use either.
    async fn pause(&self, failed: &Failed) {
        let mut state = self.state.lock().await;
        if state.live.is_none() {
            let failed = Failed::to_connect(failed.cause.clone());
            state.failed = Some((Instant::now(), failed));
        }
    }

    /// Counts failures, and tells of the first, of other causes, and of the end of them.
    fn note<T>(&self, answer: &Result<T, Failed>) {
        let lock = self.trouble.lock();
        let mut trouble = lock.unwrap_or_else(PoisonError::into_inner);
        let Err(Failed { cause, .. }) = answer else {
            if trouble.take_if(|it| it.failed.elapsed() >= QUIET).is_some() {
                tracing::info!("the store of request_ids is back");
            }
            return;
        };
        self.failures.add(1, &[]);
        let now = Instant::now();
        if let Some(known) = &mut *trouble {
            known.failed = now;
            if known.cause == *cause || now - known.told < QUIET {
                return;
            }
        }
        tracing::warn!(
            cause,
            "the store of request_ids is out of reach: calls with one are refused"
        );
        *trouble = Some(Trouble {
            cause: cause.clone(),
            told: now,
            failed: now,
        });
    }
}

impl State {
    fn is_to_try(&self, changed: Version) -> bool {
        let lately =
            |(at, tried): (Instant, Version)| tried == changed && at.elapsed() < LONG_PAUSE;
        !self.tried.is_some_and(lately)
    }

    fn take(&mut self, connection: MultiplexedConnection, version: Version) -> Live {
        self.made += 1;
        let live = Live {
            number: self.made,
            version,
            connection,
        };
        self.live = Some(live.clone());
        self.failed = None;
        live
    }
}

impl Failed {
    fn to_connect(cause: String) -> Self {
        Failed {
            cause,
            came: Came::Nowhere,
            again: false,
        }
    }
}

/// What a server answers that is no longer the one to ask, or that wants another login. It is left as well.
const NOT_THE_ONE: [&str; 6] = [
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "NOAUTH",
    "NOPERM",
];

fn is_about_the_connection(error: &RedisError) -> bool {
    code(error).is_none_or(|code| NOT_THE_ONE.contains(&code))
}

/// The word that an error begins with. What is refused within a script comes as an `ERR` up to Redis 6,
/// which quotes it: `Error running script (call to f_1): @user_script:1: -READONLY You can't write`.
fn code(error: &RedisError) -> Option<&str> {
    let code = error.code()?;
    let detail = error.detail().unwrap_or_default();
    let quoted =
        |word: &'_ &str| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let words = detail.split(' ');
    let mut quoted = words
        .filter_map(|word| word.strip_prefix('-'))
        .filter(quoted);
    match code {
        // What is as long as a script it does not even read before a login.
        "ERR" if detail.contains("unauthenticated") => Some("NOAUTH"),
        "ERR" => quoted.next().or(Some(code)),
        _ => Some(code),
    }
}

fn cause(error: &RedisError) -> String {
    match code(error) {
        // Whatever has no word of its own.
        Some("ERR") => format!("Redis answered ERR: {}", words(error)),
        Some(code) => format!("Redis answered {code}"),
        None if error.is_timeout() => "Redis did not answer in time".to_owned(),
        None if error.is_io_error() => error.to_string(),
        None => error.category().to_owned(),
    }
}

/// Those before the first that it quotes.
fn words(error: &RedisError) -> &str {
    let words = error.detail().unwrap_or_default();
    let words = words.split(['`', '"', ':', '(']).next();
    let words = words.and_then(|words| words.split(" '").next());
    words.unwrap_or_default().trim_end()
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
