//! What makes two calls the same write, and how a write is refused or given up.

use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Status};

use super::Identity;
use crate::grpc::details::Rejection;
use crate::pb::ErrorReason;
use crate::upstream::client::Ticket;
use crate::upstream::error::{Error, Failure};
use crate::upstream::operation::{Meta, Operation, Replay, Vendor};
use crate::upstream::progress::Progress;

/// The encoded response, or the error, as the first call got it.
pub(super) type Outcome = Result<Bytes, Status>;

/// The operation that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub(super) vendor: &'static str,
    pub(super) meta: &'static Meta,
}

/// A write that is to be done once.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) key: Key,
    /// Of the whole message: another body under the same id is a mistake of the caller.
    pub(super) fingerprint: Vec<u8>,
    pub(super) asked: Asked,
}

/// What makes two calls the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Empty for all who are anonymous.
    pub(super) caller: String,
    pub(super) vendor: &'static str,
    pub(super) account: String,
    pub(super) operation: &'static str,
    pub(super) request_id: String,
}

impl Asked {
    pub(crate) fn of<O: Operation>() -> Self {
        Asked {
            vendor: O::Vendor::NAME,
            meta: const { &O::META },
        }
    }

    /// Whether it does no harm to do it again when nobody knows whether it was done.
    pub(super) fn may_be_done_again(self) -> bool {
        self.meta.replay != Replay::Once
    }

    /// There is no answer by the deadline, and this is how far the write is known to have got.
    pub(super) fn late_after(self, progress: &Progress) -> Status {
        self.given_up(late(progress), progress, progress.in_doubt())
    }

    /// The same for a repeat, while the first call goes on and has more time.
    pub(super) fn late_beside(self, first: &Progress) -> Status {
        self.given_up(late(first), first, first.may_yet_happen())
    }

    /// The same when there will be none.
    pub(super) fn abandoned_after(self, progress: &Progress) -> Status {
        self.given_up(Error::Abandoned, progress, progress.in_doubt())
    }

    fn given_up(self, error: Error, progress: &Progress, in_doubt: bool) -> Status {
        Status::from(Failure {
            sent: progress.sent(),
            in_doubt,
            ..self.failure(error)
        })
    }

    /// The deadline ran out while another replica does the write; how far it is nobody here knows.
    pub(super) fn late_elsewhere(self) -> Status {
        Status::from(Failure {
            in_doubt: true,
            ..self.failure(Error::Deadline)
        })
    }

    /// Who did the write is gone without a word on how it ended.
    pub(super) fn abandoned(self) -> Status {
        self.failure(Error::Abandoned).into()
    }

    fn failure(self, error: Error) -> Failure {
        Failure::unsent(self.vendor, self.meta.name, self.meta.replay, error)
    }
}

impl Write {
    pub(super) fn new(asked: Asked, identity: Identity, ticket: &Ticket) -> Self {
        let key = Key {
            caller: identity.caller,
            vendor: asked.vendor,
            account: ticket.account.clone(),
            operation: asked.meta.name,
            request_id: identity.request_id,
        };
        Write {
            key,
            fingerprint: identity.fingerprint,
            asked,
        }
    }
}

fn late(progress: &Progress) -> Error {
    match progress.awaited_proof() {
        Some(accepted) => Error::Unconfirmed { accepted },
        None => Error::Deadline,
    }
}

/// The deadline ran out before it was known whether anybody does the write, or has done it. Nothing is
/// told of the vendor, as nothing is known: what is would be an answer to all calls of this `request_id`.
pub(super) fn late_unasked() -> Status {
    Rejection::new(
        Code::DeadlineExceeded,
        ErrorReason::Deadline,
        "the deadline ran out before the store of request_ids had answered; nothing was sent for this call, \
         and what became of an earlier one with this request_id is not known",
    )
    .fact("attempts", &0)
    .into_status()
}

pub(super) fn reused() -> Status {
    Rejection::new(
        Code::InvalidArgument,
        ErrorReason::RequestIdReused,
        "this request_id was used before with another request",
    )
    .fact("attempts", &0)
    .into_status()
}

/// When to come again where nobody knows when that helps; and never sooner.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// The promise that a `request_id` asks for cannot be given now, but perhaps after this wait.
pub(super) fn unavailable(why: &str, wait: Duration) -> Status {
    Rejection::new(
        Code::Unavailable,
        ErrorReason::DedupeUnavailable,
        format!("{why}; nothing was sent for this call, and with the same request_id it can be made again"),
    )
    .fact("attempts", &0)
    .retry_after(Some(wait.max(SOON)))
    .into_status()
}
