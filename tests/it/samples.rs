//! The vendors' documented requests go out as documented, and their documented answers come back:
//! methods, paths, headers and bodies, integers as integers and big ids as strings.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, Method};
use prost_types::{FieldMask, Struct};
use serde_json::json;
use switchboard::pb::{
    AttachUserDataRequest, CallType, CreateAgentSettingsRequest, DeleteAgentSettingsRequest,
    DeleteUserDataRequest, GetAgentSettingsRequest, GetSessionRequest, ListSessionsRequest,
    Outcome, PersonalSettings, UpdateAgentSettingsRequest, UpdateUserDataRequest,
};
use switchboard::sandbox::journal::Entry;
use tonic::Code;

use crate::support::vendor::{self, Vendor};
use crate::support::{self, Gateway, RECORD, SESSION, USER, fields, get, number, text};

const SESSION_PATH: &str = "/api/v2/me/smssessions/0071023821aec011";
const SETTINGS_PATH: &str = "/apiaccess/CC-Management/v1/openapp/agentsettings";

#[tokio::test]
async fn attach_is_the_sample() {
    let gateway = Gateway::start().await;
    let request = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(fields([
            ("UserData1", text("DATA1")),
            ("UserData2", number(123_456_789.0)),
        ])),
        ..Default::default()
    };
    let answer = gateway.sms().attach_user_data(request).await.unwrap();
    assert_eq!(support::attempts(answer.metadata()), 1);
    let answer = answer.into_inner();
    assert_eq!(
        (answer.outcome(), answer.reference_id),
        (Outcome::Accepted, None)
    );

    let sent = only(&gateway, "AttachUserData");
    assert_eq!(
        (sent.method, sent.target.as_str()),
        (Method::POST, SESSION_PATH)
    );
    assert_eq!(
        body(&sent.request_body),
        json!({"operationName": "AttachUserData",
               "userData": {"UserData1": "DATA1", "UserData2": 123_456_789}})
    );
    // JSON knows one kind of number, the vendor two.
    assert!(written(&sent.request_body).contains(r#""UserData2":123456789}"#));
}

#[tokio::test]
async fn update_is_the_sample() {
    let gateway = Gateway::start().await;
    let request = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(fields([
            ("UserData1", number(987_654_321.0)),
            ("UserData2", text("DATAUPDATE-@123")),
        ])),
        ..Default::default()
    };
    let answer = gateway.sms().update_user_data(request).await.unwrap();
    assert_eq!(answer.into_inner().outcome(), Outcome::Accepted);

    let sent = only(&gateway, "UpdateUserData");
    assert_eq!(
        (sent.method, sent.target.as_str()),
        (Method::POST, SESSION_PATH)
    );
    assert_eq!(
        body(&sent.request_body),
        json!({"operationName": "UpdateUserData",
               "userData": {"UserData1": 987_654_321, "UserData2": "DATAUPDATE-@123"}})
    );
    assert!(written(&sent.request_body).contains(r#""UserData1":987654321,"#));
}

#[tokio::test]
async fn delete_is_the_sample() {
    let gateway = Gateway::start().await;
    let request = DeleteUserDataRequest {
        session_id: SESSION.into(),
        keys: vec!["UserData1".into()],
        ..Default::default()
    };
    let answer = gateway.sms().delete_user_data(request).await.unwrap();
    assert_eq!(answer.into_inner().outcome(), Outcome::Accepted);

    let sent = only(&gateway, "DeleteUserData");
    assert_eq!(
        (sent.method, sent.target.as_str()),
        (Method::POST, SESSION_PATH)
    );
    assert_eq!(
        body(&sent.request_body),
        json!({"operationName": "DeleteUserData", "keys": ["UserData1"]})
    );
}

#[tokio::test]
async fn the_settings_update_is_the_sample() {
    let gateway = Gateway::start().await;
    let request = UpdateAgentSettingsRequest {
        id: RECORD.into(),
        user_id: USER.into(),
        settings: Some(documented()),
        ..Default::default()
    };
    let answer = gateway.settings().update_agent_settings(request).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.id, "1307145259662215169");
    assert_eq!(answer.description, "update success.");

    let sent = only(&gateway, "update");
    assert_eq!(sent.method, Method::POST);
    assert_eq!(sent.target, format!("{SETTINGS_PATH}/update"));
    assert_eq!(
        body(&sent.request_body),
        json!({"id": "1307145259662215169", "callType": "1", "userId": "1660270845627002401",
               "callerPresent": ["12323"],
               "callNumber": ["12323", "232343", "233", "239343"],
               "callNumberDefault": "23232323", "callerPresentDefault": "1212121212"})
    );
    let answered: serde_json::Value = body(&sent.response_body);
    assert_eq!(
        answered,
        json!({"returnCode": "0", "returnDesc": "update success.", "id": "1307145259662215169"})
    );
}

#[tokio::test]
async fn create_sends_what_is_populated() {
    let gateway = Gateway::start().await;
    let request = CreateAgentSettingsRequest {
        user_id: "1660270845627002402".into(),
        settings: Some(PersonalSettings {
            call_type: CallType::Direct.into(),
            call_number: vec!["+49*12#".into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = gateway.settings().create_agent_settings(request).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.description, "create success.");
    let record = gateway.sandbox.aicc().record("1660270845627002402");
    assert_eq!(answer.id, record.unwrap().id);

    let sent = only(&gateway, "create");
    assert_eq!(
        (sent.method, sent.target),
        (Method::POST, format!("{SETTINGS_PATH}/create"))
    );
    assert_eq!(
        body(&sent.request_body),
        json!({"userId": "1660270845627002402", "callType": "0", "callNumber": ["+49*12#"]})
    );
}

#[tokio::test]
async fn query_reads_the_record() {
    let gateway = Gateway::start().await;
    let request = GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    let found = gateway.settings().get_agent_settings(request).await;
    let found = found.unwrap().into_inner();
    assert_eq!((found.id.as_str(), found.user_id.as_str()), (RECORD, USER));
    assert_eq!(found.settings, Some(documented()));
    assert_eq!(found.agent_name, format!("Agent {USER}"));
    assert_eq!(found.create_time, "2021-01-12 10:15:32");
    assert_eq!(found.tenant_id, "202101120001");

    let sent = only(&gateway, "query");
    assert_eq!(
        (sent.method, sent.target),
        (Method::POST, format!("{SETTINGS_PATH}/query"))
    );
    assert_eq!(body(&sent.request_body), json!({"userId": USER}));
}

#[tokio::test]
async fn delete_removes_the_record() {
    let gateway = Gateway::start().await;
    let request = DeleteAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    let mut settings = gateway.settings();
    let answer = settings.delete_agent_settings(request).await.unwrap();
    assert_eq!(answer.into_inner().description, "delete success.");
    assert!(gateway.sandbox.aicc().records().is_empty());

    let sent = only(&gateway, "delete");
    assert_eq!(
        (sent.method, sent.target),
        (Method::POST, format!("{SETTINGS_PATH}/delete"))
    );
    assert_eq!(body(&sent.request_body), json!({"userId": USER}));

    let gone = GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    let error = settings.get_agent_settings(gone).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(support::reason(&error), "VENDOR_NOT_FOUND");
}

#[tokio::test]
async fn a_mask_names_exactly_what_is_sent() {
    let gateway = Gateway::start().await;
    // (mask, what goes out beside the ids)
    let table = [
        (
            vec![],
            json!({"callType": "1", "callerPresent": ["12323"],
            "callNumber": ["12323", "232343", "233", "239343"],
            "callNumberDefault": "23232323", "callerPresentDefault": "1212121212"}),
        ),
        (
            vec!["call_number_default"],
            json!({"callNumberDefault": "23232323"}),
        ),
        (
            vec!["call_type", "caller_present"],
            json!({"callType": "1", "callerPresent": ["12323"]}),
        ),
    ];
    for (mask, expected) in table {
        let sent = send_masked(&gateway, documented(), &mask).await;
        assert_eq!(sent, expected, "{mask:?}");
    }
    let empty = [
        "caller_present",
        "call_number",
        "call_number_default",
        "caller_present_default",
    ];
    let sent = send_masked(&gateway, PersonalSettings::default(), &empty).await;
    assert_eq!(
        sent,
        json!({"callerPresent": [], "callNumber": [],
               "callNumberDefault": "", "callerPresentDefault": ""})
    );
    let record = gateway.sandbox.aicc().record(USER).unwrap();
    assert_eq!(record.settings.call_number, Some(Vec::new()));
    assert_eq!(record.settings.call_type.as_deref(), Some("1"));
    assert_eq!(
        send_masked(&gateway, PersonalSettings::default(), &[]).await,
        json!({})
    );
}

#[tokio::test]
async fn writes_of_genesys_carry_basic_cookies_and_csrf() {
    let gateway = Gateway::start().await;
    put(&gateway, SESSION, "Topic").await.unwrap();
    let journal = gateway.sandbox.journal().for_vendor("genesys");
    let [login, write] = journal.as_slice() else {
        panic!("a login and a write: {journal:?}");
    };
    assert_eq!(
        (&login.method, login.target.as_str()),
        (&Method::GET, "/api/v2/me")
    );
    let basic = format!("Basic {}", BASE64_STANDARD.encode("agent1:sandbox"));
    assert_eq!(header(&login.request_headers, "authorization"), basic);
    assert!(!login.request_headers.contains_key("cookie"));

    let sent = &write.request_headers;
    assert_eq!(header(sent, "content-type"), "application/json");
    assert_eq!(header(sent, "authorization"), basic);
    assert_eq!(
        header(&login.response_headers, "x-csrf-header"),
        "X-CSRF-TOKEN"
    );
    assert_eq!(
        header(sent, "x-csrf-token"),
        header(&login.response_headers, "x-csrf-token")
    );
    let given = login.response_headers.get_all("set-cookie").iter();
    let given: BTreeSet<_> = given
        .map(|cookie| cookie.to_str().unwrap().split(';').next().unwrap())
        .collect();
    let cookies: BTreeSet<_> = header(sent, "cookie").split("; ").collect();
    assert_eq!((cookies.len(), cookies), (2, given));
}

#[tokio::test]
async fn requests_of_aicc_carry_the_app_and_its_token() {
    let gateway = Gateway::start().await;
    let request = GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    gateway
        .settings()
        .get_agent_settings(request)
        .await
        .unwrap();
    let journal = gateway.sandbox.journal().for_vendor("aicc");
    let [login, query] = journal.as_slice() else {
        panic!("a login and a query: {journal:?}");
    };
    assert_eq!(login.method, Method::POST);
    assert_eq!(login.target, "/apigovernance/api/oauth/tokenByAkSk");
    assert_eq!(
        header(&login.request_headers, "content-type"),
        "application/json"
    );
    assert_eq!(header(&login.request_headers, "x-token-expire"), "600");
    assert_eq!(
        body(&login.request_body),
        json!({"app_key": "my-app", "app_secret": "sandbox-secret"})
    );
    let token = body(&login.response_body)["AccessToken"].clone();
    let sent = &query.request_headers;
    assert_eq!(header(sent, "x-app-key"), "my-app");
    assert_eq!(
        header(sent, "authorization"),
        format!("Bearer {}", token.as_str().unwrap())
    );
    assert_eq!(header(sent, "content-type"), "application/json");
}

#[tokio::test]
async fn nothing_of_the_callers_own_metadata_goes_out() {
    let gateway = Gateway::start().await;
    let mut request = tonic::Request::new(get());
    for name in [
        "authorization",
        "cookie",
        "x-internal",
        "x-app-key",
        "x-csrf-token",
    ] {
        request
            .metadata_mut()
            .insert(name, "of-the-caller".parse().unwrap());
    }
    gateway.sms().get_session(request).await.unwrap();
    for entry in gateway.sandbox.journal().entries() {
        let told = format!("{:?}", entry.request_headers);
        assert!(!told.contains("of-the-caller"), "{told}");
    }
}

#[tokio::test]
async fn odd_keys_and_values_survive() {
    let gateway = Gateway::start().await;
    let odd = fields([
        (
            "PegAGChat distribution for processing",
            text("a \"quoted\" \\ word\n"),
        ),
        ("CBR-IT-path_DBIDs", text("987654321")),
        ("ключ/%2F.\u{1F600}", number(-9_007_199_254_740_991.0)),
        ("operationName", text("DeleteUserData")),
        ("userData", number(0.0)),
        (" ", text("")),
    ]);
    let request = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(odd.clone()),
        ..Default::default()
    };
    gateway.sms().update_user_data(request).await.unwrap();
    let stored = gateway.sandbox.genesys().user_data(SESSION).unwrap();
    assert_eq!(
        stored["ключ/%2F.\u{1F600}"],
        json!(-9_007_199_254_740_991_i64)
    );
    assert_eq!(stored["CBR-IT-path_DBIDs"], json!("987654321"));
    assert_eq!(stored["userData"], json!(0));

    let read = user_data(&gateway, SESSION).await;
    for (key, value) in &odd.fields {
        assert_eq!(read.fields.get(key), Some(value), "{key}");
    }
    let request = DeleteUserDataRequest {
        session_id: SESSION.into(),
        keys: odd.fields.keys().cloned().collect(),
        ..Default::default()
    };
    gateway.sms().delete_user_data(request).await.unwrap();
    let read = user_data(&gateway, SESSION).await;
    assert!(odd.fields.keys().all(|key| !read.fields.contains_key(key)));
    assert_eq!(read.fields["FirstName"], text("Ann"));
}

#[tokio::test]
async fn a_session_is_read_as_the_vendor_shows_it() {
    let gateway = Gateway::start().await;
    let mut data = gateway.sandbox.genesys().user_data(SESSION).unwrap();
    data.insert("BigId".to_owned(), json!(1_307_145_259_662_215_169_u64));
    data.insert("EdgeId".to_owned(), json!(9_007_199_254_740_993_u64));
    gateway.sandbox.genesys().set_user_data(SESSION, data);

    let answer = gateway
        .sms()
        .list_sessions(ListSessionsRequest::default())
        .await;
    let sessions = answer.unwrap().into_inner().sessions;
    let ids: Vec<_> = sessions.iter().map(|session| session.id.as_str()).collect();
    assert_eq!(ids, [SESSION, "0071023821aec012"]);
    let list = only(&gateway, "ListSessions");
    assert_eq!(list.method, Method::GET);
    assert_eq!(list.target, "/api/v2/me/smssessions?fields=*");

    let session = &sessions[0];
    assert_eq!(session.state, "Chatting");
    assert_eq!(
        session.uri,
        "http://127.0.0.1:8090/api/v2/me/smssessions/0071023821aec011"
    );
    assert_eq!(session.capabilities.len(), 13);
    let first = &session.participants[0];
    assert_eq!(
        (
            first.r#type.as_str(),
            first.nickname.as_str(),
            first.participant_id.as_str()
        ),
        ("Agent", "agent1", "1")
    );
    let data = &session.user_data.as_ref().unwrap().fields;
    assert_eq!(data["IdentifyCreateContact"], number(3.0));
    assert_eq!(data["PegAGChat distribution for processing"], number(1.0));
    assert_eq!(data["BigId"], text("1307145259662215169"));
    assert_eq!(data["EdgeId"], text("9007199254740993"));

    let request = get();
    let one = gateway
        .sms()
        .get_session(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(one.session.as_ref(), Some(session));
    let get = only(&gateway, "GetSession");
    assert_eq!(
        (get.method, get.target.as_str()),
        (Method::GET, SESSION_PATH)
    );
}

#[tokio::test]
async fn an_id_is_one_segment_and_addresses_its_session() {
    let gateway = Gateway::start().await;
    let odd = [
        "a/b",
        "..a",
        "...",
        ".a",
        "50%",
        "a%2Fb",
        "%2e%2e",
        "a b",
        "a+b",
        "a?b=1#c",
        "a;b,c",
        "a\\b",
        "käse",
        "\u{1F600}",
        "\u{a0}",
        "a:b@c",
        "~-._",
        "\"<>{}|^`",
        "*",
    ];
    // What a wrongly encoded or twice decoded id would hit instead.
    for neighbour in ["a", "b", "c"] {
        gateway.sandbox.genesys().add_session("agent1", neighbour);
    }
    for id in odd {
        gateway.sandbox.genesys().add_session("agent1", id);
    }
    for id in odd {
        put(&gateway, id, id)
            .await
            .unwrap_or_else(|error| panic!("{id}: {error:?}"));
        assert_eq!(user_data(&gateway, id).await.fields[id], text("here"));
    }
    let written: Vec<_> = gateway.sandbox.genesys().writes();
    let written: Vec<_> = written.iter().map(|write| write.session.as_str()).collect();
    assert_eq!(written, odd);
    for entry in gateway.sandbox.journal().for_vendor("genesys") {
        let segments = entry.target.split('/').count();
        assert_eq!(
            segments,
            if entry.is_login { 4 } else { 6 },
            "{}",
            entry.target
        );
        assert!(entry.is_login || !entry.target.contains('?'));
    }
}

#[tokio::test]
async fn a_reference_id_is_passed_on() {
    let vendor = Vendor::saying(vendor::json(r#"{"statusCode":0,"referenceId":83}"#)).await;
    let gateway = Gateway::start_with(|config| support::relocate(config, &vendor.url)).await;
    let request = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("a", "b")])),
        ..Default::default()
    };
    let answer = gateway.sms().attach_user_data(request).await.unwrap();
    assert_eq!(answer.into_inner().reference_id, Some(83));
}

#[tokio::test]
async fn base_addresses_may_have_a_path_and_tokens_a_host_of_their_own() {
    let settings = Vendor::saying(vendor::json(r#"{"returnCode":"0","id":"1"}"#)).await;
    let tokens = Vendor::saying(vendor::json("{}")).await;
    let gateway = Gateway::start_with(|config| {
        support::relocate(config, &format!("{}/prefix", settings.url));
        let aicc = config.aicc.as_mut().unwrap();
        aicc.token_url = format!("{}/elsewhere/tokenByAkSk", tokens.url)
            .parse()
            .unwrap();
    })
    .await;
    let request = GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    gateway
        .settings()
        .get_agent_settings(request)
        .await
        .unwrap();
    assert_eq!(tokens.seen()[0].target, "/elsewhere/tokenByAkSk");
    let calls = settings.seen();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].target, format!("/prefix{SETTINGS_PATH}/query"));
}

fn documented() -> PersonalSettings {
    let numbers = |numbers: &[&str]| numbers.iter().map(|it| (*it).to_owned()).collect();
    PersonalSettings {
        call_type: CallType::Bidirectional.into(),
        caller_present: numbers(&["12323"]),
        call_number: numbers(&["12323", "232343", "233", "239343"]),
        call_number_default: "23232323".into(),
        caller_present_default: "1212121212".into(),
    }
}

/// What an update with this mask sends beside the ids.
async fn send_masked(
    gateway: &Gateway,
    settings: PersonalSettings,
    mask: &[&str],
) -> serde_json::Value {
    gateway.sandbox.journal().clear();
    let paths = mask.iter().map(|path| (*path).to_owned()).collect();
    let request = UpdateAgentSettingsRequest {
        id: RECORD.into(),
        user_id: USER.into(),
        settings: Some(settings),
        update_mask: Some(FieldMask { paths }),
        ..Default::default()
    };
    gateway
        .settings()
        .update_agent_settings(request)
        .await
        .unwrap();
    let mut sent = body(&only(gateway, "update").request_body);
    let fields = sent.as_object_mut().unwrap();
    assert_eq!(fields.remove("id"), Some(json!(RECORD)));
    assert_eq!(fields.remove("userId"), Some(json!(USER)));
    sent
}

/// Writes `here` under `key`.
async fn put(gateway: &Gateway, session: &str, key: &str) -> Result<(), tonic::Status> {
    let request = UpdateUserDataRequest {
        session_id: session.into(),
        user_data: Some(support::data(&[(key, "here")])),
        ..Default::default()
    };
    gateway.sms().update_user_data(request).await.map(drop)
}

async fn user_data(gateway: &Gateway, session: &str) -> Struct {
    let request = GetSessionRequest {
        session_id: session.into(),
        ..Default::default()
    };
    let answer = gateway.sms().get_session(request).await.unwrap();
    let found = answer.into_inner().session.unwrap();
    assert_eq!(found.id, session);
    found.user_data.unwrap()
}

/// The only request of its kind.
fn only(gateway: &Gateway, operation: &str) -> Entry {
    let mut entries = gateway.sandbox.journal().entries();
    entries.retain(|entry| entry.operation == operation);
    assert_eq!(entries.len(), 1, "{operation}: {entries:?}");
    entries.remove(0)
}

fn body(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

fn written(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}
