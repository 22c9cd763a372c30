//! Notifications as they are documented, and as they may come.

use proptest::prelude::*;
use prost_types::value::Kind;

use super::*;

const CHANNEL: &str = "/v2/me/smssessions";
const ELSEWHERE: &str = "/v2/me/calls";

fn read_at(channel: &str, json: &str) -> Result<Option<Event>, Unreadable> {
    read(channel, serde_json::from_str(json).unwrap())
}

fn event(json: &str) -> Event {
    read_at(CHANNEL, json).unwrap().expect("about a session")
}

#[test]
fn the_documented_one_is_typed() {
    let event = event(
        r#"{"messageType":"SMSsessionStateChangeMessage","notificationType":"PropertiesUpdated",
        "referenceId":83,"smssession":{"id":"0071023821aec011","state":"Chatting",
        "capabilities":["Leave"],"participants":[{"nickname":"kim","type":"Agent"}],
        "userData":{"UserData1":"DATA1","UserData2":123456789,"Gone":null}}}"#,
    );
    let told = &event.notification;
    assert_eq!(told.message_type, "SMSsessionStateChangeMessage");
    assert_eq!(told.reference_id, Some(83));
    let session = told.session.as_ref().unwrap();
    assert_eq!(session.participants[0].nickname, "kim");
    let data = &session.user_data.as_ref().unwrap().fields;
    assert_eq!(
        data["UserData2"].kind,
        Some(Kind::NumberValue(123_456_789.0))
    );
    assert_eq!(data["Gone"].kind, Some(Kind::NullValue(0)));
    assert!(event.is_update() && !event.needs_a_read() && !event.is_error());
}

#[test]
fn user_data_that_is_not_told_is_not_empty() {
    let changed = event(r#"{"notificationType":"StatusChange","smssession":{"id":"a"}}"#);
    assert_eq!(changed.session().unwrap().user_data, None);
    assert!(!changed.needs_a_read());
    let updated = event(r#"{"notificationType":"PropertiesUpdated","smssession":{"id":"a"}}"#);
    assert!(updated.needs_a_read());
}

#[test]
fn an_error_says_which_and_why_and_no_numbers_of_people() {
    let failed = event(
        r#"{"notificationType":"Error","errorCode":4,"referenceId":7,
        "errorMessage":"no agent at +4917012345678","smssession":{"id":"a","uri":"http://x/a"}}"#,
    );
    assert!(failed.is_error());
    assert_eq!(failed.error_code, Some(4));
    assert!(!failed.notification.error_message.contains("4917012345678"));
    assert!(failed.notification.error_message.contains("no agent"));
}

/// They are kept as they came, beside what is told of them.
#[test]
fn the_words_of_an_error_weigh_what_they_are() {
    let words = "no ".repeat(10_000);
    let failed = event(&format!(
        r#"{{"notificationType":"Error","referenceId":7,"errorMessage":"{words}"}}"#
    ));
    assert!(failed.notification.error_message.len() < 1_000);
    assert!(failed.size >= words.len(), "{}", failed.size);
}

/// Whom it is about is told by its number, too.
#[test]
fn an_error_is_told_whatever_session_it_names() {
    for session in [
        "",
        r#","smssession":null"#,
        r#","smssession":{}"#,
        r#","smssession":7"#,
    ] {
        let json = format!(r#"{{"notificationType":"Error","referenceId":83{session}}}"#);
        let failed = event(&json);
        assert_eq!(failed.session(), None, "{session}");
        assert_eq!(failed.notification.reference_id, Some(83));
    }
}

#[test]
fn both_spellings_and_unknown_types_pass() {
    let odd = r#"{"messageType":"X","notificationType":"Y","smsession":{"id":"a"}}"#;
    assert_eq!(event(odd).session().unwrap().id, "a");
    let bare = event(r#"{"messageType":"MessageLogUpdated","notificationType":"NewMessages"}"#);
    assert_eq!(bare.session(), None);
}

#[test]
fn what_is_not_about_sms_is_passed_over() {
    let call = r#"{"messageType":"CallStateChangeMessage","call":{"id":"1"}}"#;
    assert_eq!(read_at(ELSEWHERE, call).unwrap().map(drop), None);
    assert_eq!(read_at(ELSEWHERE, "[1]").unwrap().map(drop), None);
    let sms = r#"{"notificationType":"StatusChange","smssession":{"id":"a"}}"#;
    assert!(read_at(ELSEWHERE, sms).unwrap().is_some());
}

#[test]
fn what_cannot_be_read_is_a_loss_and_no_silence() {
    assert!(read_at(CHANNEL, "[1]").is_err());
    assert!(read_at(CHANNEL, r#"{"smssession":{"state":"Chatting"}}"#).is_err());
    assert!(read_at(CHANNEL, r#"{"smssession":null}"#).is_err());
    // Of which session it tells the data is not known.
    assert!(read_at(CHANNEL, r#"{"notificationType":"PropertiesUpdated"}"#).is_err());
    assert!(read_at(CHANNEL, r#"{"smssession":{"id":"a","userData":[1]}}"#).is_err());
}

#[test]
fn only_a_referenced_one_is_known_again() {
    let with = r#"{"referenceId":1,"smssession":{"id":"a"}}"#;
    assert_eq!(event(with).fingerprint, event(with).fingerprint);
    let other = r#"{"referenceId":2,"smssession":{"id":"a"}}"#;
    assert_ne!(event(with).fingerprint, event(other).fingerprint);
    assert_eq!(event(r#"{"smssession":{"id":"a"}}"#).fingerprint, None);
}

proptest! {
    #[test]
    fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(&bytes) {
            let _ = read(CHANNEL, &raw);
        }
    }
}
