//! Gives a vendor that keeps failing a rest, and callers an answer at once.
//!
//! ```text
//! closed --- enough of the window's attempts failed ---> open
//!   ^                                                     | after `open`
//!   |                                                     v
//!   +------------- the probe succeeded -------------- half open: one attempt goes through
//!                                                         | it failed: open again
//! ```
//!
//! Only unavailability counts: no connection, no answer, 408, 502, 503, 504. A vendor that says
//! no is well. An attempt that the caller's own deadline ended says nothing either way. Nor does
//! one that got no token, for however many wait for a login, it is one request: the login counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::error::{Error, Kind, LoginError};
use super::observer::Observer;
use super::operation::{Call, Reply};
use super::{settings, window};

/// The window moves in steps of this part of it.
const SLOTS: usize = 10;

/// What the breaker is doing, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    HalfOpen,
    Open,
}

/// One breaker for all accounts of a vendor; by default none.
#[derive(Clone, Default)]
pub(super) struct BreakerLayer(Option<Arc<Breaker>>);

struct Breaker {
    vendor: &'static str,
    settings: settings::Breaker,
    observer: Arc<dyn Observer>,
    state: Mutex<State>,
}

enum State {
    /// What began before then is old news.
    Closed {
        since: Instant,
        window: Window,
    },
    Open {
        until: Instant,
    },
    /// One attempt is on its way to find out.
    Probing,
}

/// Attempts of the last seconds.
type Window = window::Window<Count, SLOTS>;

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    all: u64,
    failed: u64,
}

impl Window {
    fn count(&mut self, failed: bool, now: Instant, length: Duration) -> Count {
        self.turn_to(now, length);
        let slot = self.newest();
        slot.all += 1;
        slot.failed += u64::from(failed);
        self.slots()
            .iter()
            .fold(Count::default(), |sum, slot| Count {
                all: sum.all + slot.all,
                failed: sum.failed + slot.failed,
            })
    }
}

/// An attempt that was let through. A probe that ends without a word, because its caller left,
/// makes room for the next one.
struct Pass<'a> {
    breaker: &'a Breaker,
    began: Instant,
    probe: bool,
    told: bool,
}

impl State {
    fn closed() -> Self {
        let since = Instant::now();
        let window = Window::new(since);
        State::Closed { since, window }
    }
}

