//! One call of any rpc, and what its caller was told.

use std::time::Duration;

use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::pb::{
    AttachUserDataRequest, CreateAgentSettingsRequest, DeleteAgentSettingsRequest,
    DeleteUserDataRequest, GetAgentSettingsRequest, GetAgentSettingsResponse, GetSessionRequest,
    ListSessionsRequest, Outcome, SmsSession, UpdateAgentSettingsRequest, UpdateUserDataRequest,
};
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::faults::PAIRS;
use crate::fleet::Life;
use crate::unsent::is_unsent;
use crate::untimed::{Untimed, connect, origin, within};

/// The rpcs, each with its message.
#[derive(Clone, Debug)]
pub enum Ask {
    Attach(AttachUserDataRequest),
    Update(UpdateUserDataRequest),
    Delete(DeleteUserDataRequest),
    Get(GetSessionRequest),
    List(ListSessionsRequest),
    Create(CreateAgentSettingsRequest),
    Read(GetAgentSettingsRequest),
    Change(UpdateAgentSettingsRequest),
    Remove(DeleteAgentSettingsRequest),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Of a write of user data; the session where the outcome is CONFIRMED.
    Written {
        reference_id: Option<i64>,
        confirmed: Option<SmsSession>,
    },
    Session(SmsSession),
    Sessions(Vec<SmsSession>),
    Created(String),
    Settings(Box<GetAgentSettingsResponse>),
    Done,
}

/// What came of a call, as its caller saw it.
#[derive(Debug)]
pub enum Heard {
    Reply(Reply),
    /// The gateway's answer: its code and reason.
    No(&'static str, String),
    /// Nobody has begun with it: to be sent again without a thought.
    Unsent,
    /// The connection broke under it.
    Lost(String),
    /// No answer of this contract.
    Odd(String),
}

/// A connection to one life of a gateway.
#[derive(Clone)]
pub struct Wire {
    pub life: Life,
    channel: Untimed,
}

impl Wire {
    pub async fn open(life: Life) -> std::io::Result<Wire> {
        let channel = connect(life.address).await?;
        Ok(Wire { life, channel })
    }

    pub fn sms(&self) -> SmsSessionDataClient<Untimed> {
        SmsSessionDataClient::with_origin(self.channel.clone(), origin(self.life.address))
    }

    fn settings(&self) -> AgentSettingsClient<Untimed> {
        AgentSettingsClient::with_origin(self.channel.clone(), origin(self.life.address))
    }

    pub async fn ask(&self, ask: Ask, deadline: Duration) -> Heard {
        match self.send(ask, deadline).await {
            Ok(reply) => Heard::Reply(reply),
            Err(status) => heard(&status),
        }
    }

