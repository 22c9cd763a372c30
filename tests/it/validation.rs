//! A wrong request is refused here, with every wrong field by its path, and nothing of it is sent;
//! a request at the very limit of a rule goes through.

use std::collections::BTreeSet;

use prost_types::value::Kind;
use prost_types::{Duration, FieldMask, ListValue, Struct, Value};
use serde_json::json;
use switchboard::pb::{
    AttachUserDataRequest, CallType, CreateAgentSettingsRequest, DeleteAgentSettingsRequest,
    DeleteUserDataRequest, GetAgentSettingsRequest, GetSessionRequest, PersonalSettings,
    UpdateAgentSettingsRequest, UpdateUserDataRequest,
};
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use crate::support::calls::ALL;
use crate::support::verdict::{all_words, trailers, wrong_fields};
use crate::support::{self, Gateway, RECORD, SESSION, USER, data, fields, number, text};

/// One of each kind: C0, DEL and C1, at their bounds.
const CONTROLS: [&str; 6] = ["\0", "\n", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}"];

#[tokio::test]
async fn session_ids() {
    let gateway = Gateway::start().await;
    let longest = "é".repeat(128);
    for id in ["x", "...", "\u{a0}", longest.as_str()] {
        gateway.sandbox.genesys().add_session("agent1", id);
        read(&gateway, id).await.unwrap();
    }
    gateway.sandbox.journal().clear();
    let too_long = "x".repeat(129);
    let mut wrong = vec![String::new(), ".".into(), "..".into(), too_long];
    wrong.extend(CONTROLS.map(|control| format!("a{control}b")));
    for id in wrong {
        refused(&gateway, &read(&gateway, &id).await, &["session_id"]);
        refused(
            &gateway,
            &update(&gateway, &id, one()).await,
            &["session_id"],
        );
        refused(
            &gateway,
            &attach(&gateway, &id, one()).await,
            &["session_id"],
        );
        refused(
            &gateway,
            &delete(&gateway, &id, &["k"]).await,
            &["session_id"],
        );
    }
}

#[tokio::test]
async fn user_data_has_pairs_of_documented_kinds() {
    let gateway = Gateway::start().await;
    let good = fields([
        ("empty", text("")),
        ("zero", number(-0.0)),
        ("largest", number(9_007_199_254_740_991.0)),
        ("smallest", number(-9_007_199_254_740_991.0)),
        ("\u{7f}", text("\0")),
    ]);
    update(&gateway, SESSION, good.clone()).await.unwrap();
    attach(&gateway, SESSION, good).await.unwrap();
    let stored = gateway.sandbox.genesys().user_data(SESSION).unwrap();
    assert_eq!(stored["zero"], json!(0));
    assert_eq!(stored["largest"], json!(9_007_199_254_740_991_i64));

    gateway.sandbox.journal().clear();
    let wrong = fields([
        ("", text("v")),
        ("a null", null()),
        ("yes.or.no", kind(Kind::BoolValue(true))),
        ("half[0]", number(0.5)),
        ("too large", number(9_007_199_254_740_992.0)),
        ("too small", number(-9_007_199_254_740_992.0)),
        ("nan", number(f64::NAN)),
        ("endless", number(f64::INFINITY)),
        ("list", list(vec![text("v")])),
        ("nested", nested([("k", text("v"))])),
        ("ключ \u{1F600}", Value { kind: None }),
        ("good", text("v")),
    ]);
    let paths: Vec<_> = wrong.fields.keys().filter(|key| *key != "good").collect();
    let paths: Vec<_> = paths.iter().map(|key| format!("user_data.{key}")).collect();
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    refused(
        &gateway,
        &update(&gateway, SESSION, wrong.clone()).await,
        &paths,
    );
    refused(&gateway, &attach(&gateway, SESSION, wrong).await, &paths);

    let empty = Struct::default();
    refused(
        &gateway,
        &update(&gateway, SESSION, empty.clone()).await,
        &["user_data"],
    );
    refused(
        &gateway,
        &attach(&gateway, SESSION, empty).await,
        &["user_data"],
    );
    let missing = AttachUserDataRequest {
        session_id: SESSION.into(),
        ..Default::default()
    };
    let missing = gateway.sms().attach_user_data(missing).await;
    refused(&gateway, &missing.map(drop), &["user_data"]);
}

