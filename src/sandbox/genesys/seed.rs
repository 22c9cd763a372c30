//! The sessions that are there at first, made of the documented samples.

use serde_json::{Map, Value, json};

use super::sms::{Participant, SmsSession, SmsSessions};

/// The documented session of `agent1`, a second one beside it, and one of `agent2`.
pub(super) fn sessions() -> SmsSessions {
    let mut sessions = SmsSessions::default();
    sessions.insert(SmsSession {
        user_data: documented(),
        ..session("agent1", "0071023821aec011")
    });
    sessions.insert(SmsSession {
        state: "Invited".to_owned(),
        ..session("agent1", "0071023821aec012")
    });
    sessions.insert(session("agent2", "0071023821aec021"));
    sessions
}

pub(super) fn session(agent: &str, id: &str) -> SmsSession {
    SmsSession {
        id: id.to_owned(),
        // A host that is not this server: a client must take the id and never follow this.
        uri: format!("http://127.0.0.1:8090/api/v2/me/smssessions/{id}"),
        state: "Chatting".to_owned(),
        participants: vec![
            participant("Agent", agent, "1"),
            participant("Customer", "Customer", "2"),
        ],
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        user_data: Map::new(),
        comment: String::new(),
        agent: agent.to_owned(),
    }
}

const CAPABILITIES: [&str; 13] = [
    "Transfer",
    "Leave",
    "Invite",
    "Consult",
    "SetInFocus",
    "SetDisposition",
    "AttachUserData",
    "DeleteUserData",
    "UpdateUserData",
    "Complete",
    "SendMessage",
    "SendStartTypingNotification",
    "SendStopTypingNotification",
];

/// The kinds of values seen on read, and a key with spaces.
fn documented() -> Map<String, Value> {
    let pairs = [
        ("FirstName", json!("Ann")),
        ("CBR-IT-path_DBIDs", json!("101.102")),
        ("IdentifyCreateContact", json!(3)),
        ("ContactId", Value::Null),
        ("PegAGChat distribution for processing", json!(1)),
    ];
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn participant(kind: &str, nickname: &str, id: &str) -> Participant {
    Participant {
        r#type: kind.to_owned(),
        nickname: nickname.to_owned(),
        participant_id: id.to_owned(),
    }
}
