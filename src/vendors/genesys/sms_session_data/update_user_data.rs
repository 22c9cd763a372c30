//! UpdateUserData: overwrites the named keys. Twice gives the same state as once.

use bytes::Bytes;
use http::{Method, Request};

use super::user_data::Json;
use super::write::{self, Accepted, UserData, Write};
use crate::pb::{SmsSession, UpdateUserDataRequest};
use crate::upstream::error::Error;
use crate::upstream::operation::{Meta, Operation, Replay, Reply};
use crate::vendors::genesys::Genesys;

pub(super) struct UpdateUserData(pub(super) UpdateUserDataRequest);

impl Operation for UpdateUserData {
    type Vendor = Genesys;
    type Output = Accepted;
    const META: Meta = Meta {
        name: "UpdateUserData",
        method: Method::POST,
        template: write::TEMPLATE,
        replay: Replay::Idempotent,
        creates: false,
    };

    fn request(&self) -> Result<Request<Bytes>, Error> {
        let user_data = self.0.user_data.as_ref().map(Json);
        write::request(&Self::META, &self.0.session_id, UserData { user_data })
    }

    fn decode(&self, reply: &Reply) -> Result<Accepted, Error> {
        write::accepted(reply)
    }
}

impl Write for UpdateUserData {
    fn session_id(&self) -> &str {
        &self.0.session_id
    }

    fn is_in_place(&self, session: &SmsSession) -> bool {
        write::holds(session, self.0.user_data.as_ref())
    }
}
