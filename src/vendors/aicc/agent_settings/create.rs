//! create: makes an agent's settings. Never repeated in doubt.

use bytes::Bytes;
use http::{Method, Request};
use serde::Serialize;

use crate::pb::CreateAgentSettingsRequest;
use crate::upstream::error::Error;
use crate::upstream::judge::unreadable;
use crate::upstream::operation::{Meta, Operation, Replay, Reply, json_request};
use crate::vendors::aicc::Aicc;
use crate::vendors::aicc::wire::{Settings, Written};

pub(super) struct Create(pub(super) CreateAgentSettingsRequest);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    user_id: &'a str,
    #[serde(flatten)]
    settings: Settings<'a>,
}

impl Operation for Create {
    type Vendor = Aicc;
    type Output = Written;
    const META: Meta = Meta {
        name: "create",
        method: Method::POST,
        template: "/apiaccess/CC-Management/v1/openapp/agentsettings/create",
        replay: Replay::Once,
        creates: true,
    };

    fn request(&self) -> Result<Request<Bytes>, Error> {
        let settings = self.0.settings.as_ref();
        let body = Body {
            user_id: &self.0.user_id,
            settings: settings.map(Settings::populated).unwrap_or_default(),
        };
        json_request(&Self::META, Self::META.template, &body)
    }

    /// Without its id the record could never be updated, so an answer without one is no answer.
    fn decode(&self, reply: &Reply) -> Result<Written, Error> {
        let written = Written::of(reply);
        if written.id.is_empty() {
            return Err(unreadable(reply, "no id in it"));
        }
        Ok(written)
    }
}
