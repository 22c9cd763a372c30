//! query: reads an agent's settings.

use bytes::Bytes;
use http::{Method, Request};

use super::UserId;
use crate::pb::{GetAgentSettingsRequest, GetAgentSettingsResponse};
use crate::upstream::error::{Answer, Error, Refusal};
use crate::upstream::judge::unreadable;
use crate::upstream::operation::{Meta, Operation, Replay, Reply, json_request};
use crate::vendors::aicc::wire::{self, Record};
use crate::vendors::aicc::{Aicc, inferred};

pub(super) struct Get(pub(super) GetAgentSettingsRequest);

impl Operation for Get {
    type Vendor = Aicc;
    type Output = GetAgentSettingsResponse;
    const META: Meta = Meta {
        name: "query",
        method: Method::POST,
        template: "/apiaccess/CC-Management/v1/openapp/agentsettings/query",
        replay: Replay::Safe,
        creates: false,
    };

    fn request(&self) -> Result<Request<Bytes>, Error> {
        let user_id = &self.0.user_id;
        json_request(&Self::META, Self::META.template, &UserId { user_id })
    }

    fn decode(&self, reply: &Reply) -> Result<GetAgentSettingsResponse, Error> {
        let record = wire::read(reply).map_err(|cause| unreadable(reply, cause));
        let mut record: Record = record?;
        if inferred::is_absent(&record.id) {
            return Err(Error::Refused {
                meaning: Refusal::NotFound,
                answer: Answer {
                    status: reply.status,
                    code: Some("0".to_owned()),
                    text: "the agent has no settings".to_owned(),
                },
            });
        }
        Ok(GetAgentSettingsResponse {
            id: std::mem::take(&mut record.id),
            user_id: std::mem::take(&mut record.user_id),
            agent_name: std::mem::take(&mut record.agent_name),
            create_time: std::mem::take(&mut record.create_time),
            tenant_id: std::mem::take(&mut record.tenant_id),
            settings: Some(record.into_settings()),
        })
    }
}
