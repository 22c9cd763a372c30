//! Holds one account's token: fetched when first wanted, refreshed before it ends, by one
//! login however many wait.
//!
//! ```text
//! granted ---------- half of life ---------- margin ----- end of life
//!    used as it is  |  used, and refreshed  |  all wait  |  never used
//!                   |  in the background    |  for one   |
//! ```
//!
//! A failed refresh never throws away a token that is still good. A refused login, and one whose
//! answer cannot be read, is remembered for some seconds, and refusals of one secret for longer each
//! time, so that no logins of ours lock the account.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use opentelemetry::KeyValue;
use rand::Rng;
use tokio::sync::watch;
use tokio::time::Instant;

use super::auth::Credentials;
use super::backoff::LEAST_THROTTLED;
use super::breaker::BreakerLayer;
use super::error::{Answer, LoginError};
use super::lease::Lease;
use super::observer::Observer;
use super::{secret, span};

/// How long a login that was answered and not granted is taken for an answer.
const REFUSAL_REMEMBERED: Duration = Duration::from_secs(5);

/// The same at the most, when the credentials are refused again and again: vendors lock accounts out
/// that fail to log in some times in a quarter of an hour, and for as long as they do.
const LONGEST_REFUSAL: Duration = Duration::from_secs(60);

/// How long at the most a vendor is believed that names a time for the next login.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The longest pause between background refreshes that fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How many granted logins in a row may be refused on first use before it counts as a refusal.
const USELESS_GRANTS: u32 = 2;

/// How many calls a minute may be refused with a fresh token, too, until no more are thrown away that others
/// are well with: where one kind of call is refused whatever the token, each would cost a login or two, and
/// all other calls and notifications their token.
const IN_VAIN_A_MINUTE: u32 = 30;

/// Refusals in a row after which a token is lost, however many logins were in vain.
const LOST: u32 = 10;

pub(super) struct TokenCache<C: Credentials>(Arc<Inner<C>>);

impl<C: Credentials> Clone for TokenCache<C> {
    fn clone(&self) -> Self {
        TokenCache(Arc::clone(&self.0))
    }
}

struct Inner<C: Credentials> {
    vendor: &'static str,
    account: String,
    credentials: C,
    observer: Arc<dyn Observer>,
    /// Of the vendor, for all accounts: it is told how logins end.
    breaker: BreakerLayer,
    /// Read without a lock by every attempt.
    current: ArcSwapOption<Lease<C::Token>>,
    state: Mutex<State<C::Token>>,
}

struct State<T> {
    flight: Option<Flight<T>>,
    refusal: Option<Refusal>,
    /// How often in a row the vendor refused the credentials, and with which secret.
    refused: (u32, secret::Version),
    /// After a refresh that failed, while there is a good token.
    pause: Option<Pause>,
    /// Calls that a fresh token did not help.
    in_vain: AMinute,
    /// Granted logins in a row of which not one was ever accepted.
    useless: u32,
    /// The last login failed: said once, and not again at every try of an outage.
    failing: bool,
}

type Landing<T> = Result<Arc<Lease<T>>, LoginError>;
type Flight<T> = watch::Receiver<Option<Landing<T>>>;

/// How often something happened in a minute.
#[derive(Default)]
struct AMinute {
    begun: Option<Instant>,
    times: u32,
}

/// No refresh with this secret before that time.
struct Pause {
    until: Instant,
    version: secret::Version,
}

struct Refusal {
    until: Instant,
    version: secret::Version,
    error: LoginError,
}

impl<C: Credentials> TokenCache<C> {
    pub(super) fn new(
        vendor: &'static str,
        account: String,
        credentials: C,
        observer: Arc<dyn Observer>,
        breaker: BreakerLayer,
    ) -> Self {
        observer.account(vendor, &account, &RESULTS);
        TokenCache(Arc::new(Inner {
            vendor,
            account,
            credentials,
            observer,
            breaker,
            current: ArcSwapOption::empty(),
            state: Mutex::new(State {
                flight: None,
                refusal: None,
                refused: Default::default(),
                pause: None,
                in_vain: AMinute::default(),
                useless: 0,
                failing: false,
            }),
        }))
    }