#[tokio::test]
async fn user_data_is_at_most_64_kib_as_json() {
    let gateway = Gateway::start().await;
    // {"k":"..."} is 8 bytes without the value, and an escaped quote counts as two.
    let longest = 64 * 1024 - 8;
    for value in [
        "x".repeat(longest),
        "\"".repeat(longest / 2),
        "é".repeat(longest / 2),
    ] {
        update(&gateway, SESSION, data(&[("k", &value)]))
            .await
            .unwrap();
        gateway.sandbox.journal().clear();
        let too_long = data(&[("k", &format!("{value}x"))]);
        refused(
            &gateway,
            &update(&gateway, SESSION, too_long.clone()).await,
            &["user_data"],
        );
        refused(
            &gateway,
            &attach(&gateway, SESSION, too_long).await,
            &["user_data"],
        );
    }
}

#[tokio::test]
async fn undocumented_kinds_pass_where_the_operator_allows_them() {
    let gateway = Gateway::start_with(|config| {
        config.genesys.as_mut().unwrap().allow_undocumented_values = true;
    })
    .await;
    let odd = fields([
        ("null", null()),
        ("bool", kind(Kind::BoolValue(true))),
        ("fraction", number(0.5)),
        ("whole", number(7.0)),
        ("list", list(vec![text("v"), number(1.0), null()])),
        ("nested", nested([("k", list(vec![]))])),
    ]);
    update(&gateway, SESSION, odd.clone()).await.unwrap();
    let stored = gateway.sandbox.genesys().user_data(SESSION).unwrap();
    assert_eq!(stored["null"], json!(null));
    assert_eq!(stored["bool"], json!(true));
    assert_eq!(stored["fraction"], json!(0.5));
    assert_eq!(stored["whole"], json!(7));
    assert_eq!(stored["list"], json!(["v", 1, null]));
    assert_eq!(stored["nested"], json!({"k": []}));
    let session = read(&gateway, SESSION).await.unwrap();
    for (key, value) in &odd.fields {
        assert_eq!(session.fields.get(key), Some(value), "{key}");
    }

    gateway.sandbox.journal().clear();
    let wrong = fields([
        ("a", number(9_007_199_254_740_992.0)),
        ("b", list(vec![number(f64::NAN)])),
        ("c", nested([("k", Value { kind: None })])),
    ]);
    let paths = ["user_data.a", "user_data.b", "user_data.c"];
    refused(&gateway, &update(&gateway, SESSION, wrong).await, &paths);
    let empty = Struct::default();
    refused(
        &gateway,
        &update(&gateway, SESSION, empty).await,
        &["user_data"],
    );
}

#[tokio::test]
async fn keys_to_delete() {
    let gateway = Gateway::start().await;
    delete(&gateway, SESSION, &["a", "A", " ", "a b"])
        .await
        .unwrap();
    gateway.sandbox.journal().clear();
    refused(&gateway, &delete(&gateway, SESSION, &[]).await, &["keys"]);
    refused(
        &gateway,
        &delete(&gateway, SESSION, &[""]).await,
        &["keys[0]"],
    );
    refused(
        &gateway,
        &delete(&gateway, SESSION, &["a", "b", "a"]).await,
        &["keys[2]"],
    );
    let many = delete(&gateway, SESSION, &["a", "", "b", "a", "", "b"]).await;
    refused(
        &gateway,
        &many,
        &["keys[1]", "keys[3]", "keys[4]", "keys[5]"],
    );
    assert_eq!(gateway.sandbox.genesys().dangerous_deletes(), 0);
}

