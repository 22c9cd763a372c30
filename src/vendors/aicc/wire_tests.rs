//! Reads what the vendor's pages show and what they do not; sends exactly what was named.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::upstream::testing::reply;

fn record(body: impl AsRef<[u8]>) -> Record {
    read(&reply(200, &[], body)).expect("readable")
}

fn settings_of(body: &str) -> PersonalSettings {
    record(body).into_settings()
}

/// The record of the vendor's newer pages.
const RECORD: &str = r#"{"returnCode":"0","returnDesc":"query success","id":"1307145259662215169",
    "callType":"1","callerPresent":["12323"],"callNumber":["12323","232343"],
    "userId":"1660270845627002401","callNumberDefault":"23232323",
    "callerPresentDefault":"1212121212","agentName":"kim","createTime":"2023-01-01 00:00:00",
    "partdbId":"7","tenantId":"202301"}"#;

#[test]
fn the_documented_record() {
    let record = record(RECORD);
    assert_eq!(record.id, "1307145259662215169");
    assert_eq!(record.user_id, "1660270845627002401");
    assert_eq!(record.agent_name, "kim");
    assert_eq!(record.create_time, "2023-01-01 00:00:00");
    assert_eq!(record.tenant_id, "202301");
    let settings = record.into_settings();
    assert_eq!(settings.call_type(), CallType::Bidirectional);
    assert_eq!(settings.caller_present, ["12323"]);
    assert_eq!(settings.call_number, ["12323", "232343"]);
    assert_eq!(settings.call_number_default, "23232323");
    assert_eq!(settings.caller_present_default, "1212121212");
}

#[test]
fn fields_may_be_missing_more_or_in_another_order() {
    let empty = record(r#"{"returnCode":"0"}"#);
    assert!(empty.id.is_empty());
    assert_eq!(empty.into_settings(), PersonalSettings::default());
    let odd = record(
        r#" {"futureField":{"a":[1,null]},"callNumber":["1"],"id":"x","":0,"returnCode":"0"}"#,
    );
    assert_eq!(odd.id, "x");
    assert_eq!(odd.into_settings().call_number, ["1"]);
}

#[test]
fn null_is_empty() {
    let record = record(
        r#"{"id":null,"userId":null,"agentName":null,"createTime":null,"tenantId":null,
            "callType":null,"callerPresent":null,"callNumber":null,"callNumberDefault":null,
            "callerPresentDefault":null}"#,
    );
    assert!(record.id.is_empty() && record.user_id.is_empty());
    assert_eq!(record.into_settings(), PersonalSettings::default());
}

#[test]
fn numbers_may_stand_in_place_of_strings() {
    // Beyond 2^53: every digit counts.
    let record = record(
        r#"{"id":1307145259662215169,"userId":18446744073709551615,"createTime":1700000000000,
            "callType":2,"callNumber":[123,"456"],"callNumberDefault":95500}"#,
    );
    assert_eq!(record.id, "1307145259662215169");
    assert_eq!(record.user_id, "18446744073709551615");
    assert_eq!(record.create_time, "1700000000000");
    let settings = record.into_settings();
    assert_eq!(settings.call_type(), CallType::PassThrough);
    assert_eq!(settings.call_number, ["123", "456"]);
    assert_eq!(settings.call_number_default, "95500");
    // Nor does any number hold these.
    let body =
        r#"{"id":12345678901234567890123,"userId":"\u0031","callNumber":[18446744073709551616]}"#;
    let record = self::record(body);
    assert_eq!(record.id, "12345678901234567890123");
    assert_eq!(record.user_id, "1");
    assert_eq!(record.into_settings().call_number, ["18446744073709551616"]);
}

