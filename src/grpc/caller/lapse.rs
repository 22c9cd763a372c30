//! A stream ends when what it was opened with is good no longer: its token has expired, or the
//! certificate of its connection is not accepted any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tonic::body::Body;

use super::audit::Audited;
use super::layer::WITHDRAWN;
use super::tokens::{self, EXPIRED};
use crate::grpc::connections::Certificate;
use crate::grpc::status;
use crate::grpc::streams::Ending;

/// The longest sleep between two looks at the clock: it may be set while a stream lasts.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What an identity rests on.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// Good until so many seconds after 1970.
    Token(u64),
    Certificate(Arc<Certificate>),
}

impl Proof {
    /// Until it is good no longer; why, in words for the caller.
    async fn lapsed(self) -> &'static str {
        match self {
            Proof::Token(until) => {
                while let Some(left) = tokens::left(until) {
                    sleep(left.min(LOOK_AGAIN)).await;
                }
                EXPIRED
            }
            Proof::Certificate(certificate) => {
                certificate.withdrawn().await;
                WITHDRAWN
            }
        }
    }
}

/// The answers of a stream, for as long as its caller may have them: what is ready when that
/// ends is for this caller no more.
pub(super) fn lapsing(body: Body, proof: Proof, audited: Audited) -> Body {
    Ending::at_once(body, async move {
        let why = proof.lapsed().await;
        audited.lapsed(why);
        status::unauthenticated(why)
    })
}