impl Breaker {
    fn admit(&self) -> Result<Pass<'_>, Error> {
        let mut state = self.state();
        let now = Instant::now();
        let probe = match &*state {
            State::Closed { .. } => false,
            State::Open { until } if now >= *until => true,
            State::Open { until } => {
                return Err(Error::CircuitOpen {
                    retry_after: *until - now,
                });
            }
            // The probe is soon back; asking again much later would waste its good news.
            State::Probing => {
                return Err(Error::CircuitOpen {
                    retry_after: self.settings.open / 10,
                });
            }
        };
        if probe {
            self.enter(&mut state, State::Probing);
        }
        Ok(Pass {
            breaker: self,
            began: now,
            probe,
            told: false,
        })
    }

    fn enter(&self, state: &mut State, next: State) {
        let told = match &next {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Probing => BreakerState::HalfOpen,
        };
        *state = next;
        self.observer.breaker(self.vendor, told);
    }

    /// The vendor showed whether it is well.
    fn decide(&self, state: &mut State, failed: bool) {
        let (next, word) = if failed {
            let until = Instant::now() + self.settings.open;
            (State::Open { until }, BreakerState::Open)
        } else {
            (State::closed(), BreakerState::Closed)
        };
        self.enter(state, next);
        tracing::warn!(vendor = self.vendor, state = ?word, "circuit breaker");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// What the attempt says of the vendor's health.
    fn ended(self, result: &Result<Reply, Error>) {
        let failed = match result {
            // The vendor is as it was, and left alone for as long again.
            Err(Error::Login(error)) if self.probe && is_unavailable(error) => Some(true),
            result => failed(result),
        };
        self.tell(failed);
    }

    /// `failed` is none where there is nothing to say.
    fn tell(mut self, failed: Option<bool>) {
        let Some(failed) = failed else { return };
        self.told = true;
        let breaker = self.breaker;
        let mut state = breaker.state();
        match &mut *state {
            State::Probing if self.probe => breaker.decide(&mut state, failed),
            State::Closed { since, window } if self.began >= *since => {
                let count = window.count(failed, Instant::now(), breaker.settings.window);
                if breaker.settings.is_too_much(count.all, count.failed) {
                    breaker.decide(&mut state, true);
                }
            }
            // It began before the breaker opened: old news, also where it has closed since.
            State::Closed { .. } | State::Probing | State::Open { .. } => {}
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe && !self.told {
            let mut state = self.breaker.state();
            // Without a line in the log: each call may be such a probe, for as long as a login is
            // refused.
            let until = Instant::now();
            self.breaker.enter(&mut state, State::Open { until });
        }
    }
}

impl settings::Breaker {
    fn is_too_much(&self, all: u64, failed: u64) -> bool {
        all >= u64::from(self.min_calls) && failed * 100 >= all * u64::from(self.failure_percent)
    }
}

fn is_unavailable(error: &LoginError) -> bool {
    matches!(
        error,
        LoginError::Unavailable { .. } | LoginError::Busy { .. }
    )
}

/// Whether an attempt speaks against the vendor's availability.
fn failed(result: &Result<Reply, Error>) -> Option<bool> {
    match result {
        Ok(_) => Some(false),
        Err(
            Error::Deadline
            | Error::GivenUp
            | Error::CircuitOpen { .. }
            | Error::QueueFull
            | Error::Unbuildable { .. }
            | Error::Login(_),
        ) => None,
        Err(Error::Busy { .. }) => Some(true),
        Err(error) => Some(matches!(error.kind(), Kind::NeverSent | Kind::Ambiguous)),
    }
}

impl BreakerLayer {
    pub(super) fn new(
        vendor: &'static str,
        settings: &settings::Breaker,
        observer: &Arc<dyn Observer>,
    ) -> Self {
        observer.breaker(vendor, BreakerState::Closed);
        BreakerLayer(settings.enabled.then(|| {
            Arc::new(Breaker {
                vendor,
                settings: settings.clone(),
                observer: Arc::clone(observer),
                state: Mutex::new(State::closed()),
            })
        }))
    }

    /// As an attempt would find it now: after its rest it refuses nobody, until somebody comes to be
    /// its probe. Then it refuses all others for as long as the vendor takes with that one.
    pub(super) fn now(&self) -> BreakerState {
        let state = self.0.as_ref().map(|breaker| breaker.state());
        match state.as_deref() {
            None | Some(State::Closed { .. }) => BreakerState::Closed,
            Some(State::Open { until }) if Instant::now() >= *until => BreakerState::HalfOpen,
            Some(State::Open { .. } | State::Probing) => BreakerState::Open,
        }
    }

    /// Whether the vendor is left alone now: for who was let through and had to wait since. The probe,
    /// while it is under way, is one of those.
    pub(super) fn rests(&self) -> Result<(), Error> {
        let state = self.0.as_ref().map(|breaker| breaker.state());
        if let Some(State::Open { until }) = state.as_deref() {
            let retry_after = until.saturating_duration_since(Instant::now());
            if !retry_after.is_zero() {
                return Err(Error::CircuitOpen { retry_after });
            }
        }
        Ok(())
    }

    /// A login ended that began then, which no circuit holds up. One that succeeds is no call that did:
    /// the call that it was made for tells that.
    pub(super) fn login_ended<T>(&self, began: Instant, result: &Result<T, LoginError>) {
        if let (Some(breaker), Err(error)) = (&self.0, result)
            && is_unavailable(error)
        {
            let login = Pass {
                breaker,
                began,
                probe: false,
                told: false,
            };
            login.tell(Some(true));
        }
    }
}

#[derive(Clone)]
pub(super) struct BreakerService<S> {
    inner: S,
    breaker: Option<Arc<Breaker>>,
}

impl<S> Layer<S> for BreakerLayer {
    type Service = BreakerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService {
            inner,
            breaker: self.0.clone(),
        }
    }
}

impl<S> Service<Call> for BreakerService<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        // The future does nothing before it is polled, so it may be made before admission.
        let attempt = self.inner.call(call);
        let Some(breaker) = self.breaker.clone() else {
            return Box::pin(attempt);
        };
        Box::pin(async move {
            let pass = breaker.admit()?;
            let result = attempt.await;
            pass.ended(&result);
            result
        })
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
