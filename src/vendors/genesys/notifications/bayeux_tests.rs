//! What is sent, and that any answer is read as far as it makes sense.

use proptest::prelude::*;

use super::*;

/// Recorded from a live server, but for the ids.
const EXPIRED: &str = r#"[{"id":"7","channel":"/meta/connect","successful":false,
    "error":"402::Unknown client","advice":{"interval":0,"reconnect":"handshake"}}]"#;

fn replies(body: &str, channel: &str) -> Vec<Reply> {
    read(body).unwrap().replies(channel).collect()
}

fn advice(json: &str) -> Advice {
    let body = format!(r#"{{"channel":"/meta/connect","advice":{json}}}"#);
    let mut advice = Advice::default();
    advice.follow(replies(&body, CONNECT)[0].advice);
    advice
}

#[test]
fn a_handshake_is_alone_and_offers_long_polling_and_acknowledgement() {
    let Value::Array(messages) = handshake(1) else {
        panic!("not a list")
    };
    let [message] = messages.as_slice() else {
        panic!("not alone")
    };
    assert_eq!(message["channel"], "/meta/handshake");
    assert_eq!(message["version"], "1.0");
    assert_eq!(message["supportedConnectionTypes"], json!(["long-polling"]));
    assert_eq!(message["ext"]["ack"], true);
    assert_eq!(message.get("clientId"), None);
}

#[test]
fn every_channel_has_a_message_of_its_own() {
    let messages = subscribe(2, "c1", &["/v2/me/*".to_owned(), "/other".to_owned()]);
    assert_eq!(messages[0]["subscription"], "/v2/me/*");
    assert_eq!(messages[1]["subscription"], "/other");
    assert_eq!(messages[1]["clientId"], "c1");
}

#[test]
fn a_connect_acknowledges_where_there_is_something_to() {
    let plain = &connect(3, "c1", None, false)[0];
    assert_eq!(plain["connectionType"], "long-polling");
    assert_eq!((plain.get("ext"), plain.get("advice")), (None, None));
    let full = &connect(3, "c1", Some(4), true)[0];
    assert_eq!(full["ext"]["ack"], 4);
    assert_eq!(full["advice"]["timeout"], 0);
    let goodbye = &disconnect(9, "c1")[0];
    assert_eq!(goodbye["channel"], "/meta/disconnect");
}

#[test]
fn a_single_message_is_as_good_as_a_list() {
    let [listed] = replies(EXPIRED, CONNECT).try_into().unwrap();
    let single = EXPIRED.trim_start_matches('[').trim_end_matches(']');
    let [single] = replies(single, CONNECT).try_into().unwrap();
    assert_eq!(listed, single);
    assert_eq!(listed.error, Some(402));
    assert!(!listed.successful);
}

#[test]
fn every_element_of_an_answer_is_seen() {
    let body = r#"[{"channel":"/v2/me/smssessions","data":{"a":1}},
        {"channel":"/meta/subscribe","successful":true,"subscription":"/v2/me/*"},
        {"channel":"/v2/me/smssessions","data":{"a":2}},
        7, {"no":"channel"}]"#;
    let answer = read(body).unwrap();
    let events: Vec<_> = answer.events().map(|(_, data)| data.get()).collect();
    assert_eq!(events, [r#"{"a":1}"#, r#"{"a":2}"#]);
    assert!(answer.replies(SUBSCRIBE).next().unwrap().successful);
    assert_eq!(answer.unreadable, 2);
}

#[test]
fn acknowledgement_is_used_only_when_it_is_answered() {
    for (ext, ack) in [
        (r#","ext":{"ack":true}"#, Some(Ack::Offered(true))),
        (r#","ext":{"ack":5}"#, Some(Ack::Batch(5))),
        (
            r#","ext":{"ack":{"enabled":true,"batch":5,"size":2}}"#,
            Some(Ack::OfferedFrom {
                enabled: true,
                batch: 5,
            }),
        ),
        (r#","ext":{"ack":"yes"}"#, None),
        (r#","ext":[]"#, None),
        ("", None),
    ] {
        let body = format!(r#"[{{"channel":"/meta/connect","successful":true{ext}}}]"#);
        assert_eq!(replies(&body, CONNECT)[0].ack, ack, "{ext}");
    }
}

#[test]
fn one_odd_field_does_not_hide_the_others() {
    let odd = r#"{"channel":"/meta/handshake","successful":true,"clientId":"c1",
        "error":7,"ext":"?","advice":[1]}"#;
    let reply = &replies(odd, HANDSHAKE)[0];
    assert!(reply.successful);
    assert_eq!(reply.client_id.as_deref(), Some("c1"));
    assert_eq!(reply.error, None);
    let unsaid = r#"{"channel":"/meta/handshake","successful":"true","clientId":""}"#;
    let reply = &replies(unsaid, HANDSHAKE)[0];
    assert!(!reply.successful, "only a true is one");
    assert_eq!(reply.client_id, None);
}

#[test]
fn advice_is_the_newest_word_on_each_point() {
    let live = advice(r#"{"interval":0,"timeout":20000,"reconnect":"retry"}"#);
    assert_eq!(live.timeout, Duration::from_secs(20));
    assert_eq!(live.reconnect, Reconnect::Retry);
    let mut later = live;
    later.follow(replies(EXPIRED, CONNECT)[0].advice);
    assert_eq!(later.timeout, live.timeout);
    assert_eq!(later.reconnect, Reconnect::Handshake);
    later.follow(None);
    assert_eq!(later.reconnect, Reconnect::Handshake);
}

#[test]
fn what_may_not_be_retried_is_not() {
    for (json, reconnect) in [
        (r#"{"reconnect":"none"}"#, Reconnect::Stop),
        (r#"{"reconnect":"maybe"}"#, Reconnect::Stop),
        (r#"{"reconnect":"retry","interval":-1}"#, Reconnect::Stop),
        (r#"{"interval":-1}"#, Reconnect::Stop),
        (r#"{"reconnect":7}"#, Reconnect::Retry),
        ("{}", Reconnect::Retry),
        ("null", Reconnect::Retry),
    ] {
        assert_eq!(advice(json).reconnect, reconnect, "{json}");
    }
}

#[test]
fn no_advice_makes_anybody_wait_for_ever() {
    let endless = advice(r#"{"interval":9223372036854775807,"timeout":9223372036854775807}"#);
    assert_eq!((endless.interval, endless.timeout), (LONGEST, LONGEST));
}

#[test]
fn what_is_no_bayeux_is_told_apart() {
    for body in ["", "7", "null", "\"x\"", "<html>", "[", "{\"channel\":"] {
        assert_eq!(read(body).err(), Some(NoBayeux), "{body:?}");
    }
    let nothing = read("[]").unwrap();
    assert_eq!(nothing.replies(CONNECT).count(), 0);
}

proptest! {
    #[test]
    fn strangers_words_never_panic(words in ".{0,300}") {
        if let Ok(answer) = read(&words) {
            answer.events().count();
            answer.replies(CONNECT).count();
        }
    }

    /// Whatever stands in the fields, a message with a channel is a message.
    #[test]
    fn any_fields_are_survived(
        name in "successful|clientId|advice|error|ext|data",
        value in "null|true|-1|1e999|\"\"|\"402:\"|\\[\\]|\\{\\}|\\{\"ack\":\\{\\}\\}|\\{\"interval\":1e30\\}",
    ) {
        let body = format!(r#"[{{"channel":"/meta/connect","{name}":{value}}}]"#);
        if let Ok(answer) = read(&body) {
            prop_assert_eq!(answer.replies(CONNECT).count() + answer.unreadable, 1);
        }
    }
}
