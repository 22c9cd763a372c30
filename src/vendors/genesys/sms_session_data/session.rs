//! Reads sessions: wrapped or bare, one or many, as the vendor's pages and samples differ.

use std::fmt::{self, Formatter};

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::user_data::UserData;
use crate::pb::{Participant, SmsSession};
use crate::upstream::error::Error;
use crate::upstream::judge::unreadable;
use crate::upstream::lenient::{lenient, text};
use crate::upstream::operation::Reply;
use crate::vendors::genesys::inferred::WRAPPERS;

/// Every session in an answer that was accepted.
pub(super) fn read_all(reply: &Reply) -> Result<Vec<SmsSession>, Error> {
    parse(&reply.body).map_err(|cause| unreadable(reply, cause))
}

fn parse(body: &[u8]) -> Result<Vec<SmsSession>, String> {
    let json = lenient(body);
    let wrapped: Result<Wrapped, _> = serde_json::from_str(&json);
    match wrapped {
        Ok(Wrapped(Some(sessions))) => Ok(sessions),
        Err(error) if error.is_data() && json.trim_start().starts_with('{') => {
            Err("a session in it is of an unexpected shape".to_owned())
        }
        Ok(Wrapped(None)) | Err(_) => bare(&json),
    }
}

/// The whole answer. A null within the wrapping is no session; nothing but a null is no answer.
fn bare(json: &str) -> Result<Vec<SmsSession>, String> {
    let none = || "no session in it".to_owned();
    match serde_json::from_str(json) {
        Ok(Some(Sessions(sessions))) => Ok(sessions),
        Ok(None) => Err(none()),
        Err(error) if error.is_data() => Err(none()),
        // The position is of use; the text at it may be user data.
        Err(error) => Err(format!(
            "not JSON, at line {} column {}",
            error.line(),
            error.column()
        )),
    }
}

/// One session that is not a part of an answer.
pub(in crate::vendors::genesys) fn session(json: &RawValue) -> Option<SmsSession> {
    let session: Option<Session> = serde_json::from_str(json.get()).ok();
    session.map(|session| session.0)
}

/// What an answer holds under the names for sessions, if under any.
struct Wrapped(Option<Vec<SmsSession>>);

impl<'de> Deserialize<'de> for Wrapped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Answer;
        impl<'de> Visitor<'de> for Answer {
            type Value = Wrapped;

            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("an answer")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Wrapped, A::Error> {
                let mut found: Option<Vec<SmsSession>> = None;
                while let Some(name) = fields.next_key::<String>()? {
                    if WRAPPERS.contains(&name.as_str()) {
                        let Sessions(sessions) = fields.next_value()?;
                        found.get_or_insert_default().extend(sessions);
                    } else {
                        fields.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Wrapped(found))
            }
        }
        deserializer.deserialize_map(Answer)
    }
}

/// One session, a list of them, or null for none.
struct Sessions(Vec<SmsSession>);

