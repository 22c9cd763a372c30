//! The error table: what a failed call means to the caller.

use std::time::Duration;

use http::StatusCode;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::details::{Pushback, Rejection, name};
use crate::pb::ErrorReason as Reason;
use crate::upstream::backoff::advised;
use crate::upstream::error::{Error, Failure, LoginError, Refusal};
use crate::upstream::operation::Replay;
use crate::upstream::progress::Progress;

/// In the metadata of an unknown outcome: by what it became unknown.
const FAILURE: &str = "failure";

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        let (code, reason) = row(&failure);
        let Failure {
            vendor,
            operation,
            error,
            sent,
            budget_spent,
            ..
        } = &failure;
        let wait = wait(error);
        let throttled = reason == Reason::VendorThrottled;
        let message = format!("{vendor} {operation}: {error}");
        let mut rejection = Rejection::new(code, reason, message)
            .advice(advice(&failure, reason))
            .fact("vendor", vendor)
            .fact("attempts", sent)
            .retry_after(wait.filter(|_| reason != Reason::OutcomeUnknown))
            .quota(throttled.then(|| format!("{vendor}/{operation}")))
            .pushback(pushback(error, reason, *budget_spent));
        if let Some(status) = error.status() {
            rejection = rejection.fact("vendorStatus", &status.as_u16());
        }
        if let Some(code) = error.code() {
            rejection = rejection.fact("vendorCode", &code);
        }
        if reason == Reason::OutcomeUnknown {
            rejection = rejection.fact(FAILURE, &error.label());
        }
        rejection.into_status()
    }
}

/// The contract's table, row by row.
fn row(failure: &Failure) -> (Code, Reason) {
    if failure.outcome_unknown() {
        return match failure.error {
            Error::Deadline | Error::Unconfirmed { .. } => {
                (Code::DeadlineExceeded, Reason::OutcomeUnknown)
            }
            _ => (Code::Unknown, Reason::OutcomeUnknown),
        };
    }
    match &failure.error {
        Error::NeverSent { .. }
        | Error::Lost { .. }
        | Error::Abandoned
        | Error::TimedOut { .. }
        | Error::Bare(_)
        | Error::Busy { .. }
        | Error::NotDone { .. } => (Code::Unavailable, Reason::VendorUnavailable),
        Error::Throttled { .. } => (Code::ResourceExhausted, Reason::VendorThrottled),
        Error::CredentialRefused(_) => (Code::Internal, Reason::VendorCredentialRejected),
        Error::Refused { meaning, .. } => refusal(*meaning),
        Error::Unreadable { .. } => (Code::Internal, Reason::VendorProtocol),
        Error::Login(login) => login_row(login),
        Error::Deadline | Error::GivenUp => (Code::DeadlineExceeded, Reason::Deadline),
        Error::Unconfirmed { .. } => (Code::DeadlineExceeded, Reason::OutcomeUnknown),
        Error::CircuitOpen { .. } => (Code::Unavailable, Reason::CircuitOpen),
        Error::QueueFull => (Code::ResourceExhausted, Reason::Overloaded),
        Error::Unbuildable { .. } => (Code::Internal, Reason::GatewayFailed),
    }
}

fn refusal(meaning: Refusal) -> (Code, Reason) {
    match meaning {
        Refusal::Invalid | Refusal::TooLarge => (Code::InvalidArgument, Reason::VendorRejected),
        Refusal::State => (Code::FailedPrecondition, Reason::VendorRejected),
        Refusal::Denied => (Code::PermissionDenied, Reason::VendorDenied),
        Refusal::NotFound => (Code::NotFound, Reason::VendorNotFound),
        Refusal::AlreadyExists => (Code::AlreadyExists, Reason::VendorRejected),
        Refusal::Conflict => (Code::Aborted, Reason::VendorRejected),
        Refusal::Misconfigured => (Code::Unimplemented, Reason::VendorMisconfigured),
        Refusal::Blocked => (Code::PermissionDenied, Reason::VendorBlocked),
        Refusal::Unfinished => (Code::Unknown, Reason::OutcomeUnknown),
        Refusal::Failed => (Code::Internal, Reason::VendorFailed),
        Refusal::Credentials => (Code::Internal, Reason::VendorCredentialRejected),
    }
}

