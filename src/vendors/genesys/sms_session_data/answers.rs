//! How an accepted or a confirmed write is answered, and what a kept answer says of the write.

use prost::Message;
use tonic::Status;

use super::write::Accepted;
use crate::grpc::status::{is_outcome_unknown, may_go_on};
use crate::pb::{AttachUserDataResponse, DeleteUserDataResponse, Outcome, UpdateUserDataResponse};
use crate::vendors::genesys::notifications::confirm::{Confirmed, Sent};

/// What came of a write.
pub(super) enum Answered {
    Accepted(Accepted),
    Confirmed(Confirmed),
}

/// The three responses differ in name only.
pub(super) trait WriteResponse: Message + Default + From<Answered> {
    fn is_confirmed(&self) -> bool;
    fn reference_id(&self) -> Option<i64>;
}

/// The write of a kept result that is not settled, for who wants it confirmed.
pub(super) fn unsettled<T: WriteResponse>(kept: &Result<T, Status>) -> Option<Sent> {
    match kept {
        Ok(answer) if answer.is_confirmed() => None,
        Ok(answer) => Some(Sent::Accepted(Accepted {
            reference_id: answer.reference_id(),
        })),
        Err(status) => is_outcome_unknown(status).then(|| Sent::EarlierInDoubt {
            is_over: !may_go_on(status),
        }),
    }
}

macro_rules! write_response {
    ($($response:ident),*) => {$(
        impl From<Answered> for $response {
            fn from(answered: Answered) -> Self {
                let (outcome, session, reference_id) = match answered {
                    Answered::Accepted(accepted) => {
                        (Outcome::Accepted, None, accepted.reference_id)
                    }
                    Answered::Confirmed(confirmed) => {
                        (Outcome::Confirmed, Some(confirmed.session), confirmed.reference_id)
                    }
                };
                $response {
                    outcome: outcome.into(),
                    session,
                    reference_id,
                }
            }
        }

        impl WriteResponse for $response {
            fn is_confirmed(&self) -> bool {
                self.outcome() == Outcome::Confirmed
            }

            fn reference_id(&self) -> Option<i64> {
                self.reference_id
            }
        }
    )*};
}

write_response!(
    AttachUserDataResponse,
    UpdateUserDataResponse,
    DeleteUserDataResponse
);