impl<'de> Deserialize<'de> for Sessions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Sessions;

            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("sessions")
            }

            fn visit_unit<E>(self) -> Result<Sessions, E> {
                Ok(Sessions(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Sessions, A::Error> {
                let mut sessions = Vec::new();
                while let Some(Session(session)) = items.next_element()? {
                    sessions.push(session);
                }
                Ok(Sessions(sessions))
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Sessions, A::Error> {
                let session = read(fields)?;
                Ok(Sessions(vec![session]))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// A session, which is an object: serde would take an array for one, field by field.
struct Session(SmsSession);

impl<'de> Deserialize<'de> for Session {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Session;

            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("a session")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Session, A::Error> {
                read(fields).map(Session)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A session is an object with an id; everything else may be missing.
fn read<'de, A: MapAccess<'de>>(fields: A) -> Result<SmsSession, A::Error> {
    let wire = Wire::deserialize(MapAccessDeserializer::new(fields))?;
    if wire.id.is_empty() {
        return Err(A::Error::custom("a session without an id"));
    }
    Ok(SmsSession {
        id: wire.id,
        state: wire.state,
        user_data: wire.user_data.map(|user_data| user_data.0),
        capabilities: present(wire.capabilities).collect(),
        participants: present(wire.participants).map(participant).collect(),
        uri: wire.uri,
    })
}

/// What a list holds, if it is there; a null within it is nothing.
fn present<T>(list: Option<Vec<Option<T>>>) -> impl Iterator<Item = T> {
    list.unwrap_or_default().into_iter().flatten()
}

fn participant(wire: WireParticipant) -> Participant {
    Participant {
        nickname: wire.nickname,
        r#type: wire.kind,
        participant_id: wire.participant_id,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(deserialize_with = "text")]
    id: String,
    #[serde(default, deserialize_with = "text")]
    state: String,
    #[serde(default, deserialize_with = "text")]
    uri: String,
    #[serde(default)]
    capabilities: Option<Vec<Option<String>>>,
    #[serde(default)]
    participants: Option<Vec<Option<WireParticipant>>>,
    #[serde(default)]
    user_data: Option<UserData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireParticipant {
    #[serde(default, deserialize_with = "text")]
    nickname: String,
    #[serde(default, deserialize_with = "text", rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "text")]
    participant_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost_types::value::Kind;

    const BARE: &str = r#"{"id":"0071023821aec011","state":"Chatting",
        "uri":"http://127.0.0.1:8090/api/v2/me/smssessions/0071023821aec011",
        "participants":[{"type":"Agent","nickname":"kim","participantId":"1","extra":[]}],
        "capabilities":["Leave","AttachUserData"],
        "userData":{"k":null,"a key with spaces":1},"comment":null,"unknown":{"x":1}}"#;

    #[test]
    fn every_wrapping_gives_the_same_session() {
        let expected = parse(BARE.as_bytes()).unwrap();
        assert_eq!(expected[0].participants[0].nickname, "kim");
        assert_eq!(expected[0].capabilities, ["Leave", "AttachUserData"]);
        assert_eq!(expected[0].user_data.as_ref().unwrap().fields.len(), 2);
        for wrapped in [
            format!(r#"{{"statusCode":0,"smssessions":[{BARE}]}}"#),
            format!(r#"{{"statusCode":0,"smssession":{BARE}}}"#),
            format!(r#"{{"statusCode":0,"smsession":{BARE}}}"#),
            format!(r#"{{"statusCode":0,"smssessions":{BARE}}}"#),
            format!(r#"{{"statusCode":0,"smssessions":null,"smssession":{BARE}}}"#),
            format!("[{BARE}]"),
        ] {
            assert_eq!(parse(wrapped.as_bytes()).unwrap(), expected, "{wrapped}");
        }
    }

    #[test]
    fn a_number_is_taken_as_it_is_written_and_null_as_empty() {
        let body = r#"{"smssession":{"id":71023821,"state":-1.50,"uri":null,
            "participants":[{"participantId":12345678901234567890,"nickname":"\u006bim"}]}}"#;
        let session = parse(body.as_bytes()).unwrap().remove(0);
        assert_eq!(session.id, "71023821");
        assert_eq!(
            (session.state.as_str(), session.uri.as_str()),
            ("-1.50", "")
        );
        let participant = &session.participants[0];
        assert_eq!(participant.participant_id, "12345678901234567890");
        assert_eq!(participant.nickname, "kim");
    }

    #[test]
    fn a_null_within_a_list_hides_no_session() {
        let body = r#"{"smssessions":[{"id":"x","capabilities":[null,"Leave",null],
            "participants":[null,{"nickname":"kim"}]},{"id":"y","capabilities":[null]}]}"#;
        let sessions = parse(body.as_bytes()).unwrap();
        assert_eq!(sessions[0].capabilities, ["Leave"]);
        assert_eq!(sessions[0].participants.len(), 1);
        assert_eq!(sessions[0].participants[0].nickname, "kim");
        assert_eq!(sessions[1].id, "y");
        assert!(sessions[1].capabilities.is_empty());
    }

    #[test]
    fn none_is_none_and_nonsense_is_refused() {
        assert!(
            parse(br#"{"statusCode":0,"smssessions":[]}"#)
                .unwrap()
                .is_empty()
        );
        assert!(
            parse(br#"{"statusCode":0,"smssessions":null}"#)
                .unwrap()
                .is_empty()
        );
        for nonsense in [
            "",
            "{}",
            "null",
            "null!",
            "7",
            r#"{"statusCode":0}"#,
            r#"{"smssessions":"many"}"#,
            r#"{"smssessions":[{"state":"Chatting"}]}"#,
            r#"{"smssession":{"id":""}}"#,
            r#"["x"]"#,
            r#"[["x","Chatting"]]"#,
            r#"{"smssession":{"id":"x","userData":[1]}}"#,
            r#"{"smssession":{"id":"x","capabilities":1}}"#,
            r#"{"smssession":{"id":true}}"#,
            r#"{"smssession":{"id":["x"]}}"#,
        ] {
            assert!(parse(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }

    /// Who looks for the cause must not be told that there is none where there is one.
    #[test]
    fn a_session_that_cannot_be_read_is_not_called_missing() {
        for (body, cause) in [
            (r#"{"statusCode":0}"#, "no session in it"),
            (
                r#"{"statusCode":0,"smssessions":[{"id":"x"},{"state":"Chatting"}]}"#,
                "a session in it is of an unexpected shape",
            ),
            (
                r#"{"statusCode":0,"smssession":{"id":"x","userData":7}}"#,
                "a session in it is of an unexpected shape",
            ),
        ] {
            assert_eq!(parse(body.as_bytes()), Err(cause.to_owned()), "{body}");
        }
    }

    #[test]
    fn a_page_is_called_one() {
        let page = crate::upstream::testing::reply(200, &[], "<html>please log in</html>");
        let told = read_all(&page).unwrap_err().to_string();
        assert!(told.ends_with("it is an HTML page"), "{told}");
    }

    /// As a text message has it that was cut within an emoji; nobody but its sender chose it.
    #[test]
    fn half_a_character_hides_no_session() {
        let body = r#"{"smssessions":[{"id":"x","state":"\ud83d",
            "participants":[{"nickname":"kim \ude00"}],
            "userData":{"Text":"cut \ud83d","cut \ud83d":1,"list":["\ud83d"]}},
            {"id":"y","state":"\ud83d\ude00"}]}"#;
        let sessions = parse(body.as_bytes()).unwrap();
        let cut = |text: &str| text.contains('\u{fffd}');
        assert!(cut(&sessions[0].state) && cut(&sessions[0].participants[0].nickname));
        let data = sessions[0].user_data.as_ref().unwrap();
        assert!(matches!(&data.fields["Text"].kind,
            Some(Kind::StringValue(text)) if text.starts_with("cut ") && cut(text)));
        assert!(data.fields.keys().any(|key| key.starts_with("cut ")));
        assert_eq!(sessions[1].state, "\u{1f600}");
    }

    proptest! {
        #[test]
        fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