    async fn send(&self, ask: Ask, deadline: Duration) -> Result<Reply, Status> {
        let (mut sms, mut settings) = (self.sms(), self.settings());
        Ok(match ask {
            Ask::Attach(it) => {
                let it = inner(sms.attach_user_data(within(deadline, it)).await?)?;
                written(it.outcome(), it.reference_id, it.session)
            }
            Ask::Update(it) => {
                let it = inner(sms.update_user_data(within(deadline, it)).await?)?;
                written(it.outcome(), it.reference_id, it.session)
            }
            Ask::Delete(it) => {
                let it = inner(sms.delete_user_data(within(deadline, it)).await?)?;
                written(it.outcome(), it.reference_id, it.session)
            }
            Ask::Get(it) => {
                let it = inner(sms.get_session(within(deadline, it)).await?)?;
                Reply::Session(it.session.unwrap_or_default())
            }
            Ask::List(it) => {
                let it = inner(sms.list_sessions(within(deadline, it)).await?)?;
                Reply::Sessions(it.sessions)
            }
            Ask::Create(it) => {
                let it = inner(settings.create_agent_settings(within(deadline, it)).await?)?;
                Reply::Created(it.id)
            }
            Ask::Read(it) => {
                let it = settings.get_agent_settings(within(deadline, it)).await?;
                Reply::Settings(Box::new(inner(it)?))
            }
            Ask::Change(it) => {
                let it = settings.update_agent_settings(within(deadline, it)).await?;
                inner(it).map(|_| Reply::Done)?
            }
            Ask::Remove(it) => {
                let it = settings.delete_agent_settings(within(deadline, it)).await?;
                inner(it).map(|_| Reply::Done)?
            }
        })
    }
}

impl Reply {
    /// The same but for the session as it was seen: each confirmed repeat looks for itself, and
    /// others write to the session meanwhile.
    pub fn is_like(&self, other: &Reply) -> bool {
        let known = |reply: &Reply| match reply {
            Reply::Written {
                reference_id,
                confirmed,
            } => Some((*reference_id, confirmed.is_some())),
            _ => None,
        };
        match (known(self), known(other)) {
            (None, None) => self == other,
            (one, two) => one == two,
        }
    }
}

impl Ask {
    pub fn name(&self) -> &'static str {
        match self {
            Ask::Attach(_) => "AttachUserData",
            Ask::Update(_) => "UpdateUserData",
            Ask::Delete(_) => "DeleteUserData",
            Ask::Get(_) => "GetSession",
            Ask::List(_) => "ListSessions",
            Ask::Create(_) => "CreateAgentSettings",
            Ask::Read(_) => "GetAgentSettings",
            Ask::Change(_) => "UpdateAgentSettings",
            Ask::Remove(_) => "DeleteAgentSettings",
        }
    }

    pub fn request_id(&self) -> &str {
        match self {
            Ask::Attach(it) => &it.request_id,
            Ask::Update(it) => &it.request_id,
            Ask::Delete(it) => &it.request_id,
            Ask::Create(it) => &it.request_id,
            Ask::Change(it) => &it.request_id,
            Ask::Get(_) | Ask::List(_) | Ask::Read(_) | Ask::Remove(_) => "",
        }
    }
}

/// What a failed call tells, told apart by who says it.
fn heard(status: &Status) -> Heard {
    match told(status, &PAIRS) {
        Heard::No(..) if !has_metadata(status.metadata()) => {
            Heard::Odd(format!("without its metadata: {status:?}"))
        }
        heard => heard,
    }
}

/// The same of a stream, whose metadata came before.
pub fn end_of_stream(status: &Status) -> Heard {
    match told(status, &[(Code::Unavailable, "GATEWAY_DRAINING")]) {
        Heard::Odd(_) => told(status, &PAIRS),
        heard => heard,
    }
}

fn told(status: &Status, pairs: &[(Code, &'static str)]) -> Heard {
    if let Some(info) = status.get_details_error_info() {
        let said =
            |(code, reason): &&(Code, &str)| *code == status.code() && *reason == info.reason;
        return match pairs.iter().find(said) {
            Some((code, reason)) => Heard::No(reason, format!("{code:?} {reason}")),
            None => Heard::Odd(format!("{status:?}")),
        };
    }
    if is_unsent(status) {
        return Heard::Unsent;
    }
    // What the client makes up itself has a cause; what the gateway says has none.
    match std::error::Error::source(status) {
        Some(cause) => Heard::Lost(format!("{cause:?}")),
        None => Heard::Odd(format!("{status:?}")),
    }
}

fn written(outcome: Outcome, reference_id: Option<i64>, session: Option<SmsSession>) -> Reply {
    let confirmed = match outcome {
        Outcome::Confirmed => Some(session.unwrap_or_default()),
        Outcome::Accepted | Outcome::Unspecified => None,
    };
    Reply::Written {
        reference_id,
        confirmed,
    }
}

fn inner<T>(response: Response<T>) -> Result<T, Status> {
    match has_metadata(response.metadata()) {
        true => Ok(response.into_inner()),
        false => Err(Status::internal("a response without its metadata")),
    }
}

fn has_metadata(metadata: &MetadataMap) -> bool {
    metadata.contains_key("x-request-id") && metadata.contains_key("x-switchboard-attempts")
}