#[tokio::test]
async fn ids_of_users_and_records() {
    let gateway = Gateway::start().await;
    let longest = "ü".repeat(64);
    create(&gateway, &longest, None).await.unwrap();
    query(&gateway, &longest).await.unwrap();
    let id = gateway.sandbox.aicc().record(&longest).unwrap().id;
    change(&gateway, &id, &longest, None, &[]).await.unwrap();
    remove(&gateway, &longest).await.unwrap();
    // The vendor knows no such record; the gateway has nothing against it.
    let unknown = change(&gateway, &longest, USER, None, &[])
        .await
        .unwrap_err();
    assert_eq!(support::reason(&unknown), "VENDOR_REJECTED");

    gateway.sandbox.journal().clear();
    let mut wrong = vec![String::new(), "x".repeat(65)];
    wrong.extend(CONTROLS.map(|control| format!("a{control}b")));
    for id in wrong {
        refused(&gateway, &create(&gateway, &id, None).await, &["user_id"]);
        refused(&gateway, &query(&gateway, &id).await, &["user_id"]);
        refused(&gateway, &remove(&gateway, &id).await, &["user_id"]);
        refused(
            &gateway,
            &change(&gateway, &id, USER, None, &[]).await,
            &["id"],
        );
        let both = change(&gateway, &id, &id, None, &[]).await;
        refused(&gateway, &both, &["id", "user_id"]);
    }
}

#[tokio::test]
async fn numbers() {
    let gateway = Gateway::start().await;
    let longest = "é".repeat(15);
    let list = |numbers: &[&str]| numbers.iter().map(|it| (*it).to_owned()).collect();
    let good = PersonalSettings {
        call_type: CallType::PassThrough.into(),
        caller_present: list(&["1", &longest, "+*#", "a b", "1"]),
        call_number: list(&["1", "2", "3", "4", "5"]),
        call_number_default: longest.clone(),
        caller_present_default: longest.clone(),
    };
    change(&gateway, RECORD, USER, Some(good.clone()), &[])
        .await
        .unwrap();
    create(&gateway, "new", Some(good)).await.unwrap();

    gateway.sandbox.journal().clear();
    let too_long = "1".repeat(16);
    let wrong = PersonalSettings {
        call_type: 4,
        caller_present: list(&["", "1,2", &too_long, "1\u{85}", "ok"]),
        call_number: list(&["1", "2", "3", "4", "5", "6", "7"]),
        call_number_default: too_long.clone(),
        caller_present_default: "1\n".into(),
    };
    let paths = [
        "settings.call_type",
        "settings.caller_present[0]",
        "settings.caller_present[1]",
        "settings.caller_present[2]",
        "settings.caller_present[3]",
        "settings.call_number[5]",
        "settings.call_number[6]",
        "settings.call_number_default",
        "settings.caller_present_default",
    ];
    refused(
        &gateway,
        &create(&gateway, "new2", Some(wrong.clone())).await,
        &paths,
    );
    refused(
        &gateway,
        &change(&gateway, RECORD, USER, Some(wrong), &[]).await,
        &paths,
    );

    let wrong = PersonalSettings {
        call_type: -1,
        ..Default::default()
    };
    let unknown = create(&gateway, "new2", Some(wrong)).await;
    refused(&gateway, &unknown, &["settings.call_type"]);
}

#[tokio::test]
async fn masks() {
    let gateway = Gateway::start().await;
    let table: [(&[&str], &[&str]); 6] = [
        (&["agent_name"], &["update_mask.paths[0]"]),
        (&["settings.call_number"], &["update_mask.paths[0]"]),
        (&["*"], &["update_mask.paths[0]"]),
        (&["call_number", "call_number"], &["update_mask.paths[1]"]),
        (&["call_type"], &["settings.call_type"]),
        (
            &["", "callNumber", "call_type", ""],
            &[
                "update_mask.paths[0]",
                "update_mask.paths[1]",
                "update_mask.paths[3]",
                "settings.call_type",
            ],
        ),
    ];
    for (mask, paths) in table {
        let unset = Some(PersonalSettings::default());
        refused(
            &gateway,
            &change(&gateway, RECORD, USER, unset, mask).await,
            paths,
        );
        refused(
            &gateway,
            &change(&gateway, RECORD, USER, None, mask).await,
            paths,
        );
    }
    let direct = PersonalSettings {
        call_type: CallType::Direct.into(),
        ..Default::default()
    };
    change(&gateway, RECORD, USER, Some(direct), &["call_type"])
        .await
        .unwrap();
    change(&gateway, RECORD, USER, None, &["call_number"])
        .await
        .unwrap();
}

