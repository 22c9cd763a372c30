//! The one retry decision: how it failed, and whether the operation may be repeated.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tower::retry::Policy as TowerPolicy;

use super::backoff::{self, Backoff};
use super::budget::RetryBudget;
use super::error::{Error, Kind};
use super::observer::Observer;
use super::operation::{Call, Replay, Reply};
use super::settings;
use super::timeout::SHORTEST_ATTEMPT;

/// What to do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Send again at once, in place of the refused attempt; once per call.
    Replay,
    /// Send again after backing off, or after the time that the vendor named.
    Repeat(Option<Duration>),
    /// Send again after backing off as a throttled vendor wants it.
    RepeatThrottled,
    Stop,
}

/// The retry table: failure kind by repeatability.
fn verdict(kind: Kind, replay: Replay) -> Verdict {
    match (kind, replay) {
        (Kind::NeverSent, _) => Verdict::Repeat(None),
        (Kind::CredentialRefused, _) => Verdict::Replay,
        (Kind::ToldToWait(Some(wait)), _) => Verdict::Repeat(Some(wait)),
        (Kind::ToldToWait(None), _) => Verdict::RepeatThrottled,
        (Kind::Ambiguous, Replay::Safe | Replay::Idempotent) => Verdict::Repeat(None),
        (Kind::Ambiguous, Replay::Once) => Verdict::Stop,
        (Kind::Final, _) => Verdict::Stop,
    }
}

/// The policy of one vendor; cloned for each call, which then counts in its clone.
#[derive(Clone)]
pub(super) struct Policy {
    shared: Arc<Shared>,
    /// Attempts made, replays after a fresh login not counted.
    attempts: u32,
}

struct Shared {
    vendor: &'static str,
    attempts: u32,
    backoff: Backoff,
    budget: RetryBudget,
    observer: Arc<dyn Observer>,
}

impl Policy {
    pub(super) fn new(
        vendor: &'static str,
        settings: &settings::Retry,
        observer: Arc<dyn Observer>,
    ) -> Self {
        // A series that is there from the start can be alerted on.
        observer.retry_refusals(vendor, 0);
        Policy {
            shared: Arc::new(Shared {
                vendor,
                attempts: settings.attempts,
                backoff: Backoff {
                    base: settings.base,
                    cap: settings.cap,
                },
                budget: RetryBudget::new(settings.budget_percent, settings.budget_floor),
                observer,
            }),
            attempts: 0,
        }
    }

    /// How many retries the budget would pay for now.
    pub(super) fn budget_left(&self) -> i64 {
        self.shared.budget.left()
    }

    /// How long to sleep before the next attempt; `None` to let the result stand.
    fn decide(&mut self, call: &mut Call, error: &Error) -> Option<Duration> {
        let verdict = verdict(error.kind(), call.meta.replay);
        if verdict == Verdict::Replay {
            // A cured refusal is no repeat: it costs neither an attempt nor budget, and its
            // bound is one per call. Else a vendor's outage could not be told from a token
            // that ran out while the budget was spent.
            return (!std::mem::replace(&mut call.replayed, true)).then_some(Duration::ZERO);
        }
        self.attempts += 1;
        if self.attempts >= self.shared.attempts || call.caller_repeats {
            return None;
        }
        let room = call.remaining().checked_sub(SHORTEST_ATTEMPT)?;
        let repeat = self.attempts - 1;
        let wait = match verdict {
            Verdict::Stop | Verdict::Replay => return None,
            Verdict::Repeat(None) => self.shared.backoff.wait(repeat),
            Verdict::Repeat(Some(retry_after)) => backoff::spread(retry_after, room)?,
            Verdict::RepeatThrottled => self.shared.backoff.wait_throttled(repeat),
        };
        if wait > room {
            return None;
        }
        if !self.shared.budget.spend() {
            call.progress.mark_budget_spent();
            self.shared.observer.retry_refusals(self.shared.vendor, 1);
            return None;
        }
        Some(wait)
    }
}

impl TowerPolicy<Call, Reply, Error> for Policy {
    type Future = BoxFuture<'static, ()>;

    fn retry(
        &mut self,
        call: &mut Call,
        result: &mut Result<Reply, Error>,
    ) -> Option<Self::Future> {
        let refused = matches!(result, Err(Error::CircuitOpen { .. } | Error::QueueFull));
        if self.attempts == 0 && !call.replayed && !refused {
            self.shared.budget.earn();
        }
        let error = result.as_ref().err()?;
        let wait = self.decide(call, error)?;
        // Counted when it goes out: the circuit may open, or the deadline come, before it does.
        call.progress.mark_repeat(error.label());
        Some(Box::pin(tokio::time::sleep(wait)))
    }

    fn clone_request(&mut self, call: &Call) -> Option<Call> {
        Some(call.clone())
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
