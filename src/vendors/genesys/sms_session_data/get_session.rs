//! Reads one session.

use bytes::Bytes;
use http::{Method, Request, StatusCode};

use super::{session, write};
use crate::pb::{GetSessionRequest, SmsSession};
use crate::upstream::error::{Answer, Error, Refusal};
use crate::upstream::operation::{Meta, Operation, Replay, Reply, empty_request};
use crate::vendors::genesys::Genesys;

pub(in crate::vendors::genesys) struct GetSession(
    pub(in crate::vendors::genesys) GetSessionRequest,
);

impl Operation for GetSession {
    type Vendor = Genesys;
    type Output = SmsSession;
    const META: Meta = Meta {
        name: "GetSession",
        method: Method::GET,
        template: write::TEMPLATE,
        replay: Replay::Safe,
        creates: false,
    };

    fn request(&self) -> Result<Request<Bytes>, Error> {
        empty_request(&Self::META, &write::path(&self.0.session_id))
    }

    /// The one that was asked for: a server that answers with the whole list is understood.
    fn decode(&self, reply: &Reply) -> Result<SmsSession, Error> {
        let found = session::read_all(reply)?;
        let asked = |session: &SmsSession| session.id == self.0.session_id;
        found.into_iter().find(asked).ok_or_else(|| Error::Refused {
            meaning: Refusal::NotFound,
            answer: Answer {
                status: StatusCode::OK,
                code: None,
                text: "the answer holds no such session".to_owned(),
            },
        })
    }
}