fn login_row(login: &LoginError) -> (Code, Reason) {
    match login {
        LoginError::Refused(_) | LoginError::Useless(_) | LoginError::Secret { .. } => {
            (Code::Internal, Reason::VendorCredentialRejected)
        }
        LoginError::Misdirected { meaning, .. } => refusal(*meaning),
        LoginError::Unavailable { .. } | LoginError::Busy { .. } => {
            (Code::Unavailable, Reason::VendorUnavailable)
        }
        LoginError::Throttled { .. } => (Code::ResourceExhausted, Reason::VendorThrottled),
        LoginError::Unreadable { .. } => (Code::Internal, Reason::VendorProtocol),
    }
}

/// What people who read the message alone have to know.
fn advice(failure: &Failure, reason: Reason) -> &'static str {
    let refused = matches!(failure.error, Error::Refused { .. });
    match (reason, failure.replay) {
        (Reason::OutcomeUnknown, _) => "; it may or may not have been done: read before repeating",
        (Reason::VendorCredentialRejected, _) => "; the gateway's operator has to act",
        (Reason::VendorUnavailable, Replay::Once) => "; nothing was done",
        // The no is to a repeat, and the words of the one before it were lost.
        (_, Replay::Idempotent) if refused && failure.was_in_doubt => {
            "; an earlier attempt, whose answer was lost, may have done it"
        }
        _ => "",
    }
}

/// When to come again, for the failures that time may cure.
fn wait(error: &Error) -> Option<Duration> {
    match error {
        Error::Throttled { retry_after, .. }
        | Error::Login(LoginError::Throttled { retry_after, .. }) => {
            Some(retry_after.unwrap_or(advised(true)))
        }
        Error::Busy { retry_after, .. }
        | Error::Login(LoginError::Busy { retry_after, .. })
        | Error::CircuitOpen { retry_after } => Some(*retry_after),
        Error::NeverSent { .. }
        | Error::Lost { .. }
        | Error::Abandoned
        | Error::TimedOut { .. }
        | Error::Bare(_)
        | Error::NotDone { .. }
        | Error::Login(LoginError::Unavailable { .. })
        | Error::QueueFull => Some(advised(false)),
        Error::CredentialRefused(_)
        | Error::Refused { .. }
        | Error::Unreadable { .. }
        | Error::Login(
            LoginError::Refused(_)
            | LoginError::Misdirected { .. }
            | LoginError::Useless(_)
            | LoginError::Secret { .. }
            | LoginError::Unreadable { .. },
        )
        | Error::Unconfirmed { .. }
        | Error::Deadline
        | Error::GivenUp
        | Error::Unbuildable { .. } => None,
    }
}

/// What clients that retry on their own are told, where they are told anything.
fn pushback(error: &Error, reason: Reason, budget_spent: bool) -> Option<Pushback> {
    if reason == Reason::OutcomeUnknown || budget_spent {
        return Some(Pushback::Never);
    }
    match error {
        Error::Throttled { .. }
        | Error::Busy { .. }
        | Error::Login(LoginError::Throttled { .. } | LoginError::Busy { .. }) => {
            wait(error).map(Pushback::After)
        }
        _ => None,
    }
}

/// An outcome that a status says is not known.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownOutcome {
    /// [`Error::label`] of what it failed by; empty where that is not known either.
    pub failure: String,
    /// The HTTP status that the vendor answered with, if any.
    pub vendor_status: Option<StatusCode>,
}

/// What a status says of a write that may or may not have been done.
pub fn unknown_outcome(status: &Status) -> Option<UnknownOutcome> {
    let info = status.get_details_error_info()?;
    (info.reason == name(Reason::OutcomeUnknown)).then(|| UnknownOutcome {
        failure: info.metadata.get(FAILURE).cloned().unwrap_or_default(),
        vendor_status: info
            .metadata
            .get("vendorStatus")
            .and_then(|status| status.parse().ok()),
    })
}