    /// Of the token that is held, if any: see [`Lease::times`].
    pub(super) fn times(&self) -> Option<(Duration, Option<Duration>)> {
        let lease = self.0.current.load();
        lease.as_ref().map(|lease| lease.times(Instant::now()))
    }

    /// Whether [`get`](Self::get) has a token at once.
    pub(super) fn has_one(&self) -> bool {
        let current = self.0.current.load();
        current
            .as_ref()
            .is_some_and(|lease| !lease.is_ending(Instant::now()))
    }

    /// A token that may be used now; logs in when there is none.
    pub(super) async fn get(&self) -> Landing<C::Token> {
        let now = Instant::now();
        let current = self.0.current.load_full();
        match current {
            Some(lease) if !lease.is_ending(now) => {
                if self.is_due(&lease, now) {
                    self.refresh_in_background(now);
                }
                Ok(lease)
            }
            // The last part of its life is for the case that no new one can be had, such as
            // after a login that has just failed: to try again on every call would help nobody.
            Some(old) if self.pauses(&self.state(), now) && !old.has_ended(now) => Ok(old),
            Some(old) => match self.land().await {
                Err(_) if !old.has_ended(Instant::now()) => Ok(old),
                landing => landing,
            },
            None => self.land().await,
        }
    }

    /// Logs in anew whatever is cached, and says how it went.
    pub(super) async fn login(&self) -> Result<(), LoginError> {
        self.land().await.map(drop)
    }

    /// Throws a refused token away, unless a newer one took its place already, or it is the call that is
    /// refused, and not the token: the vendor took that from others, and a replayed call's first one was
    /// refused like this one.
    pub(super) fn invalidate(
        &self,
        refused: &Arc<Lease<C::Token>>,
        answer: &Answer,
        replayed: bool,
    ) {
        let mut state = self.state();
        let current = self.0.current.load();
        if !current
            .as_ref()
            .is_some_and(|lease| Arc::ptr_eq(lease, refused))
        {
            return;
        }
        let in_vain = state.in_vain.times(replayed, Instant::now());
        if replayed && in_vain == IN_VAIN_A_MINUTE {
            tracing::warn!(
                vendor = self.0.vendor,
                account = %self.0.account,
                %answer,
                "some calls are refused whatever the login: no more are made for them this minute"
            );
        }
        if refused.was_accepted() {
            state.useless = 0;
            let spared = replayed || in_vain >= IN_VAIN_A_MINUTE;
            if !spared || refused.refused_again() >= LOST {
                self.0.current.store(None);
            }
            return;
        }
        self.0.current.store(None);
        state.useless += 1;
        if state.useless < USELESS_GRANTS {
            return;
        }
        let error = LoginError::Useless(answer.clone());
        if state.useless == USELESS_GRANTS {
            tracing::warn!(
                vendor = self.0.vendor,
                account = %self.0.account,
                %error,
                "logins are of no use"
            );
        }
        // The login was told as one that succeeded.
        let result = error.label();
        state.refusal = Some(Refusal {
            until: Instant::now() + REFUSAL_REMEMBERED,
            version: refused.version,
            error,
        });
        drop(state);
        self.tell(result);
    }

    fn tell(&self, result: &'static str) {
        debug_assert!(RESULTS.contains(&result), "{result} is none of them");
        self.0
            .observer
            .login(self.0.vendor, &self.0.account, result);
    }

    fn is_due(&self, lease: &Lease<C::Token>, now: Instant) -> bool {
        lease.is_due(now) || self.0.credentials.version() != lease.version
    }

    fn refresh_in_background(&self, now: Instant) {
        let mut state = self.state();
        let paused = self.pauses(&state, now);
        if !paused && state.flight.is_none() {
            self.take_off(&mut state);
        }
    }

    /// Whether a refresh with the present secret failed lately.
    fn pauses(&self, state: &State<C::Token>, now: Instant) -> bool {
        let pause = state.pause.as_ref();
        pause.is_some_and(|it| now < it.until && it.version == self.0.credentials.version())
    }

