//! The documented calls: what goes in, and what the vendors' documents show.

use futures_util::future::BoxFuture;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::value::Kind;
use prost_types::{Struct, Value as ProtoValue};
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use crate::pb::agent_settings_client::AgentSettingsClient;
use crate::pb::sms_session_data_client::SmsSessionDataClient;
use crate::pb::{
    AttachUserDataRequest, CallType, DESCRIPTORS, DeleteUserDataRequest, PersonalSettings,
    UpdateAgentSettingsRequest, UpdateUserDataRequest,
};

pub(super) const SESSION: &str = "0071023821aec011";
const SMS_LINE: &str = "POST /api/v2/me/smssessions/0071023821aec011";
const UPDATE_LINE: &str = "POST /apiaccess/CC-Management/v1/openapp/agentsettings/update";

pub(super) const MESSAGE_TYPE: &str = "SMSsessionStateChangeMessage";

type Answer = BoxFuture<'static, Result<Value, Status>>;

/// One documented call.
pub(super) struct Stop {
    pub(super) title: &'static str,
    pub(super) rpc: &'static str,
    /// The request as JSON, for show.
    pub(super) request: Value,
    /// What the gateway has to answer.
    pub(super) answer: Value,
    /// The documented request line, request and answer of the vendor.
    pub(super) line: &'static str,
    pub(super) sent: Value,
    pub(super) received: Value,
    /// The notification that follows, if the document has one.
    pub(super) told: Option<Told>,
    send: Box<dyn Fn(Channel) -> Answer + Send + Sync>,
}

