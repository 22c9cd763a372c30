//! What is known of a write once it was sent, before anything is seen of it.

use http::StatusCode;

use crate::grpc::status::UnknownOutcome;
use crate::upstream::error::Failure;
use crate::vendors::genesys::sms_session_data::write::Accepted;

/// What is known of the write itself.
pub(in crate::vendors::genesys) enum Sent {
    Accepted(Accepted),
    /// It may have happened.
    InDoubt(Box<Failure>),
    /// It was so at another time: a call that is repeated under its `request_id`.
    EarlierInDoubt(UnknownOutcome),
}

impl Sent {
    pub(super) fn reference_id(&self) -> Option<i64> {
        match self {
            Sent::Accepted(accepted) => accepted.reference_id,
            Sent::InDoubt(_) | Sent::EarlierInDoubt(_) => None,
        }
    }

    /// Whether nothing of the last attempt can be under way any more, so that what is absent stays
    /// so. An accepted write is on its way in the vendor's own network, and who gave no answer in
    /// time may still be at it.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Sent::Accepted(_) => false,
            Sent::InDoubt(failure) => is_over(failure.error.label(), failure.error.status()),
            Sent::EarlierInDoubt(earlier) => is_over(&earlier.failure, earlier.vendor_status),
        }
    }
}

/// By the label of a failure and the status that came with it, as that is all that is kept of an
/// earlier one.
fn is_over(failure: &str, status: Option<StatusCode>) -> bool {
    match failure {
        "lost" => true,
        "unavailable" => status != Some(StatusCode::GATEWAY_TIMEOUT),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::error::Error;
    use crate::upstream::testing::{bare, lost};
    use crate::vendors::genesys::notifications::snapshot::failure;

    #[test]
    fn only_what_broke_or_was_answered_for_the_vendor_is_over() {
        let after = Duration::from_secs(5);
        let unreadable = Error::Unreadable {
            status: Some(StatusCode::OK),
            cause: String::new(),
        };
        for (error, over) in [
            (lost(), true),
            (bare(408), true),
            (bare(502), true),
            (bare(503), true),
            (bare(504), false),
            (Error::TimedOut { after }, false),
            (Error::Deadline, false),
            (Error::Abandoned, false),
            (unreadable, false),
        ] {
            // The same of one that was kept, by the words that were kept.
            let earlier = Sent::EarlierInDoubt(UnknownOutcome {
                failure: error.label().to_owned(),
                vendor_status: error.status(),
            });
            let told = error.to_string();
            let now = Sent::InDoubt(Box::new(failure(error)));
            assert_eq!((now.is_over(), earlier.is_over()), (over, over), "{told}");
        }
        let reference_id = None;
        assert!(!Sent::Accepted(Accepted { reference_id }).is_over());
    }
}
