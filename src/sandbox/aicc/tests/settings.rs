//! The four operations, as documented and beyond.

use serde_json::json;

use super::{ID, USER, bearer, call, call_with, read, send};
use crate::sandbox::aicc::{AICC_APP, Aicc};

#[test]
fn the_documented_update_is_answered_as_documented() {
    let aicc = Aicc::default();
    let sample = json!({"id": ID, "callType": "1", "userId": USER, "callerPresent": ["12323"],
        "callNumber": ["12323", "232343", "233", "239343"], "callNumberDefault": "23232323", "callerPresentDefault": "1212121212"});
    let answer = call_with(&aicc, &bearer(&aicc), "update", &sample.to_string());
    assert!(answer.applied);
    assert_eq!(
        answer.response.headers()["content-type"],
        "application/json;charset=UTF-8"
    );
    assert_eq!(
        read(&answer),
        (
            200,
            json!({"returnCode": "0", "returnDesc": "update success.", "id": ID})
        )
    );
}

#[test]
fn an_update_changes_what_was_sent_and_nothing_else() {
    let aicc = Aicc::default();
    let before = aicc.record(USER).unwrap();
    call(
        &aicc,
        "update",
        &json!({"id": ID, "userId": USER, "callType": "0", "callerPresent": [], "callNumber": null}),
    );
    let after = aicc.record(USER).unwrap();
    assert_eq!(after.settings.call_type.as_deref(), Some("0"));
    assert_eq!(after.settings.caller_present, Some(Vec::new()));
    assert_eq!(after.settings.call_number, before.settings.call_number);
    assert_eq!(after.agent_name, before.agent_name);
}

#[test]
fn a_query_answers_with_a_flat_record_or_none() {
    let aicc = Aicc::default();
    let (status, record) = call(&aicc, "query", &json!({"userId": USER}));
    assert_eq!(
        (status, &record["returnCode"], &record["returnDesc"]),
        (200, &json!("0"), &json!("query success"))
    );
    assert_eq!(
        (&record["id"], &record["userId"], &record["callType"]),
        (&json!(ID), &json!(USER), &json!("1"))
    );
    assert_eq!(
        record["callNumber"],
        json!(["12323", "232343", "233", "239343"])
    );
    assert!(record["agentName"].is_string() && record["tenantId"].is_string());
    let absent = call(&aicc, "query", &json!({"userId": "nobody"}));
    assert_eq!(
        absent,
        (
            200,
            json!({"returnCode": "0", "returnDesc": "query success"})
        )
    );
}

#[test]
fn a_record_is_created_once_and_deleted_once() {
    let aicc = Aicc::default();
    let (_, created) = call(&aicc, "create", &json!({"userId": "new", "callType": "2"}));
    assert_eq!(
        (&created["returnCode"], &created["id"]),
        (&json!("0"), &json!("1307145259662215170"))
    );
    let (status, again) = call(&aicc, "create", &json!({"userId": "new"}));
    assert_eq!((status, &again["returnCode"]), (200, &json!("0401001")));
    assert_eq!(aicc.creates(), ["new"]);
    assert_eq!(
        call(&aicc, "delete", &json!({"userId": "new"})).1,
        json!({"returnCode": "0", "returnDesc": "delete success."})
    );
    assert_eq!(
        call(&aicc, "delete", &json!({"userId": "new"})).1["returnCode"],
        "0401002"
    );
    call(&aicc, "create", &json!({"userId": "new"}));
    assert_eq!(aicc.creates(), ["new", "new"]);
}

#[test]
fn id_and_user_must_belong_together() {
    let aicc = Aicc::default();
    for body in [
        json!({"id": "1", "userId": USER}),
        json!({"id": ID, "userId": "nobody"}),
    ] {
        let (status, answer) = call(&aicc, "update", &body);
        assert_eq!((status, &answer["returnCode"]), (200, &json!("0401002")));
    }
}

#[test]
fn settings_beyond_a_limit_are_a_business_failure() {
    let aicc = Aicc::default();
    for (name, value) in [
        ("callType", json!("3")),
        ("callerPresent", json!(["1", "2", "3", "4", "5", "6"])),
        ("callNumber", json!(["1234567890123456"])),
        ("callNumber", json!(["1,2"])),
        ("callNumber", json!(["1\n"])),
        ("callerPresent", json!([""])),
        ("callNumberDefault", json!("1234567890123456")),
        ("callerPresentDefault", json!("1234567890123456")),
    ] {
        let (status, answer) = call(
            &aicc,
            "update",
            &json!({"id": ID, "userId": USER, name: value}),
        );
        assert_eq!(
            (status, &answer["returnCode"]),
            (200, &json!("0401003")),
            "{name}"
        );
        assert_eq!(answer["returnDesc"], format!("{name} is invalid"));
    }
    let widest =
        json!({"id": ID, "userId": USER, "callNumber": ["+12345678901234", "2", "3", "4", "5"]});
    assert_eq!(call(&aicc, "update", &widest).1["returnCode"], "0");
}

#[test]
fn paths_methods_and_bodies_count() {
    let aicc = Aicc::default();
    let bearer = bearer(&aicc);
    let headers = [("Authorization", bearer.as_str()), ("X-APP-Key", AICC_APP)];
    let wrong_case = "/apiaccess/cc-management/v1/openapp/agentsettings/query";
    assert_eq!(
        send(&aicc, "POST", wrong_case, &headers, "{}")
            .response
            .status(),
        404
    );
    assert_eq!(
        call_with(&aicc, &bearer, "list", "{}").response.status(),
        404
    );
    let path = "/apiaccess/CC-Management/v1/openapp/agentsettings/query";
    assert_eq!(
        send(&aicc, "GET", path, &headers, "").response.status(),
        405
    );
    for (operation, body) in [
        ("query", "not json"),
        ("query", "{}"),
        ("query", r#"{"userId":""}"#),
        ("query", r#"{"userId":1660270845627002401}"#),
        ("update", r#"{"userId":"1660270845627002401"}"#),
        ("create", r#"{"userId":"new","callType":1}"#),
        ("create", r#"{"userId":"new","callNumber":"1,2"}"#),
    ] {
        assert_eq!(
            call_with(&aicc, &bearer, operation, body).response.status(),
            400,
            "{body}"
        );
    }
    assert!(aicc.creates().is_empty());
}

#[test]
fn a_reset_brings_the_seed_back() {
    let aicc = Aicc::default();
    call(&aicc, "delete", &json!({"userId": USER}));
    call(&aicc, "create", &json!({"userId": USER}));
    aicc.set_secret(AICC_APP, "rotated");
    aicc.reset();
    assert_eq!(aicc.records(), Aicc::default().records());
    assert!(aicc.creates().is_empty() && aicc.tokens() == 0);
    bearer(&aicc);
}