#[tokio::test]
async fn request_ids() {
    let gateway = Gateway::start().await;
    let with_id = |id: &str| {
        let request = UpdateUserDataRequest {
            session_id: SESSION.into(),
            user_data: Some(one()),
            request_id: id.into(),
            ..Default::default()
        };
        let mut sms = gateway.sms();
        async move { sms.update_user_data(request).await.map(drop) }
    };
    for id in ["", "x", " ", "~!\"%/", &"x".repeat(64)] {
        with_id(id).await.unwrap();
    }
    gateway.sandbox.journal().clear();
    let mut wrong = vec!["x".repeat(65), "ü".into(), "\u{a0}".into()];
    wrong.extend(CONTROLS.map(|control| format!("a{control}b")));
    for id in wrong {
        refused(&gateway, &with_id(&id).await, &["request_id"]);
    }
}

#[tokio::test]
async fn an_account_that_is_not_configured() {
    let gateway = Gateway::start().await;
    for call in ALL {
        for account in ["nobody", "Default", " ", "default\n"] {
            let error = call.send_as(&gateway, account).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{call:?}");
            assert_eq!(support::reason(&error), "UNKNOWN_ACCOUNT", "{call:?}");
            assert_eq!(wrong_fields(&error), BTreeSet::from(["account".to_owned()]));
            assert_eq!(support::attempts(error.metadata()), 0);
        }
    }
    assert!(gateway.sandbox.journal().entries().is_empty());
    for call in ALL {
        // `default` may be named; `other` knows none of the first one's sessions.
        assert_ne!(
            code(call.send_as(&gateway, "default").await),
            Code::InvalidArgument
        );
        assert_ne!(
            code(call.send_as(&gateway, "other").await),
            Code::InvalidArgument
        );
    }
}

#[tokio::test]
async fn everything_wrong_is_named_at_once() {
    let gateway = Gateway::start().await;
    let request = UpdateAgentSettingsRequest {
        id: String::new(),
        user_id: "\t".into(),
        settings: Some(PersonalSettings {
            call_type: 9,
            caller_present: vec![String::new()],
            call_number: vec!["1".into(); 6],
            call_number_default: "1".repeat(16),
            caller_present_default: "1".repeat(16),
        }),
        update_mask: Some(FieldMask {
            paths: vec!["nothing".into()],
        }),
        account: "nobody".into(),
        request_id: "x".repeat(65),
    };
    let answer = gateway.settings().update_agent_settings(request).await;
    let paths = [
        "account",
        "request_id",
        "id",
        "user_id",
        "settings.call_type",
        "settings.caller_present[0]",
        "settings.call_number[5]",
        "settings.call_number_default",
        "settings.caller_present_default",
        "update_mask.paths[0]",
    ];
    refused(&gateway, &answer.map(drop), &paths);

    let request = UpdateUserDataRequest {
        session_id: "..".into(),
        user_data: None,
        account: "nobody".into(),
        confirmation: 3,
        request_id: "\n".into(),
    };
    let answer = gateway.sms().update_user_data(request).await;
    refused(
        &gateway,
        &answer.map(drop),
        &[
            "account",
            "confirmation",
            "request_id",
            "session_id",
            "user_data",
        ],
    );
}

