//! The operations, with what a caller would send.

use prost_types::Struct;

use super::attach_user_data::AttachUserData;
use super::delete_user_data::DeleteUserData;
use super::get_session::GetSession;
use super::list_sessions::ListSessions;
use super::update_user_data::UpdateUserData;
use crate::pb::{
    AttachUserDataRequest, DeleteUserDataRequest, GetSessionRequest, UpdateUserDataRequest,
};
use crate::upstream::operation::Operation;

const SESSION: &str = "0071023821aec011";

pub(in crate::vendors::genesys) fn attach(data: Struct) -> impl Operation {
    AttachUserData(AttachUserDataRequest {
        session_id: SESSION.to_owned(),
        user_data: Some(data),
        ..Default::default()
    })
}

pub(in crate::vendors::genesys) fn update(data: Struct) -> impl Operation + Sync {
    UpdateUserData(UpdateUserDataRequest {
        session_id: SESSION.to_owned(),
        user_data: Some(data),
        ..Default::default()
    })
}

pub(in crate::vendors::genesys) fn delete() -> impl Operation {
    DeleteUserData(DeleteUserDataRequest {
        session_id: SESSION.to_owned(),
        keys: ["UserData1", "UserData2"].map(str::to_owned).into(),
        ..Default::default()
    })
}

pub(in crate::vendors::genesys) fn get() -> impl Operation {
    GetSession(GetSessionRequest {
        session_id: SESSION.to_owned(),
        ..Default::default()
    })
}

pub(in crate::vendors::genesys) fn list() -> impl Operation {
    ListSessions
}
