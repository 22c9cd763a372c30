//! AttachUserData: adds pairs. Never repeated in doubt, as it may double a key that exists.

use bytes::Bytes;
use http::{Method, Request};

use super::user_data::Json;
use super::write::{self, Accepted, UserData, Write};
use crate::pb::{AttachUserDataRequest, SmsSession};
use crate::upstream::error::Error;
use crate::upstream::operation::{Meta, Operation, Replay, Reply};
use crate::vendors::genesys::Genesys;

pub(super) struct AttachUserData(pub(super) AttachUserDataRequest);

impl Operation for AttachUserData {
    type Vendor = Genesys;
    type Output = Accepted;
    const META: Meta = Meta {
        name: "AttachUserData",
        method: Method::POST,
        template: write::TEMPLATE,
        replay: Replay::Once,
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

impl Write for AttachUserData {
    fn session_id(&self) -> &str {
        &self.0.session_id
    }

    fn is_in_place(&self, session: &SmsSession) -> bool {
        write::holds(session, self.0.user_data.as_ref())
    }

    /// A key that is there with another value proves nothing: somebody may have put that over the
    /// attached one, and what an attach makes of a key that exists is not known.
    fn is_absent(&self, session: &SmsSession) -> bool {
        let (held, own) = (session.user_data.as_ref(), self.0.user_data.as_ref());
        let mut own = own.into_iter().flat_map(|own| own.fields.keys());
        held.is_none_or(|held| own.all(|key| !held.fields.contains_key(key)))
    }
}
