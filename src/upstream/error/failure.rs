//! A failed call as its caller is told of it: the error alone does not say what was sent before.

use super::{Error, Kind, Refusal};
use crate::upstream::operation::Replay;
use crate::upstream::progress::Progress;

/// A failed call with what its journey tells: what the status table needs.
#[derive(Debug, Clone)]
pub struct Failure {
    pub vendor: &'static str,
    pub operation: &'static str,
    pub replay: Replay,
    pub error: Error,
    /// Requests sent to the vendor for this call.
    pub sent: u32,
    /// A request is, or may be, at the vendor with its outcome unknown.
    pub in_doubt: bool,
    /// An attempt before the last ended with its outcome unknown.
    pub was_in_doubt: bool,
    /// The retry budget was spent: callers should not repeat either.
    pub budget_spent: bool,
}

impl Failure {
    /// Of a call for which nothing was sent.
    pub fn unsent(
        vendor: &'static str,
        operation: &'static str,
        replay: Replay,
        error: Error,
    ) -> Self {
        Failure {
            vendor,
            operation,
            replay,
            error,
            sent: 0,
            in_doubt: false,
            was_in_doubt: false,
            budget_spent: false,
        }
    }

    /// The same with what was sent for it.
    #[must_use]
    pub fn after(self, progress: &Progress) -> Self {
        Failure {
            sent: progress.sent(),
            in_doubt: progress.in_doubt(),
            was_in_doubt: progress.was_in_doubt(),
            budget_spent: progress.budget_spent(),
            ..self
        }
    }

    /// Whether the caller has to be told that the write may have happened.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self.error, Error::Unconfirmed { .. }) || self.may_have_happened_once()
    }

    /// Whether anything that was sent for the call may have taken effect.
    pub fn may_have_happened(&self) -> bool {
        self.in_doubt
            || self.was_in_doubt
            || self.error.kind() == Kind::Ambiguous
            || matches!(
                self.error,
                Error::Unreadable { .. }
                    | Error::Refused {
                        meaning: Refusal::Unfinished,
                        ..
                    }
            )
    }

    fn may_have_happened_once(&self) -> bool {
        self.replay == Replay::Once
            && match &self.error {
                Error::Deadline => self.in_doubt,
                Error::Unreadable { .. } => true,
                error => error.kind() == Kind::Ambiguous,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::testing::{
        REPLAYS, bare, busy, credential_refused, lost, never_sent, refused, throttled,
    };
    use std::time::Duration;

    /// What is told of a write by what it failed by, where nothing else is known of it.
    #[test]
    fn what_may_have_happened_is_told_so_where_twice_does_harm() {
        let wait = Duration::from_secs(1);
        let unreadable = Error::Unreadable {
            status: None,
            cause: String::new(),
        };
        // The error, whether the write may have happened, and whether its outcome is unknown to
        // the caller of one that must not happen twice.
        let table = [
            (lost(), true, true),
            (Error::Abandoned, true, true),
            (Error::TimedOut { after: wait }, true, true),
            (bare(503), true, true),
            (unreadable, true, true),
            // The status table tells it, whatever the operation.
            (refused(Refusal::Unfinished), true, false),
            (refused(Refusal::State), false, false),
            (never_sent(), false, false),
            (throttled(None), false, false),
            (busy(wait), false, false),
            (credential_refused(), false, false),
            (Error::Deadline, false, false),
            (Error::GivenUp, false, false),
            (Error::QueueFull, false, false),
        ];
        for (error, happened, unknown) in table {
            for replay in REPLAYS {
                let told = format!("{error:?} x {replay:?}");
                let failure = Failure::unsent("vendor", "Test", replay, error.clone());
                assert_eq!(failure.may_have_happened(), happened, "{told}");
                let once = replay == Replay::Once;
                assert_eq!(failure.outcome_unknown(), once && unknown, "{told}");
            }
        }
    }

    #[test]
    fn doubt_of_this_attempt_or_of_one_before_counts_whatever_came_last() {
        let failed = |error| Failure::unsent("vendor", "Test", Replay::Once, error);
        for (in_doubt, was_in_doubt) in [(true, false), (false, true)] {
            let failure = Failure {
                in_doubt,
                was_in_doubt,
                ..failed(refused(Refusal::State))
            };
            assert!(failure.may_have_happened());
            assert!(!failure.outcome_unknown(), "the last answer was definite");
        }
        let cut = Failure {
            in_doubt: true,
            ..failed(Error::Deadline)
        };
        assert!(cut.may_have_happened() && cut.outcome_unknown());
        for accepted in [true, false] {
            assert!(failed(Error::Unconfirmed { accepted }).outcome_unknown());
        }
    }
}
