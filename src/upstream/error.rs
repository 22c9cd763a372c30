//! How a call to a vendor can fail: the one error of the vendor stack.
//!
//! Layers pass it on unchanged. Two exhaustive matches read it: [`Error::kind`], on which the
//! retry decision rests, and the gRPC status table in `grpc::status`.

mod failure;
mod login;

use std::time::Duration;

use http::StatusCode;

pub use self::failure::Failure;
pub use self::login::LoginError;

/// How one attempt, or the call as a whole, failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// DNS, connect or TLS failed, or the stream was refused: the vendor read nothing.
    #[error("the vendor could not be reached: {cause}")]
    NeverSent { cause: String },

    /// The connection broke after the request had begun to go out.
    #[error("the connection to the vendor was lost: {cause}")]
    Lost { cause: String },

    /// What made the call is gone without a word on how it ended, and may be at it still.
    #[error("the gateway failed while it waited for the answer")]
    Abandoned,

    /// No whole answer within the attempt's time, after the request had begun to go out.
    #[error("the vendor did not answer within {after:?}")]
    TimedOut { after: Duration },

    /// 408, 502, 503 or 504 without a word on whether the request was done.
    #[error("the vendor or a proxy in front of it answered {0}")]
    Bare(Answer),

    /// 429: refused for its rate.
    #[error("the vendor limits the rate: {answer}")]
    Throttled {
        retry_after: Option<Duration>,
        answer: Answer,
    },

    /// 503 with Retry-After: a definite "not now".
    #[error("the vendor is busy and asked to come again after {retry_after:?}: {answer}")]
    Busy {
        retry_after: Duration,
        answer: Answer,
    },

    /// The vendor refused the gateway's credentials, before doing anything.
    #[error("the vendor refused the gateway's credentials: {0}")]
    CredentialRefused(Answer),

    /// The vendor understood and said no.
    #[error("the vendor refused the request: {answer}")]
    Refused { meaning: Refusal, answer: Answer },

    /// A whole answer that makes no sense.
    #[error("the vendor's answer could not be read: {cause}")]
    Unreadable {
        status: Option<StatusCode>,
        cause: String,
    },

    /// No token could be had, so nothing was sent in this attempt.
    #[error(transparent)]
    Login(#[from] LoginError),

    /// The answer was lost, and the vendor's state does not show it: it was not done, or somebody wrote over it
    /// at once, which only an update can look like.
    #[error("{cause}; reads did not show it in place")]
    NotDone { cause: String },

    /// The vendor accepted, or may have, and its state did not show it in time.
    #[error("the vendor {} the write and did not show it in place before the deadline", if *accepted { "accepted" } else { "may have accepted" })]
    Unconfirmed { accepted: bool },

    /// The call's deadline ran out.
    #[error("the deadline ran out")]
    Deadline,

    /// Nobody waits for it any more: its deadline ran out elsewhere, or the gateway ends.
    #[error("it was given up before it was sent")]
    GivenUp,

    /// The vendor has been failing and is given a rest.
    #[error("the vendor has been failing and is given a rest")]
    CircuitOpen { retry_after: Duration },

    /// Too many calls wait for this vendor already.
    #[error("too many calls are waiting for this vendor")]
    QueueFull,

    /// A defect of ours: the request could not be built.
    #[error("the request to the vendor could not be built: {cause}")]
    Unbuildable { cause: String },
}

/// What a vendor's no means, in terms that every vendor shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request itself is wrong.
    Invalid,
    /// The state does not allow it.
    State,
    /// This account may not do it.
    Denied,
    NotFound,
    AlreadyExists,
    /// Something else changed at the same time.
    Conflict,
    TooLarge,
    /// The address is wrong: path or method unknown.
    Misconfigured,
    /// Something in front of the vendor judged the request malicious.
    Blocked,
    /// The vendor began and cannot tell how it ended.
    Unfinished,
    /// The gateway's login is not enough, and a fresh one would not cure it.
    Credentials,
    /// The vendor failed, or answered something that has no row of its own.
    Failed,
}

/// What is known of an answer that is no yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    /// The vendor's own result code, where the answer had one.
    pub code: Option<String>,
    /// The vendor's words; redacted and cut before they leave the stack.
    pub text: String,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP {}", self.status.as_u16())?;
        if let Some(code) = &self.code {
            write!(f, ", code {code}")?;
        }
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}

