//! The parts of a call that are this vendor's.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use super::sms_session_data::benchmarks::{attach, delete, get, list, update};
use crate::upstream::benchmarks::{Part, calls, decode, encode};
use crate::upstream::observer::Observer;

const ACCEPTED: &str = r#"{"statusCode":0,"referenceId":83}"#;

/// One session with the user data of the vendor's own sample.
const SESSIONS: &str = r#"{"statusCode":0,"smssessions":[{"id":"0071023821aec011",
    "uri":"http://gws.example/api/v2/me/smssessions/0071023821aec011","state":"Chatting",
    "participants":[{"type":"Agent","nickname":"agent1","participantId":"1"},
    {"type":"Customer","nickname":"Customer","participantId":"2"}],
    "capabilities":["Transfer","Leave","Invite","AttachUserData","DeleteUserData",
    "UpdateUserData","Complete","SendMessage"],
    "userData":{"ContactId":null,"FirstName":"Ann","IdentifyCreateContact":3,
    "PegAGChat distribution for processing":1,"UserData2":"DATAUPDATE-@123"}}]}"#;

pub(crate) fn parts(measured: &Arc<dyn Observer>) -> Vec<Part> {
    let named = ["stack: UpdateUserData", "stack: UpdateUserData, measured"];
    let mut parts = Vec::from(calls(named, || update(data()), ACCEPTED, measured));
    parts.extend([
        encode("encode: AttachUserData", attach(data())),
        encode("encode: UpdateUserData", update(data())),
        encode("encode: DeleteUserData", delete()),
        encode("encode: GetSession", get()),
        encode("encode: ListSessions", list()),
        decode("decode: AttachUserData", attach(data()), ACCEPTED),
        decode("decode: UpdateUserData", update(data()), ACCEPTED),
        decode("decode: DeleteUserData", delete(), ACCEPTED),
        decode("decode: GetSession", get(), SESSIONS),
        decode("decode: ListSessions", list(), SESSIONS),
    ]);
    parts
}

fn data() -> Struct {
    let text = |text: &str| Kind::StringValue(text.to_owned());
    let pairs = [
        ("UserData1", Kind::NumberValue(987_654_321.0)),
        ("UserData2", text("DATAUPDATE-@123")),
        ("CustomerSegment", text("gold")),
        ("CallReason", text("A question about the last invoice")),
    ];
    let value = |kind| Value { kind: Some(kind) };
    let pairs = pairs.map(|(key, kind)| (key.to_owned(), value(kind)));
    Struct {
        fields: BTreeMap::from(pairs),
    }
}
