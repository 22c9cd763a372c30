//! The operations, with what a caller would send.

use super::create::Create;
use super::delete::Delete;
use super::get::Get;
use super::update::Update;
use crate::pb::{
    CreateAgentSettingsRequest, GetAgentSettingsRequest, PersonalSettings,
    UpdateAgentSettingsRequest,
};
use crate::upstream::operation::Operation;

const AGENT: &str = "4711";

pub(in crate::vendors::aicc) fn create() -> impl Operation + Sync {
    Create(CreateAgentSettingsRequest {
        user_id: AGENT.to_owned(),
        settings: Some(settings()),
        ..Default::default()
    })
}

pub(in crate::vendors::aicc) fn update() -> impl Operation {
    Update(UpdateAgentSettingsRequest {
        user_id: AGENT.to_owned(),
        id: "8ab4a1d8-0a8c-4a1b-9d4b-1c1f5b0d7c11".to_owned(),
        settings: Some(settings()),
        ..Default::default()
    })
}

pub(in crate::vendors::aicc) fn get() -> impl Operation {
    Get(GetAgentSettingsRequest {
        user_id: AGENT.to_owned(),
        ..Default::default()
    })
}

pub(in crate::vendors::aicc) fn delete() -> impl Operation {
    Delete {
        user_id: AGENT.to_owned(),
    }
}

fn settings() -> PersonalSettings {
    PersonalSettings {
        caller_present: vec!["02155550100".to_owned()],
        call_number: vec!["02155550101".to_owned(), "02155550102".to_owned()],
        call_number_default: "02155550101".to_owned(),
        ..Default::default()
    }
}
