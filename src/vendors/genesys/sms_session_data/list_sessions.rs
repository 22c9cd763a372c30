//! Reads all sessions of the agent.

use bytes::Bytes;
use http::{Method, Request};

use super::session;
use crate::pb::SmsSession;
use crate::upstream::error::Error;
use crate::upstream::operation::{Meta, Operation, Replay, Reply, empty_request};
use crate::vendors::genesys::Genesys;

pub(in crate::vendors::genesys) struct ListSessions;

impl Operation for ListSessions {
    type Vendor = Genesys;
    type Output = Vec<SmsSession>;
    const META: Meta = Meta {
        name: "ListSessions",
        method: Method::GET,
        template: "/api/v2/me/smssessions",
        replay: Replay::Safe,
        creates: false,
    };

    /// Without `fields=*` the vendor lists addresses only.
    fn request(&self) -> Result<Request<Bytes>, Error> {
        empty_request(&Self::META, "/api/v2/me/smssessions?fields=*")
    }

    fn decode(&self, reply: &Reply) -> Result<Vec<SmsSession>, Error> {
        session::read_all(reply)
    }
}
