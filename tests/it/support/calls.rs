//! Every method of both services as a value, with a request that the sandbox accepts: for
//! promises that hold for all of them.

use tonic::Status;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use super::wire::Channel;
use super::{Gateway, RECORD, SESSION, USER, data};
use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::pb::{
    AttachUserDataRequest, CallType, CreateAgentSettingsRequest, DeleteAgentSettingsRequest,
    DeleteUserDataRequest, GetAgentSettingsRequest, GetSessionRequest, ListSessionsRequest,
    PersonalSettings, UpdateAgentSettingsRequest, UpdateUserDataRequest,
};

/// A method; the name of each is the vendor's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Attach,
    Update,
    Delete,
    GetSession,
    ListSessions,
    CreateSettings,
    UpdateSettings,
    QuerySettings,
    DeleteSettings,
}

pub const ALL: [Call; 9] = [
    Call::Attach,
    Call::Update,
    Call::Delete,
    Call::GetSession,
    Call::ListSessions,
    Call::CreateSettings,
    Call::UpdateSettings,
    Call::QuerySettings,
    Call::DeleteSettings,
];

/// Those whose repetition is not the same as once.
pub const ONCE: [Call; 2] = [Call::Attach, Call::CreateSettings];

impl Call {
    pub fn vendor(self) -> &'static str {
        match self {
            Call::Attach | Call::Update | Call::Delete | Call::GetSession | Call::ListSessions => {
                "genesys"
            }
            Call::CreateSettings
            | Call::UpdateSettings
            | Call::QuerySettings
            | Call::DeleteSettings => "aicc",
        }
    }

    /// The operation's name in the sandbox.
    pub fn operation(self) -> &'static str {
        match self {
            Call::Attach => "AttachUserData",
            Call::Update => "UpdateUserData",
            Call::Delete => "DeleteUserData",
            Call::GetSession => "GetSession",
            Call::ListSessions => "ListSessions",
            Call::CreateSettings => "create",
            Call::UpdateSettings => "update",
            Call::QuerySettings => "query",
            Call::DeleteSettings => "delete",
        }
    }

    /// The rpc, as the gateway names it.
    pub fn method(self) -> &'static str {
        match self {
            Call::Attach => "contactcenter.v1.SmsSessionData/AttachUserData",
            Call::Update => "contactcenter.v1.SmsSessionData/UpdateUserData",
            Call::Delete => "contactcenter.v1.SmsSessionData/DeleteUserData",
            Call::GetSession => "contactcenter.v1.SmsSessionData/GetSession",
            Call::ListSessions => "contactcenter.v1.SmsSessionData/ListSessions",
            Call::CreateSettings => "contactcenter.v1.AgentSettings/CreateAgentSettings",
            Call::UpdateSettings => "contactcenter.v1.AgentSettings/UpdateAgentSettings",
            Call::QuerySettings => "contactcenter.v1.AgentSettings/GetAgentSettings",
            Call::DeleteSettings => "contactcenter.v1.AgentSettings/DeleteAgentSettings",
        }
    }

    pub fn once(self) -> bool {
        ONCE.contains(&self)
    }

    pub fn reads(self) -> bool {
        matches!(
            self,
            Call::GetSession | Call::ListSessions | Call::QuerySettings
        )
    }

    /// Calls as the account `default`.
    pub async fn send(self, gateway: &Gateway) -> Result<MetadataMap, Status> {
        self.send_as(gateway, "").await
    }

    /// Returns the answer's metadata.
    pub async fn send_as(self, gateway: &Gateway, account: &str) -> Result<MetadataMap, Status> {
        self.send_over(gateway.channel.clone(), account, None).await
    }

    /// The same over another channel, perhaps with a token.
    pub async fn send_over(
        self,
        channel: Channel,
        account: &str,
        token: Option<&str>,
    ) -> Result<MetadataMap, Status> {
        let bearer = token.map(|token| format!("Bearer {token}").parse().unwrap());
        let with_token = move |mut request: tonic::Request<()>| {
            if let Some(bearer) = &bearer {
                let bearer: &AsciiMetadataValue = bearer;
                request
                    .metadata_mut()
                    .insert("authorization", bearer.clone());
            }
            Ok(request)
        };
        let mut sms = SmsSessionDataClient::with_interceptor(channel.clone(), with_token.clone());
        let mut settings = AgentSettingsClient::with_interceptor(channel, with_token);
        let account = account.to_owned();
        match self {
            Call::Attach => metadata(sms.attach_user_data(attach(account)).await),
            Call::Update => metadata(sms.update_user_data(update(account)).await),
            Call::Delete => metadata(sms.delete_user_data(delete(account)).await),
            Call::GetSession => metadata(sms.get_session(get_session(account)).await),
            Call::ListSessions => {
                metadata(sms.list_sessions(ListSessionsRequest { account }).await)
            }
            Call::CreateSettings => metadata(settings.create_agent_settings(create(account)).await),
            Call::UpdateSettings => metadata(settings.update_agent_settings(change(account)).await),
            Call::QuerySettings => metadata(settings.get_agent_settings(query(account)).await),
            Call::DeleteSettings => metadata(settings.delete_agent_settings(remove(account)).await),
        }
    }
}

fn metadata<T>(answer: Result<tonic::Response<T>, Status>) -> Result<MetadataMap, Status> {
    answer.map(|answer| answer.metadata().clone())
}

fn attach(account: String) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Topic", "billing")])),
        account,
        ..Default::default()
    }
}

fn update(account: String) -> UpdateUserDataRequest {
    UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Topic", "billing")])),
        account,
        ..Default::default()
    }
}

fn delete(account: String) -> DeleteUserDataRequest {
    DeleteUserDataRequest {
        session_id: SESSION.into(),
        keys: vec!["Topic".into()],
        account,
        ..Default::default()
    }
}

fn get_session(account: String) -> GetSessionRequest {
    GetSessionRequest {
        session_id: SESSION.into(),
        account,
    }
}

fn create(account: String) -> CreateAgentSettingsRequest {
    CreateAgentSettingsRequest {
        user_id: "1660270845627002499".into(),
        settings: Some(bidirectional()),
        account,
        ..Default::default()
    }
}

fn change(account: String) -> UpdateAgentSettingsRequest {
    UpdateAgentSettingsRequest {
        id: RECORD.into(),
        user_id: USER.into(),
        settings: Some(bidirectional()),
        account,
        ..Default::default()
    }
}

fn query(account: String) -> GetAgentSettingsRequest {
    GetAgentSettingsRequest {
        user_id: USER.into(),
        account,
    }
}

fn remove(account: String) -> DeleteAgentSettingsRequest {
    DeleteAgentSettingsRequest {
        user_id: USER.into(),
        account,
    }
}

fn bidirectional() -> PersonalSettings {
    PersonalSettings {
        call_type: CallType::Bidirectional.into(),
        ..Default::default()
    }
}