    /// Waits for the login under way, or starts one.
    async fn land(&self) -> Landing<C::Token> {
        let mut flight = {
            let mut state = self.state();
            if let Some(error) = self.remembered(&mut state) {
                return Err(error);
            }
            match &state.flight {
                Some(flight) => flight.clone(),
                None => self.take_off(&mut state),
            }
        };
        let landed = flight.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(landing)) => landing.clone(),
            Ok(None) | Err(_) => Err(LoginError::Unavailable {
                cause: "the login was abandoned".to_owned(),
                status: None,
                repeatable: true,
            }),
        }
    }

    /// A refusal that still holds; one of an older secret does not.
    fn remembered(&self, state: &mut State<C::Token>) -> Option<LoginError> {
        let refusal = state.refusal.as_ref()?;
        let left = refusal.until.saturating_duration_since(Instant::now());
        if !left.is_zero() && refusal.version == self.0.credentials.version() {
            let mut error = refusal.error.clone();
            error.set_left(left);
            return Some(error);
        }
        state.refusal = None;
        None
    }

    /// Logs in, in a task of its own: who waits may leave without harm to the others.
    fn take_off(&self, state: &mut State<C::Token>) -> Flight<C::Token> {
        let (landed, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        let cache = self.clone();
        let attributes = [
            KeyValue::new("switchboard.vendor", self.0.vendor),
            KeyValue::new("switchboard.account", self.0.account.clone()),
        ];
        let login = async move {
            // Taken down on every way out, so that a panic cannot keep others waiting.
            let _ended = FlightEnded(&cache);
            let began = Instant::now();
            let credentials = &cache.0.credentials;
            let mut version = credentials.look();
            let mut landing = cache.log_in(version).await;
            // Whoever waits would be told that the credentials are wrong, and the right ones are there.
            if let Err(LoginError::Refused(_) | LoginError::Secret { .. }) = &landing {
                let read = std::mem::replace(&mut version, credentials.look());
                if read != version {
                    landing = cache.log_in(version).await;
                }
            }
            let landing = cache.settle(landing, version, began);
            landed.send_replace(Some(landing));
        };
        tokio::spawn(span::within("login", attributes, login));
        flight
    }

    /// `version` is that of the secret, from before it is read.
    async fn log_in(&self, version: secret::Version) -> Landing<C::Token> {
        let from = Instant::now();
        let grant = self.0.credentials.fetch().await?;
        in_time(Lease::new(grant.token, grant.life, from, version))
    }

    /// What of a login those are told who waited for it.
    fn settle(
        &self,
        mut landing: Landing<C::Token>,
        version: secret::Version,
        began: Instant,
    ) -> Landing<C::Token> {
        let mut state = self.state();
        let now = Instant::now();
        match &mut landing {
            Ok(lease) => {
                let replaced = self.0.current.swap(Some(Arc::clone(lease)));
                if replaced.is_some_and(|old| old.was_accepted()) {
                    state.useless = 0;
                }
                state.pause = None;
                state.refused = Default::default();
                if std::mem::take(&mut state.failing) {
                    tracing::info!(
                        vendor = self.0.vendor,
                        account = %self.0.account,
                        "logins succeed again"
                    );
                }
            }
            Err(error) => {
                if std::mem::replace(&mut state.failing, true) {
                    tracing::debug!(%error, "login failed again");
                } else {
                    tracing::warn!(
                        vendor = self.0.vendor,
                        account = %self.0.account,
                        %error,
                        "login failed"
                    );
                }
                let holds = match &*error {
                    LoginError::Refused(_) => state.refused_again(version),
                    error => error.holds(),
                };
                error.set_left(holds);
                state.pause = Some(Pause {
                    until: now + self.pause().max(holds),
                    version,
                });
                state.refusal = Some(Refusal {
                    until: now + holds,
                    version,
                    error: error.clone(),
                });
            }
        }
        drop(state);
        self.0.breaker.login_ended(began, &landing);
        self.tell(landing.as_ref().map_or_else(LoginError::label, |_| OK));
        landing
    }

    /// A tenth of the token's life, at most half a minute, not the same for everybody.
    fn pause(&self) -> Duration {
        let current = self.0.current.load();
        let life = current.as_ref().and_then(|lease| lease.life);
        let pause = life.map_or(LONGEST_PAUSE, |life| LONGEST_PAUSE.min(life / 10));
        rand::rng().random_range(pause / 2..=pause)
    }

    fn state(&self) -> MutexGuard<'_, State<C::Token>> {
        // Nothing panics while holding it, and its parts are valid one by one.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// How long a refusal of the credentials is taken for an answer: twice as long as the one before, so
    /// that a trouble of the vendor's that passes lasts about twice as long here, at the most.
    fn refused_again(&mut self, version: secret::Version) -> Duration {
        let before = match self.refused {
            (times, same) if same == version => times,
            _ => 0,
        };
        self.refused = (before + 1, version);
        let holds = REFUSAL_REMEMBERED.saturating_mul(1 << before.min(16));
        holds.min(LONGEST_REFUSAL)
    }
}

