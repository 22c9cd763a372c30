//! How an accepted or a confirmed write is answered, and what a kept answer says of the write.

use prost::Message;
use tonic::Status;

use super::write::Accepted;
use crate::grpc::status::unknown_outcome;
use crate::pb::{AttachUserDataResponse, DeleteUserDataResponse, Outcome, UpdateUserDataResponse};
use crate::vendors::genesys::notifications::confirm::{Confirmed, Sent};

/// The three responses differ in name only.
pub(super) trait WriteResponse:
    Message + Default + From<Accepted> + From<Confirmed>
{
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
        Err(status) => unknown_outcome(status).map(Sent::EarlierInDoubt),
    }
}

macro_rules! write_response {
    ($($response:ident),*) => {$(
        impl From<Accepted> for $response {
            fn from(accepted: Accepted) -> Self {
                $response {
                    outcome: Outcome::Accepted.into(),
                    session: None,
                    reference_id: accepted.reference_id,
                }
            }
        }

        impl From<Confirmed> for $response {
            fn from(confirmed: Confirmed) -> Self {
                $response {
                    outcome: Outcome::Confirmed.into(),
                    session: Some(confirmed.session),
                    reference_id: confirmed.reference_id,
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
