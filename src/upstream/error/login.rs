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

    /// No answer that means anything: 5xx, timeout, no connection, or a vendor that says it failed.
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
    /// A no to a login: to the credentials, unless what answered was not the vendor's login, or failed. A
    /// login that is not there is a wrong address: there is no record that could be missing. So is
    /// one that is elsewhere, as a redirect says. `repeatable` as in [`failed`](Self::failed).
    pub fn refused(meaning: Refusal, answer: Answer, repeatable: bool) -> Self {
        let meaning = match meaning {
            _ if answer.status == StatusCode::NOT_FOUND => Refusal::Misconfigured,
            meaning => meaning,
        };
        if answer.status.is_server_error() && meaning != Refusal::Misconfigured {
            return LoginError::failed(&answer, repeatable);
        }
        let elsewhere = matches!(meaning, Refusal::Blocked | Refusal::Misconfigured);
        if elsewhere || answer.status.is_redirection() {
            return LoginError::Misdirected { meaning, answer };
        }
        LoginError::Refused(answer)
    }

    /// The vendor's own trouble. Whether the login may be tried again at once is by the vendor's rules.
    pub fn failed(answer: &Answer, repeatable: bool) -> Self {
        LoginError::Unavailable {
            cause: answer.to_string(),
            status: Some(answer.status),
            repeatable,
        }
    }

    /// A login that was neither granted nor refused. `repeatable` as in [`failed`](Self::failed).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::testing::{answer, bare, busy, lost, throttled};

    #[test]
    fn a_no_is_to_the_credentials_unless_something_else_answered() {
        for (meaning, status, misdirected) in [
            (Refusal::Denied, 403, None),
            (Refusal::Invalid, 400, None),
            (Refusal::Credentials, 200, None),
            (Refusal::Blocked, 403, Some(Refusal::Blocked)),
            (Refusal::Misconfigured, 405, Some(Refusal::Misconfigured)),
            // By whatever words: there is no record that could be missing.
            (Refusal::NotFound, 404, Some(Refusal::Misconfigured)),
            (Refusal::Invalid, 404, Some(Refusal::Misconfigured)),
            (Refusal::Failed, 302, Some(Refusal::Failed)),
            // The one 5xx that is no trouble of the vendor's.
            (Refusal::Misconfigured, 501, Some(Refusal::Misconfigured)),
        ] {
            let found = match LoginError::refused(meaning, answer(status), true) {
                LoginError::Refused(_) => None,
                LoginError::Misdirected { meaning, .. } => Some(meaning),
                other => panic!("{other}"),
            };
            assert_eq!(found, misdirected, "{meaning:?} {status}");
        }
    }

    #[test]
    fn a_no_of_a_vendor_that_failed_is_no_no() {
        for (meaning, status) in [(Refusal::Failed, 500), (Refusal::Denied, 501)] {
            for repeatable in [true, false] {
                assert!(matches!(
                    LoginError::refused(meaning, answer(status), repeatable),
                    LoginError::Unavailable { status: Some(told), repeatable: again, .. }
                        if told == status && again == repeatable
                ));
            }
        }
    }

    #[test]
    fn what_was_no_answer_to_a_login_says_when_it_may_be_made_again() {
        let wait = Duration::from_secs(7);
        for repeatable in [true, false] {
            let unanswered = |error| LoginError::unanswered(error, repeatable);
            assert!(matches!(
                unanswered(throttled(Some(wait))),
                LoginError::Throttled { retry_after: Some(told), .. } if told == wait
            ));
            assert!(matches!(
                unanswered(busy(wait)),
                LoginError::Busy { retry_after, .. } if retry_after == wait
            ));
            for (error, code) in [(lost(), None), (bare(502), Some(StatusCode::BAD_GATEWAY))] {
                assert!(matches!(
                    unanswered(error),
                    LoginError::Unavailable { status, repeatable: told, .. }
                        if status == code && told == repeatable
                ));
            }
        }
    }
}