impl AMinute {
    /// How often in the minute under way, with one more if it happened again.
    fn times(&mut self, again: bool, now: Instant) -> u32 {
        let lasts = |begun| now < begun + Duration::from_secs(60);
        if !self.begun.is_some_and(lasts) {
            *self = AMinute {
                begun: Some(now),
                times: 0,
            };
        }
        self.times = self.times.saturating_add(u32::from(again));
        self.times
    }
}

/// A life begins before the login is sent, so a slow login can outlast it.
fn in_time<T>(lease: Lease<T>) -> Landing<T> {
    if lease.has_ended(Instant::now()) {
        return Err(LoginError::Unavailable {
            cause: "the token's life had ended when it came".to_owned(),
            status: None,
            repeatable: false,
        });
    }
    Ok(Arc::new(lease))
}

struct FlightEnded<'a, C: Credentials>(&'a TokenCache<C>);

impl<C: Credentials> Drop for FlightEnded<'_, C> {
    fn drop(&mut self) {
        self.0.state().flight = None;
    }
}

const OK: &str = "ok";

/// What a login may come to, for metrics: that, or the label of an error.
const RESULTS: [&str; 8] = [
    OK,
    "refused",
    "misdirected",
    "secret",
    "unavailable",
    "throttled",
    "busy",
    "unreadable",
];

impl LoginError {
    /// How long it is the answer to whoever wants a token, where the credentials were not refused; mostly
    /// a further login may do better.
    fn holds(&self) -> Duration {
        // A call that was told no time waits no less before it tries again.
        let within = |told: Duration| told.clamp(LEAST_THROTTLED, LONGEST_WAIT);
        match self {
            LoginError::Misdirected { .. } | LoginError::Unreadable { .. } => REFUSAL_REMEMBERED,
            LoginError::Throttled { retry_after, .. } => within(retry_after.unwrap_or_default()),
            LoginError::Busy { retry_after, .. } => within(*retry_after),
            _ => Duration::ZERO,
        }
    }

    /// When the next login is made, whatever the vendor said: all are told the same, also those who come
    /// later.
    fn set_left(&mut self, left: Duration) {
        match self {
            LoginError::Throttled { retry_after, .. } => *retry_after = Some(left),
            LoginError::Busy { retry_after, .. } => *retry_after = left,
            _ => {}
        }
    }

    /// A word of fixed choice for metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            LoginError::Refused(_) | LoginError::Useless(_) => "refused",
            LoginError::Misdirected { .. } => "misdirected",
            LoginError::Secret { .. } => "secret",
            LoginError::Unavailable { .. } => "unavailable",
            LoginError::Throttled { .. } => "throttled",
            LoginError::Busy { .. } => "busy",
            LoginError::Unreadable { .. } => "unreadable",
        }
    }
}

#[cfg(test)]
#[path = "token_cache_tests.rs"]
mod tests;
