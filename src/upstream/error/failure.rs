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