#[test]
fn every_call_type_and_strangers() {
    for (told, expected) in [
        (r#""0""#, CallType::Direct),
        ("0", CallType::Direct),
        (r#""1""#, CallType::Bidirectional),
        (r#""2""#, CallType::PassThrough),
        (r#""3""#, CallType::Unspecified),
        (r#""DIRECT""#, CallType::Unspecified),
        (r#""""#, CallType::Unspecified),
        ("-1", CallType::Unspecified),
        ("99999999999", CallType::Unspecified),
        ("null", CallType::Unspecified),
    ] {
        let settings = settings_of(&format!(r#"{{"callType":{told}}}"#));
        assert_eq!(settings.call_type(), expected, "{told}");
    }
}

#[test]
fn a_list_may_come_as_one_string() {
    for (told, expected) in [
        (r#""123,456""#, &["123", "456"][..]),
        (r#"" 123 , 456 ,""#, &["123", "456"]),
        (r#""123""#, &["123"]),
        (r#""""#, &[]),
        (r#"",""#, &[]),
        ("123", &["123"]),
        ("[]", &[]),
        (r##"["+49 1","*","#"]"##, &["+49 1", "*", "#"]),
        (r#"["123,456","789"]"#, &["123", "456", "789"]),
        (r#"["123","",null,456]"#, &["123", "456"]),
    ] {
        let settings = settings_of(&format!(r#"{{"callNumber":{told}}}"#));
        assert_eq!(settings.call_number, expected, "{told}");
    }
}

#[test]
fn what_makes_no_sense_is_said_without_quoting_it() {
    for (body, expected) in [
        ("", "not JSON, at line 1 column 0"),
        ("<html>13912345678</html>", "not JSON, at line 1 column 1"),
        (r#"{"id":"13912345678"#, "not JSON, at line 1 column 18"),
        (r#"["13912345678"]"#, "an array in place of an object"),
    ] {
        let error = read::<Record>(&reply(200, &[], body)).unwrap_err();
        assert_eq!(error, expected, "{body}");
    }
    for body in [
        r#"{"id":{"13912345678":1}}"#,
        r#"{"agentName":["13912345678"]}"#,
        r#"{"callNumber":{"a":"13912345678"}}"#,
        r#"{"callNumber":[["13912345678"]]}"#,
        r#""13912345678""#,
        "13912345678",
    ] {
        let error = read::<Record>(&reply(200, &[], body)).unwrap_err();
        let start = "a value of an unexpected type, at line 1 column ";
        assert!(error.starts_with(start), "{body}: {error}");
        assert!(!error.contains("139123"), "{error}");
    }
}

#[test]
fn another_encoding_is_read_as_far_as_it_goes() {
    let body = b"{\"returnCode\":\"0\",\"returnDesc\":\"\xb3\xc9\xb9\xa6\",\"id\":\"7\"}";
    assert_eq!(record(body).id, "7");
    let reply = reply(200, &[], body);
    assert_eq!(Envelope::of(&reply).code().as_deref(), Some("0"));
    assert!(Envelope::of(&reply).text().unwrap().contains('\u{fffd}'));
    let written = Written::of(&reply);
    assert_eq!(written.id, "7");
    assert!(!written.description.is_empty());
}

#[test]
fn what_a_write_answers() {
    let written = |body: &str| Written::of(&reply(200, &[], body));
    let documented =
        r#"{"returnCode":"0","returnDesc":"update success.","id":"1307145259662215169"}"#;
    assert_eq!(written(documented).id, "1307145259662215169");
    assert_eq!(written(documented).description, "update success.");
    assert_eq!(written(r#"{"returnCode":"0"}"#).id, "");
    assert_eq!(written(r#"{"returnCode":"0","id":42}"#).id, "42");
    assert_eq!(written(r#"{"returnCode":"0","id":null}"#).id, "");
    // What a write does not need must not cost it the id.
    let odd = r#"{"returnCode":"0","id":"7","agentName":{"first":"kim"},"callNumber":true}"#;
    assert_eq!(written(odd).id, "7");
    let echo = r#"{"returnCode":"0","returnDesc":"set 13912345678 for kim"}"#;
    assert_eq!(written(echo).description, "set *** for kim");
}

fn full() -> PersonalSettings {
    PersonalSettings {
        call_type: CallType::Direct.into(),
        caller_present: vec!["1".into()],
        call_number: vec!["2".into(), "3".into()],
        call_number_default: "4".into(),
        caller_present_default: "5".into(),
    }
}

fn sent(settings: &Settings<'_>) -> Value {
    serde_json::to_value(settings).unwrap()
}

fn everything() -> Value {
    json!({
        "callType": "0", "callerPresent": ["1"], "callNumber": ["2", "3"],
        "callNumberDefault": "4", "callerPresentDefault": "5",
    })
}

#[test]
fn without_a_mask_every_populated_field_is_sent_and_nothing_else() {
    assert_eq!(sent(&Settings::populated(&full())), everything());
    assert_eq!(
        sent(&Settings::populated(&PersonalSettings::default())),
        json!({})
    );
    let one = PersonalSettings {
        call_number: vec!["2".into()],
        ..Default::default()
    };
    assert_eq!(
        sent(&Settings::populated(&one)),
        json!({"callNumber": ["2"]})
    );
    for (call_type, expected) in [
        (CallType::Direct, "0"),
        (CallType::Bidirectional, "1"),
        (CallType::PassThrough, "2"),
    ] {
        let settings = PersonalSettings {
            call_type: call_type.into(),
            ..Default::default()
        };
        let sent = sent(&Settings::populated(&settings));
        assert_eq!(sent, json!({ "callType": expected }));
    }
}

#[test]
fn with_a_mask_exactly_the_named_fields_are_sent() {
    let empty = PersonalSettings::default();
    for (field, name, cleared) in [
        ("call_type", "callType", None),
        ("caller_present", "callerPresent", Some(json!([]))),
        ("call_number", "callNumber", Some(json!([]))),
        ("call_number_default", "callNumberDefault", Some(json!(""))),
        (
            "caller_present_default",
            "callerPresentDefault",
            Some(json!("")),
        ),
    ] {
        let mask = [field.to_owned()];
        let set = sent(&Settings::masked(&full(), &mask));
        assert_eq!(set, json!({ name: everything()[name] }));
        // One that is unset goes out as its empty value; a call type has none.
        let unset = sent(&Settings::masked(&empty, &mask));
        let expected = cleared.map_or(json!({}), |value| json!({ name: value }));
        assert_eq!(unset, expected);
    }
    let all = FIELDS.map(str::to_owned);
    assert_eq!(sent(&Settings::masked(&full(), &all)), everything());
}

/// A list that grows a field has to grow the mask too.
#[test]
fn a_mask_can_name_every_field() {
    let everything = everything();
    let sent = everything.as_object().unwrap();
    assert_eq!(sent.len(), FIELDS.len());
}

proptest! {
    #[test]
    fn strangers_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let reply = reply(200, &[], bytes);
        let _ = read::<Record>(&reply);
        let _ = Written::of(&reply);
        let envelope = Envelope::of(&reply);
        let _ = (envelope.code(), envelope.text(), envelope.description());
    }

    /// JSON of any shape in any field, which random bytes hardly ever are.
    #[test]
    fn strangers_values_never_panic(
        field in prop::sample::select(vec![
            "id", "callType", "callNumber", "returnCode", "returnDesc", "createTime",
        ]),
        value in prop_oneof![
            Just(json!(null)), Just(json!(true)), Just(json!({})), Just(json!([[]])),
            any::<i64>().prop_map(|n| json!(n)), any::<f64>().prop_map(|n| json!(n)),
            ".{0,40}".prop_map(|text| json!(text)),
            prop::collection::vec(".{0,8}", 0..8).prop_map(|list| json!(list)),
        ],
    ) {
        let reply = reply(200, &[], json!({ field: value }).to_string());
        let _ = read::<Record>(&reply).map(Record::into_settings);
        let _ = Written::of(&reply);
        let envelope = Envelope::of(&reply);
        let _ = (envelope.code(), envelope.text(), envelope.description());
    }

    #[test]
    fn what_was_populated_comes_back(
        call_type in 0i32..4,
        lists in prop::array::uniform2(prop::collection::vec("[0-9+*#]{1,15}", 0..5)),
        defaults in prop::array::uniform2("[0-9+*#]{0,15}"),
    ) {
        let [caller_present, call_number] = lists;
        let [call_number_default, caller_present_default] = defaults;
        let settings = PersonalSettings {
            call_type, caller_present, call_number, call_number_default, caller_present_default,
        };
        let wire = sent(&Settings::populated(&settings)).to_string();
        prop_assert_eq!(settings_of(&wire), settings);
    }
}