#[tokio::test]
async fn a_giant_of_wrongs_is_answered_within_the_budget() {
    let gateway = Gateway::start().await;
    let id = "r".repeat(128);
    let mut nulls: Struct = Struct::default();
    for n in 0..900 {
        nulls
            .fields
            .insert(format!("Schlüssel {n} \u{1F600}"), null());
    }
    nulls.fields.insert("k".repeat(60_000), null());
    let wrong = UpdateUserDataRequest {
        session_id: String::new(),
        user_data: Some(nulls),
        ..Default::default()
    };
    let request = identified(wrong, &id);
    let error = gateway.sms().update_user_data(request).await.unwrap_err();
    assert!(wrong_fields(&error).contains("session_id"));
    // The empty id, each null, the giant key, and the size of all of it.
    giant(&error, 1 + 901 + 1, &id);

    let giant_key = "k".repeat(4_000_000);
    let request = Request::new(UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(fields([(giant_key.as_str(), null())])),
        ..Default::default()
    });
    let error = gateway.sms().update_user_data(request).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(trailers(&error) <= 4096);

    let mut request = CreateAgentSettingsRequest {
        user_id: "u".into(),
        settings: Some(PersonalSettings::default()),
        ..Default::default()
    };
    let settings = request.settings.as_mut().unwrap();
    settings.call_number = vec!["1,\n".into(); 500];
    let error = gateway
        .settings()
        .create_agent_settings(identified(request, &id))
        .await;
    // Each has a comma and a control character, and is named once for both.
    giant(&error.unwrap_err(), 500, &id);
    assert!(gateway.sandbox.journal().entries().is_empty());
}

fn identified<T>(message: T, id: &str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-request-id", id.parse().unwrap());
    request
}

/// As many as fit are named, and the rest is counted.
#[track_caller]
fn giant(error: &Status, wrong: usize, id: &str) {
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(support::reason(error), "INVALID_FIELD");
    assert_eq!(error.metadata().get("x-request-id").unwrap(), id);
    assert!(trailers(error) <= 4096, "{}", trailers(error));
    let details = error.get_details_bad_request().unwrap();
    let shown = details.field_violations.len();
    assert!(shown > 10, "{error:?}");
    for told in [
        format!("{} other fields are wrong", wrong - 1),
        format!("{} more not shown", wrong - shown),
    ] {
        assert!(error.message().contains(&told), "{told}: {error:?}");
    }
}

#[tokio::test]
async fn refusals_do_not_quote_values() {
    let gateway = Gateway::start().await;
    let request = UpdateUserDataRequest {
        session_id: "secret-session\n".into(),
        user_data: Some(fields([("Pin", nested([("k", text("hunter2"))]))])),
        account: "secret-account".into(),
        confirmation: 0,
        request_id: "secret-request\n".into(),
    };
    let error = gateway.sms().update_user_data(request).await.unwrap_err();
    let words = all_words(&error);
    for planted in [
        "secret-session",
        "hunter2",
        "secret-account",
        "secret-request",
    ] {
        assert!(!words.contains(planted), "{words}");
    }
}

#[tokio::test]
async fn messages_that_cannot_be_received() {
    let gateway = Gateway::start().await;
    let too_large = "x".repeat(5 * 1024 * 1024);
    let error = update(&gateway, SESSION, data(&[("k", &too_large)]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error:?}");
    assert_eq!(support::reason(&error), "INVALID_MESSAGE");
    assert_eq!(support::attempts(error.metadata()), 0);

    // A number where the first field is a string.
    let path = "/contactcenter.v1.SmsSessionData/GetSession";
    let error = send_duration(&gateway, path).await;
    assert_eq!(error.code(), Code::Internal, "{error:?}");
    assert_eq!(support::reason(&error), "INVALID_MESSAGE");
    assert_eq!(support::attempts(error.metadata()), 0);
    assert!(gateway.sandbox.journal().entries().is_empty());
}

#[tokio::test]
async fn methods_that_do_not_exist() {
    let gateway = Gateway::start().await;
    for path in [
        "/contactcenter.v1.SmsSessionData/Nothing",
        "/contactcenter.v1.smssessiondata/GetSession",
        "/contactcenter.v2.SmsSessionData/GetSession",
        "/contactcenter.v1.SmsSessionData",
        "/",
    ] {
        let error = send_duration(&gateway, path).await;
        assert_eq!(error.code(), Code::Unimplemented, "{path}: {error:?}");
        assert_eq!(support::reason(&error), "UNKNOWN_METHOD", "{path}");
        assert_eq!(support::attempts(error.metadata()), 0);
    }
}

/// Nothing that any method takes.
async fn send_duration(gateway: &Gateway, path: &'static str) -> Status {
    let mut client = Grpc::new(gateway.channel.clone());
    client.ready().await.unwrap();
    let message = Request::new(Duration {
        seconds: 5,
        nanos: 0,
    });
    let codec = ProstCodec::<Duration, ()>::default();
    let path = http::uri::PathAndQuery::from_static(path);
    client.unary(message, path, codec).await.unwrap_err()
}

/// Refused for exactly these fields, and nothing was sent.
#[track_caller]
fn refused<T: std::fmt::Debug>(gateway: &Gateway, answer: &Result<T, Status>, paths: &[&str]) {
    let error = answer.as_ref().expect_err("a refusal");
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    assert_eq!(support::reason(error), "INVALID_FIELD");
    assert_eq!(support::fact(error, "attempts"), "0");
    assert_eq!(support::attempts(error.metadata()), 0);
    let paths: BTreeSet<_> = paths.iter().map(|path| (*path).to_owned()).collect();
    assert_eq!(wrong_fields(error), paths);
    assert!(gateway.sandbox.journal().entries().is_empty());
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|error| error.code(), |_| Code::Ok)
}

