//! The one retry decision: how it failed, and whether the operation may be repeated.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tower::retry::Policy as TowerPolicy;
use tower::retry::budget::{Budget, TpsBudget};

use super::backoff::{self, Backoff};
use super::error::{Error, Kind};
use super::observer::Observer;
use super::operation::{Call, Replay, Reply};
use super::settings;
use super::timeout::SHORTEST_ATTEMPT;

/// Over what time the retry budget is counted.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

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
    budget: TpsBudget,
    /// Deposits that a call makes into the budget, unless the gateway itself refuses it.
    earned: u32,
    /// Deposits that pay for a retry.
    cost: u32,
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
        let (earned, cost) = lowest_terms(settings.budget_percent, 100);
        Policy {
            shared: Arc::new(Shared {
                vendor,
                attempts: settings.attempts,
                backoff: Backoff {
                    base: settings.base,
                    cap: settings.cap,
                },
                // It rounds a share to one in a whole number, so the rest is in the deposits.
                budget: TpsBudget::new(BUDGET_WINDOW, settings.budget_floor, 1.0 / cost as f32),
                earned,
                cost,
                observer,
            }),
            attempts: 0,
        }
    }

    /// How many retries the budget would pay for now.
    pub(super) fn budget_left(&self) -> i64 {
        let Shared { budget, cost, .. } = &*self.shared;
        // It forgets what is too old only when somebody takes or gives. One retry is taken and
        // given back, or an outage's balance would be told until the next call.
        if budget.withdraw() {
            (0..*cost).for_each(|_| budget.deposit());
        }
        // The library tells it in its debug output only.
        let told = format!("{budget:?}");
        let balance = told.split_once("balance: ").and_then(|(_, balance)| {
            let end = balance.find([',', ' ', '}']).unwrap_or(balance.len());
            balance[..end].parse::<i64>().ok()
        });
        // Below nothing when what had been earned is forgotten before what was taken from it.
        balance.unwrap_or_default().max(0) / i64::from(*cost)
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
        if !self.shared.budget.withdraw() {
            call.progress.mark_budget_spent();
            self.shared.observer.retry_refusals(self.shared.vendor, 1);
            return None;
        }
        Some(wait)
    }
}

fn lowest_terms(numerator: u32, denominator: u32) -> (u32, u32) {
    let (mut divisor, mut rest) = (denominator, numerator);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (numerator / divisor, denominator / divisor)
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
            (0..self.shared.earned).for_each(|_| self.shared.budget.deposit());
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
