//! How a login can fail. Those who wait for one get this as their call's error.

use std::time::Duration;

use http::StatusCode;

use super::{Answer, Error, Refusal};

/// Why a login gave no token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoginError {
    /// The vendor refused the credentials.
    #[error("the vendor refused the gateway's login: {0}")]
    Refused(Answer),

    /// The login did not reach the vendor's own: a firewall stopped it, or the address is wrong.
    #[error("the gateway's login did not reach the vendor: {answer}")]
    Misdirected { meaning: Refusal, answer: Answer },

    /// The vendor took the login, and then refused what it had just issued.
    #[error("the vendor refused a login that it had just granted: {0}")]
    Useless(Answer),

    /// The secret could not be read from its file.
    #[error("the gateway cannot read its secret: {cause}")]
    Secret { cause: String },

    /// No answer that means anything: 5xx, timeout, no connection.
    #[error("the gateway could not log in to the vendor: {cause}")]
    Unavailable {
        cause: String,
        status: Option<StatusCode>,
        /// Whether the vendor's rules allow to try at once again.
        repeatable: bool,
    },

    /// The vendor limits the rate of logins.
    #[error("the vendor limits the rate of logins: {answer}")]
    Throttled {
        retry_after: Option<Duration>,
        answer: Answer,
    },

    /// 503 with Retry-After: a definite "not now".
    #[error(
        "the vendor is busy and asked for the login to come again after {retry_after:?}: {answer}"
    )]
    Busy {
        retry_after: Duration,
        answer: Answer,
    },

    /// An answer without the token that it should hold.
    #[error("the vendor's answer to the login could not be read: {cause}")]
    Unreadable { cause: String },
}

impl LoginError {
    /// A no to a login: to the credentials, unless what answered was not the vendor's login. A
    /// login that is not there is a wrong address: there is no record that could be missing.
    pub fn refused(meaning: Refusal, answer: Answer) -> Self {
        let meaning = match meaning {
            _ if answer.status == StatusCode::NOT_FOUND => Refusal::Misconfigured,
            meaning => meaning,
        };
        match meaning {
            Refusal::Blocked | Refusal::Misconfigured => {
                LoginError::Misdirected { meaning, answer }
            }
            _ => LoginError::Refused(answer),
        }
    }

    /// A login that was neither granted nor refused. Whether it may be tried again at once is by the
    /// vendor's rules.
    pub fn unanswered(error: Error, repeatable: bool) -> Self {
        match error {
            Error::Throttled {
                retry_after,
                answer,
            } => LoginError::Throttled {
                retry_after,
                answer,
            },
            Error::Busy {
                retry_after,
                answer,
            } => LoginError::Busy {
                retry_after,
                answer,
            },
            Error::Unreadable { cause, .. } => LoginError::Unreadable { cause },
            error => LoginError::Unavailable {
                cause: error.to_string(),
                status: error.status(),
                repeatable,
            },
        }
    }
}