async fn read(gateway: &Gateway, id: &str) -> Result<Struct, Status> {
    let request = GetSessionRequest {
        session_id: id.into(),
        ..Default::default()
    };
    let answer = gateway.sms().get_session(request).await?;
    let session = answer.into_inner().session.unwrap();
    Ok(session.user_data.unwrap())
}

async fn update(gateway: &Gateway, id: &str, user_data: Struct) -> Result<(), Status> {
    let request = UpdateUserDataRequest {
        session_id: id.into(),
        user_data: Some(user_data),
        ..Default::default()
    };
    gateway.sms().update_user_data(request).await.map(drop)
}

async fn attach(gateway: &Gateway, id: &str, user_data: Struct) -> Result<(), Status> {
    let request = AttachUserDataRequest {
        session_id: id.into(),
        user_data: Some(user_data),
        ..Default::default()
    };
    gateway.sms().attach_user_data(request).await.map(drop)
}

async fn delete(gateway: &Gateway, id: &str, keys: &[&str]) -> Result<(), Status> {
    let request = DeleteUserDataRequest {
        session_id: id.into(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        ..Default::default()
    };
    gateway.sms().delete_user_data(request).await.map(drop)
}

async fn create(
    gateway: &Gateway,
    user: &str,
    settings: Option<PersonalSettings>,
) -> Result<(), Status> {
    let request = CreateAgentSettingsRequest {
        user_id: user.into(),
        settings,
        ..Default::default()
    };
    gateway
        .settings()
        .create_agent_settings(request)
        .await
        .map(drop)
}

async fn query(gateway: &Gateway, user: &str) -> Result<(), Status> {
    let request = GetAgentSettingsRequest {
        user_id: user.into(),
        ..Default::default()
    };
    gateway
        .settings()
        .get_agent_settings(request)
        .await
        .map(drop)
}

async fn change(
    gateway: &Gateway,
    id: &str,
    user: &str,
    settings: Option<PersonalSettings>,
    mask: &[&str],
) -> Result<(), Status> {
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdateAgentSettingsRequest {
        id: id.into(),
        user_id: user.into(),
        settings,
        update_mask: Some(FieldMask { paths }),
        ..Default::default()
    };
    gateway
        .settings()
        .update_agent_settings(request)
        .await
        .map(drop)
}

async fn remove(gateway: &Gateway, user: &str) -> Result<(), Status> {
    let request = DeleteAgentSettingsRequest {
        user_id: user.into(),
        ..Default::default()
    };
    gateway
        .settings()
        .delete_agent_settings(request)
        .await
        .map(drop)
}

fn one() -> Struct {
    data(&[("k", "v")])
}

fn kind(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn null() -> Value {
    kind(Kind::NullValue(0))
}

fn list(values: Vec<Value>) -> Value {
    kind(Kind::ListValue(ListValue { values }))
}

fn nested<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    kind(Kind::StructValue(fields(pairs)))
}