/// The caller showed no identity that is accepted.
pub(super) fn unauthenticated(why: &str) -> Status {
    Rejection::new(Code::Unauthenticated, Reason::CallerUnauthenticated, why)
        .fact("attempts", &0)
        .into_status()
}

/// The policy does not let the caller do it. The same words whether or not there is such a thing.
pub(super) fn denied(what: &str) -> Status {
    let message = format!("the gateway's policy does not let this caller {what}");
    Rejection::new(Code::PermissionDenied, Reason::CallerDenied, message)
        .fact("attempts", &0)
        .into_status()
}

/// The gateway itself is full.
pub(super) fn overloaded() -> Status {
    full("the gateway has too many calls in flight")
}

/// The gateway's processor has more to do than it can.
pub(super) fn behind() -> Status {
    full("more calls arrive at the gateway than it can begin")
}

/// As many streams are open, or calls of health and reflection, as the gateway holds.
pub fn too_many_open() -> Status {
    full("the gateway has too many calls of this kind open")
}

fn full(what: &str) -> Status {
    Rejection::new(Code::ResourceExhausted, Reason::Overloaded, what)
        .fact("attempts", &0)
        .retry_after(Some(advised(false)))
        .into_status()
}

/// No method of the gateway takes several.
pub(super) fn more_than_a_message() -> Status {
    Rejection::new(
        Code::Internal,
        Reason::InvalidMessage,
        "the request holds more than the one message that the method takes",
    )
    .fact("attempts", &0)
    .into_status()
}

/// The deadline ran out before there was a request.
pub(super) fn message_late() -> Status {
    late("the deadline ran out before the request's message had arrived")
}

/// The deadline ran out before it was known who calls.
pub(super) fn key_late() -> Status {
    late("the deadline ran out before the key of the caller's token could be had from its issuer")
}

fn late(what: &str) -> Status {
    Rejection::new(Code::DeadlineExceeded, Reason::Deadline, what)
        .fact("attempts", &0)
        .into_status()
}

/// The deadline that a caller set for a stream ran out, as it asked for.
pub fn stream_ended() -> Status {
    Rejection::new(
        Code::DeadlineExceeded,
        Reason::Deadline,
        "the caller's deadline for the stream ran out",
    )
    .into_status()
}

/// The gateway is going away; another replica can be asked at once.
pub fn draining() -> Status {
    elsewhere(
        "the gateway is shutting down, or the connection has reached its maximum age; open the stream again",
    )
    .into_status()
}

fn elsewhere(message: &str) -> Rejection {
    Rejection::new(Code::Unavailable, Reason::GatewayDraining, message)
        .pushback(Some(Pushback::After(Duration::ZERO)))
}

/// The gateway ends, and the call has to end with it. A call that must not be made twice is in doubt once
/// anything was sent for it: what came of that is no longer looked at. What was not sent is not sent any
/// more, or the caller would repeat what is yet to come.
pub(super) fn cut(once: bool, progress: &Progress) -> Status {
    progress.cut();
    let sent = progress.sent();
    let rejection = if once && (sent > 0 || progress.joined()) {
        Rejection::new(
            Code::Unknown,
            Reason::OutcomeUnknown,
            "the gateway had to shut down before the call had ended; the write may or may not have happened",
        )
        .fact(FAILURE, &"shutdown")
        .pushback(Some(Pushback::Never))
    } else {
        elsewhere("the gateway had to shut down before the call had ended; make the call again")
    };
    rejection.fact("attempts", &sent).into_status()
}

/// Something that only a mistake of ours can cause.
pub fn defect(what: &str) -> Status {
    Rejection::new(
        Code::Internal,
        Reason::GatewayFailed,
        format!("defect of the gateway: {what}"),
    )
    .into_status()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