/// What a notification says of the user data: the pairs, null for a key that is gone.
pub(super) struct Told {
    pub(super) user_data: Vec<(&'static str, Value)>,
}

impl Stop {
    pub(super) async fn call(&self, channel: Channel) -> Result<Value, Status> {
        (self.send)(channel).await
    }
}

/// In the order of the vendors' documents.
pub(super) fn all() -> Vec<Stop> {
    vec![
        attach_user_data(),
        update_user_data(),
        delete_user_data(),
        update_agent_settings(),
    ]
}

fn attach_user_data() -> Stop {
    let request = AttachUserDataRequest {
        session_id: SESSION.to_owned(),
        user_data: Some(data([
            ("UserData1", text("DATA1")),
            ("UserData2", number(123_456_789.0)),
        ])),
        ..Default::default()
    };
    Stop {
        title: "Genesys: attach user data to an SMS session",
        rpc: "contactcenter.v1.SmsSessionData/AttachUserData",
        request: shown("AttachUserDataRequest", &request),
        answer: json!({"outcome": "OUTCOME_ACCEPTED"}),
        line: SMS_LINE,
        sent: json!({
            "operationName": "AttachUserData",
            "userData": {"UserData1": "DATA1", "UserData2": 123_456_789},
        }),
        received: json!({"statusCode": 0}),
        told: told([
            ("UserData1", json!("DATA1")),
            ("UserData2", json!(123_456_789)),
        ]),
        send: Box::new(move |channel| {
            let request = request.clone();
            Box::pin(async move {
                let mut client = SmsSessionDataClient::new(channel);
                let answer = client.attach_user_data(request).await?.into_inner();
                Ok(shown("AttachUserDataResponse", &answer))
            })
        }),
    }
}

fn update_user_data() -> Stop {
    let request = UpdateUserDataRequest {
        session_id: SESSION.to_owned(),
        user_data: Some(data([
            ("UserData1", number(987_654_321.0)),
            ("UserData2", text("DATAUPDATE-@123")),
        ])),
        ..Default::default()
    };
    Stop {
        title: "Genesys: update user data of an SMS session",
        rpc: "contactcenter.v1.SmsSessionData/UpdateUserData",
        request: shown("UpdateUserDataRequest", &request),
        answer: json!({"outcome": "OUTCOME_ACCEPTED"}),
        line: SMS_LINE,
        sent: json!({
            "operationName": "UpdateUserData",
            "userData": {"UserData1": 987_654_321, "UserData2": "DATAUPDATE-@123"},
        }),
        received: json!({"statusCode": 0}),
        told: told([
            ("UserData1", json!(987_654_321)),
            ("UserData2", json!("DATAUPDATE-@123")),
        ]),
        send: Box::new(move |channel| {
            let request = request.clone();
            Box::pin(async move {
                let mut client = SmsSessionDataClient::new(channel);
                let answer = client.update_user_data(request).await?.into_inner();
                Ok(shown("UpdateUserDataResponse", &answer))
            })
        }),
    }
}

fn delete_user_data() -> Stop {
    let request = DeleteUserDataRequest {
        session_id: SESSION.to_owned(),
        keys: vec!["UserData1".to_owned()],
        ..Default::default()
    };
    Stop {
        title: "Genesys: delete user data of an SMS session",
        rpc: "contactcenter.v1.SmsSessionData/DeleteUserData",
        request: shown("DeleteUserDataRequest", &request),
        answer: json!({"outcome": "OUTCOME_ACCEPTED"}),
        line: SMS_LINE,
        sent: json!({"operationName": "DeleteUserData", "keys": ["UserData1"]}),
        received: json!({"statusCode": 0}),
        told: told([
            ("UserData1", Value::Null),
            ("UserData2", json!("DATAUPDATE-@123")),
        ]),
        send: Box::new(move |channel| {
            let request = request.clone();
            Box::pin(async move {
                let mut client = SmsSessionDataClient::new(channel);
                let answer = client.delete_user_data(request).await?.into_inner();
                Ok(shown("DeleteUserDataResponse", &answer))
            })
        }),
    }
}

fn update_agent_settings() -> Stop {
    let numbers = |numbers: &[&str]| numbers.iter().map(|n| (*n).to_owned()).collect();
    let request = UpdateAgentSettingsRequest {
        id: "1307145259662215169".to_owned(),
        user_id: "1660270845627002401".to_owned(),
        settings: Some(PersonalSettings {
            call_type: CallType::Bidirectional.into(),
            caller_present: numbers(&["12323"]),
            call_number: numbers(&["12323", "232343", "233", "239343"]),
            call_number_default: "23232323".to_owned(),
            caller_present_default: "1212121212".to_owned(),
        }),
        ..Default::default()
    };
    Stop {
        title: "AICC: update an agent's call settings",
        rpc: "contactcenter.v1.AgentSettings/UpdateAgentSettings",
        request: shown("UpdateAgentSettingsRequest", &request),
        answer: json!({"id": "1307145259662215169", "description": "update success."}),
        line: UPDATE_LINE,
        sent: json!({
            "id": "1307145259662215169",
            "callType": "1",
            "userId": "1660270845627002401",
            "callerPresent": ["12323"],
            "callNumber": ["12323", "232343", "233", "239343"],
            "callNumberDefault": "23232323",
            "callerPresentDefault": "1212121212",
        }),
        received: json!({
            "returnCode": "0",
            "returnDesc": "update success.",
            "id": "1307145259662215169",
        }),
        told: None,
        send: Box::new(move |channel| {
            let request = request.clone();
            Box::pin(async move {
                let mut client = AgentSettingsClient::new(channel);
                let answer = client.update_agent_settings(request).await?.into_inner();
                Ok(shown("UpdateAgentSettingsResponse", &answer))
            })
        }),
    }
}

fn told<const N: usize>(user_data: [(&'static str, Value); N]) -> Option<Told> {
    Some(Told {
        user_data: user_data.into(),
    })
}

fn data<const N: usize>(fields: [(&str, Kind); N]) -> Struct {
    let value = |(key, kind): (&str, Kind)| (key.to_owned(), ProtoValue { kind: Some(kind) });
    Struct {
        fields: fields.into_iter().map(value).collect(),
    }
}

fn text(value: &str) -> Kind {
    Kind::StringValue(value.to_owned())
}

fn number(value: f64) -> Kind {
    Kind::NumberValue(value)
}

/// A message in Protobuf's own JSON, with the names of the proto.
pub(super) fn shown(message: &str, value: &impl Message) -> Value {
    const VALID: &str = "a message of the built descriptors is valid JSON";
    let pool = DescriptorPool::decode(DESCRIPTORS).expect(VALID);
    let name = format!("contactcenter.v1.{message}");
    let descriptor = pool.get_message_by_name(&name).expect(VALID);
    let bytes = value.encode_to_vec();
    let dynamic = DynamicMessage::decode(descriptor, bytes.as_slice()).expect(VALID);
    let options = SerializeOptions::new().use_proto_field_name(true);
    let json = dynamic.serialize_with_options(serde_json::value::Serializer, &options);
    whole(json.expect(VALID))
}

/// A Struct's numbers are doubles; whole ones are shown without their point.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(double) if double.fract() == 0.0 && double.abs() < 9e15 => (double as i64).into(),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, whole(v))).collect(),
        other => other,
    }
}
