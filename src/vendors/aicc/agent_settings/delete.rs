//! delete: removes an agent's settings. Twice gives the same state as once.

use bytes::Bytes;
use http::{Method, Request};

use super::UserId;
use crate::upstream::error::Error;
use crate::upstream::operation::{Meta, Operation, Replay, Reply, json_request};
use crate::vendors::aicc::Aicc;
use crate::vendors::aicc::wire::Written;

pub(super) struct Delete {
    pub(super) user_id: String,
}

impl Operation for Delete {
    type Vendor = Aicc;
    type Output = Written;
    const META: Meta = Meta {
        name: "delete",
        method: Method::POST,
        template: "/apiaccess/CC-Management/v1/openapp/agentsettings/delete",
        replay: Replay::Idempotent,
        creates: false,
    };

    fn request(&self) -> Result<Request<Bytes>, Error> {
        let user_id = &self.user_id;
        json_request(&Self::META, Self::META.template, &UserId { user_id })
    }

    fn decode(&self, reply: &Reply) -> Result<Written, Error> {
        Ok(Written::of(reply))
    }
}
