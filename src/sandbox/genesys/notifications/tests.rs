//! What can be told without a wire: patterns, messages, the plan, the queue.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::channel::{matches, patterns};
use super::queue::Queue;
use super::{Caller, Comet, Heard, Meta, Notification, NotificationPlan, NotificationRule, read};

#[test]
fn patterns_match_as_bayeux_has_it() {
    let sms = "/v2/me/smssessions";
    let table = [
        (sms, sms, true),
        ("/v2/me/*", sms, true),
        ("/v2/me/**", sms, true),
        ("/v2/**", sms, true),
        ("/**", sms, true),
        ("/v2/*", sms, false),
        ("/*", sms, false),
        ("/v2/me", sms, false),
        ("/v2/me/smssession", sms, false),
        ("/v2/me/smssessions/*", sms, false),
        ("/v2/me/smssessions/**", sms, false),
        ("/v2/you/*", sms, false),
        ("/v2/m/**", sms, false),
        ("/*", "/a", true),
    ];
    for (pattern, channel, expected) in table {
        assert_eq!(matches(pattern, channel), expected, "{pattern} {channel}");
    }
}

#[test]
fn subscriptions_are_one_pattern_or_several_and_nothing_else() {
    assert_eq!(patterns(Some(&json!("/a/*"))), Ok(vec!["/a/*"]));
    assert_eq!(patterns(Some(&json!(["/a", "/**"]))), Ok(vec!["/a", "/**"]));
    assert_eq!(patterns(None), Err("403::subscription_missing"));
    for bad in [
        json!(""),
        json!("/"),
        json!("a"),
        json!("/a/"),
        json!("//a"),
        json!("/a/*/b"),
        json!("/**/b"),
        json!("/a*"),
        json!("/***"),
        json!("/meta/connect"),
        json!("/meta/*"),
        json!([]),
        json!(["/a", 1]),
        json!(1),
        json!({}),
    ] {
        assert_eq!(
            patterns(Some(&bad)),
            Err("403::subscription_invalid"),
            "{bad}"
        );
    }
}

#[test]
fn a_body_is_an_array_of_messages_or_one_alone() {
    let connect = r#"{"channel":"/meta/connect"}"#;
    let alone = read(connect.as_bytes()).unwrap();
    assert_eq!(alone, read(format!("[{connect}]").as_bytes()).unwrap());
    assert_eq!(alone[0].meta(), Some(Meta::Connect));
    assert_eq!(read(b"[]"), Some(Vec::new()));
    for bad in ["", "[", "1", "null", "\"\"", "[1]", "[{},null]", "[[]]"] {
        assert_eq!(read(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn a_lost_throw_passes_to_the_next_rule_and_times_count_down() {
    let late = NotificationRule::new(Notification::Late { ms: 1 });
    let mut plan = NotificationPlan {
        rules: vec![
            late.clone().probability(0.0),
            late.operation("DeleteUserData"),
            NotificationRule::new(Notification::Never).times(1),
        ],
        ..Default::default()
    };
    assert_eq!(plan.draw("AttachUserData"), Notification::Never);
    assert_eq!(plan.draw("AttachUserData"), Notification::Normal);
    assert_eq!(plan.draw("DeleteUserData"), Notification::Late { ms: 1 });
}

#[test]
fn events_stay_in_the_queue_until_their_batch_is_acknowledged() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.push(json!(1), now, None);
    queue.push(json!(3), now + Duration::from_secs(3600), None);
    assert_eq!(queue.take(7, true), [json!(1)]);
    queue.push(json!(2), now, None);
    assert_eq!(queue.take(8, true), [json!(1), json!(2)]);
    queue.acknowledge(7);
    assert_eq!((queue.take(9, true), queue.len()), (vec![json!(2)], 2));
    queue.acknowledge(8);
    assert!(!queue.has_unacknowledged());
    assert_eq!((queue.take(9, false), queue.len()), (vec![], 1));
}

fn hear(comet: &mut Comet, body: &[u8]) -> Option<Vec<Value>> {
    let caller = Caller {
        agent: "agent1",
        browser: Some("b"),
    };
    match comet.hear(&caller, body) {
        Heard::Answer(body, _) => Some(body),
        Heard::Unreadable => None,
        Heard::Held(poll) => {
            comet.release(&poll);
            Some(Vec::new())
        }
    }
}

/// Anything that JSON can hold under the names that Bayeux uses, with likely values among the unlikely.
fn field() -> impl Strategy<Value = (String, Value)> {
    let names = "channel|version|clientId|subscription|connectionType|supportedConnectionTypes|ext|advice|id";
    let values = prop_oneof![
        Just(json!("/meta/handshake")),
        Just(json!("/meta/connect")),
        Just(json!("/meta/subscribe")),
        Just(json!("/meta/disconnect")),
        Just(json!("1.0")),
        Just(json!("long-polling")),
        Just(json!(["long-polling"])),
        Just(json!({"ack": true, "timeout": u64::MAX})),
        Just(json!({"ack": -1, "timeout": 0})),
        any::<i64>().prop_map(|number| json!(number)),
        ".{0,8}".prop_map(|text| json!(text)),
        Just(Value::Null),
    ];
    (names.prop_map(|name| name), values)
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        hear(&mut Comet::default(), &body);
    }

    #[test]
    fn every_object_is_answered(
        messages in proptest::collection::vec(proptest::collection::vec(field(), 0..6), 0..4),
    ) {
        let messages: Vec<Value> = messages
            .into_iter()
            .map(|fields| Value::Object(fields.into_iter().collect()))
            .collect();
        let body = Value::from(messages.clone()).to_string();
        let answers = hear(&mut Comet::default(), body.as_bytes()).unwrap();
        prop_assert_eq!(answers.len(), messages.len());
        prop_assert!(answers.iter().all(|answer| answer["successful"].is_boolean()));
    }

    #[test]
    fn a_living_client_may_send_anything(
        fields in proptest::collection::vec(proptest::collection::vec(field(), 0..6), 0..4),
    ) {
        let mut comet = Comet::default();
        let hello = br#"{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"],"ext":{"ack":true}}"#;
        let welcome = hear(&mut comet, hello).unwrap();
        for fields in fields {
            let mut message: serde_json::Map<_, _> = fields.into_iter().collect();
            message.insert("clientId".to_owned(), welcome[0]["clientId"].clone());
            hear(&mut comet, Value::Object(message).to_string().as_bytes()).unwrap();
        }
    }
}