/// How a failure bears on sending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The vendor read nothing.
    NeverSent,
    /// Refused for the credentials: cured by one fresh login.
    CredentialRefused,
    /// Refused for now: may be sent again after a wait.
    ToldToWait(Option<Duration>),
    /// It may or may not have happened.
    Ambiguous,
    /// Sending again would not change the answer.
    Final,
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::NeverSent { .. } => Kind::NeverSent,
            Error::Lost { .. } | Error::Abandoned | Error::TimedOut { .. } | Error::Bare(_) => {
                Kind::Ambiguous
            }
            Error::Throttled { retry_after, .. }
            | Error::Login(LoginError::Throttled { retry_after, .. }) => {
                Kind::ToldToWait(*retry_after)
            }
            Error::Busy { retry_after, .. }
            | Error::Login(LoginError::Busy { retry_after, .. }) => {
                Kind::ToldToWait(Some(*retry_after))
            }
            Error::CredentialRefused(_) => Kind::CredentialRefused,
            // A login that was not made sent nothing of the call itself.
            Error::Login(LoginError::Unavailable { repeatable, .. }) if *repeatable => {
                Kind::NeverSent
            }
            Error::Login(
                LoginError::Unavailable { .. }
                | LoginError::Refused(_)
                | LoginError::Misdirected { .. }
                | LoginError::Useless(_)
                | LoginError::Secret { .. }
                | LoginError::Unreadable { .. },
            )
            | Error::Refused { .. }
            | Error::Unreadable { .. }
            | Error::NotDone { .. }
            | Error::Unconfirmed { .. }
            | Error::Deadline
            | Error::GivenUp
            | Error::CircuitOpen { .. }
            | Error::QueueFull
            | Error::Unbuildable { .. } => Kind::Final,
        }
    }

    /// For how long the vendor asked to be left alone.
    pub fn told_to_wait(&self) -> Duration {
        match self.kind() {
            Kind::ToldToWait(wait) => wait.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// The vendor's word that the record is not there.
    pub fn is_not_found(&self) -> bool {
        let meaning = Refusal::NotFound;
        matches!(self, Error::Refused { meaning: is, .. } if *is == meaning)
    }

    /// Nobody answered for the vendor, which may still be at it.
    pub fn is_unanswered(&self) -> bool {
        match self {
            Error::TimedOut { .. } => true,
            Error::Bare(answer) => answer.status == StatusCode::GATEWAY_TIMEOUT,
            _ => false,
        }
    }

    /// Whether time alone may cure it, so that who has all the time in the world tries again.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::NeverSent { .. }
            | Error::Lost { .. }
            | Error::Abandoned
            | Error::TimedOut { .. }
            | Error::Bare(_)
            | Error::Throttled { .. }
            | Error::Busy { .. }
            | Error::Unreadable { .. }
            | Error::NotDone { .. }
            | Error::Unconfirmed { .. }
            | Error::Deadline
            | Error::GivenUp
            | Error::CircuitOpen { .. }
            | Error::QueueFull => true,
            Error::Refused { meaning, .. } => match meaning {
                Refusal::State | Refusal::Conflict | Refusal::Unfinished | Refusal::Failed => true,
                Refusal::Invalid
                | Refusal::Denied
                | Refusal::NotFound
                | Refusal::AlreadyExists
                | Refusal::TooLarge
                | Refusal::Misconfigured
                | Refusal::Blocked
                | Refusal::Credentials => false,
            },
            Error::Login(login) => match login {
                // The last one is also what nodes look like that come and go, and lose what they
                // have just begun.
                LoginError::Unavailable { .. }
                | LoginError::Throttled { .. }
                | LoginError::Busy { .. }
                | LoginError::Unreadable { .. }
                | LoginError::Useless(_) => true,
                LoginError::Refused(_)
                | LoginError::Misdirected { .. }
                | LoginError::Secret { .. } => false,
            },
            Error::CredentialRefused(_) | Error::Unbuildable { .. } => false,
        }
    }

    /// A word of fixed choice for metrics and spans (`error.type`).
    pub fn label(&self) -> &'static str {
        match self {
            Error::NeverSent { .. } => "never_sent",
            Error::Lost { .. } => "lost",
            Error::Abandoned => "abandoned",
            Error::TimedOut { .. } => "timeout",
            Error::Bare(_) => "unavailable",
            Error::Throttled { .. } => "throttled",
            Error::Busy { .. } => "busy",
            Error::CredentialRefused(_) => "credential_refused",
            Error::Refused { .. } => "refused",
            Error::Unreadable { .. } => "unreadable",
            Error::Login(_) => "login",
            Error::NotDone { .. } => "not_done",
            Error::Unconfirmed { .. } => "unconfirmed",
            Error::Deadline => "deadline",
            Error::GivenUp => "given_up",
            Error::CircuitOpen { .. } => "circuit_open",
            Error::QueueFull => "queue_full",
            Error::Unbuildable { .. } => "unbuildable",
        }
    }

    /// The HTTP status behind the failure, where the vendor answered at all.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Error::Unreadable { status, .. }
            | Error::Login(LoginError::Unavailable { status, .. }) => *status,
            error => error.answer().map(|answer| answer.status),
        }
    }

    /// The vendor's own result code, where the answer had one.
    pub fn code(&self) -> Option<&str> {
        self.answer()?.code.as_deref()
    }

    fn answer(&self) -> Option<&Answer> {
        match self {
            Error::Bare(answer)
            | Error::Throttled { answer, .. }
            | Error::Busy { answer, .. }
            | Error::CredentialRefused(answer)
            | Error::Refused { answer, .. }
            | Error::Login(
                LoginError::Refused(answer)
                | LoginError::Misdirected { answer, .. }
                | LoginError::Useless(answer)
                | LoginError::Throttled { answer, .. }
                | LoginError::Busy { answer, .. },
            ) => Some(answer),
            Error::Login(
                LoginError::Secret { .. }
                | LoginError::Unavailable { .. }
                | LoginError::Unreadable { .. },
            )
            | Error::NeverSent { .. }
            | Error::Lost { .. }
            | Error::Abandoned
            | Error::TimedOut { .. }
            | Error::Unreadable { .. }
            | Error::NotDone { .. }
            | Error::Unconfirmed { .. }
            | Error::Deadline
            | Error::GivenUp
            | Error::CircuitOpen { .. }
            | Error::QueueFull
            | Error::Unbuildable { .. } => None,
        }
    }

    /// The vendor's words in what an attempt failed with, for redaction. Those of a login are
    /// clean already.
    pub fn answer_mut(&mut self) -> Option<&mut Answer> {
        match self {
            Error::Bare(answer)
            | Error::Throttled { answer, .. }
            | Error::Busy { answer, .. }
            | Error::CredentialRefused(answer)
            | Error::Refused { answer, .. } => Some(answer),
            _ => None,
        }
    }
}
