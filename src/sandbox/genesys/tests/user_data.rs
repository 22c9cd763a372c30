//! Reading and writing, as documented and beyond.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{Client, SESSION, handle};
use crate::sandbox::genesys::{GENESYS_PASSWORD, Genesys};

#[test]
fn the_documented_samples_are_answered_as_documented() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    let before = genesys.user_data("0071023821aec011").unwrap();
    let yes = (200, json!({"statusCode": 0}));
    let attach = json!({"operationName": "AttachUserData", "userData": {"UserData1": "DATA1", "UserData2": 123_456_789}});
    assert_eq!(agent.post(&genesys, &attach), yes);
    let update = json!({"operationName": "UpdateUserData", "userData": {"UserData1": 987_654_321, "UserData2": "DATAUPDATE-@123"}});
    assert_eq!(agent.post(&genesys, &update), yes);
    let data = genesys.user_data("0071023821aec011").unwrap();
    assert_eq!(
        (&data["UserData1"], &data["UserData2"]),
        (&json!(987_654_321), &json!("DATAUPDATE-@123"))
    );
    let delete =
        json!({"operationName": "DeleteUserData", "keys": ["UserData1", "UserData2", "absent"]});
    assert_eq!(agent.post(&genesys, &delete), yes);
    assert_eq!(genesys.user_data("0071023821aec011").unwrap(), before);
    let references: Vec<_> = genesys
        .writes()
        .iter()
        .map(|write| write.reference_id)
        .collect();
    assert_eq!(references, [1, 2, 3]);
}

#[test]
fn sessions_are_read_one_by_one_and_together() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    let (status, list) = agent.get(&genesys, "/api/v2/me/smssessions?fields=*");
    assert_eq!((status, &list["statusCode"]), (200, &json!(0)));
    assert_eq!(list["smssessions"].as_array().unwrap().len(), 2);
    let (_, one) = agent.get(&genesys, SESSION);
    assert_eq!(one["smssession"], list["smssessions"][0]);
    let session = &one["smssession"];
    assert_eq!(
        session["uri"],
        "http://127.0.0.1:8090/api/v2/me/smssessions/0071023821aec011"
    );
    assert_eq!(session["state"], "Chatting");
    assert_eq!(session["participants"][0]["participantId"], "1");
    assert_eq!(
        session["userData"]["PegAGChat distribution for processing"],
        1
    );
    assert_eq!(session["userData"]["ContactId"], Value::Null);
    let (_, bare) = agent.get(&genesys, "/api/v2/me/smssessions");
    assert_eq!(bare["uris"][0], session["uri"]);
}

#[test]
fn the_sessions_of_another_agent_are_not_there() {
    let genesys = Genesys::default();
    let other = Client::logged_in(&genesys, "agent2");
    assert_eq!(
        other.get(&genesys, SESSION),
        (
            404,
            json!({"statusCode": 6, "statusMessage": "Resource not found"})
        )
    );
    let update = json!({"operationName": "UpdateUserData", "userData": {"k": "v"}});
    assert_eq!(other.post(&genesys, &update).0, 404);
    assert!(genesys.writes().is_empty());
    assert_eq!(other.get(&genesys, "/api/v2/me/nothing").1["statusCode"], 6);
}

#[test]
fn what_is_missing_or_wrong_is_refused_with_the_documented_codes() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    let table = [
        (json!({}), 1),
        (json!({"operationName": "AttachUserData"}), 1),
        (
            json!({"operationName": "UpdateUserData", "userData": {}}),
            1,
        ),
        (
            json!({"operationName": "UpdateUserData", "userData": []}),
            2,
        ),
        (json!({"operationName": "Explode"}), 2),
        (json!({"operationName": "DeleteUserData", "keys": [1]}), 2),
        (json!([]), 2),
    ];
    for (body, code) in table {
        let (status, answer) = agent.post(&genesys, &body);
        assert_eq!(
            (status, &answer["statusCode"]),
            (400, &json!(code)),
            "{body}"
        );
        assert!(answer["statusMessage"].is_string());
    }
    assert_eq!(genesys.dangerous_deletes(), 0);
    assert!(genesys.writes().is_empty());
}

#[test]
fn a_delete_without_keys_is_refused_and_counted() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    for body in [
        json!({"operationName": "DeleteUserData"}),
        json!({"operationName": "DeleteUserData", "keys": []}),
    ] {
        assert_eq!(agent.post(&genesys, &body).1["statusCode"], 1);
    }
    assert_eq!(genesys.dangerous_deletes(), 2);
    assert!(!genesys.user_data("0071023821aec011").unwrap().is_empty());
}

#[test]
fn an_id_is_decoded_exactly_once() {
    let genesys = Genesys::default();
    genesys.add_session("agent1", "a/b c%");
    genesys.add_session("agent1", "a%2Fb");
    let agent = Client::logged_in(&genesys, "agent1");
    let id = |path: &str| agent.get(&genesys, path).1["smssession"]["id"].clone();
    assert_eq!(id("/api/v2/me/smssessions/a%2Fb%20c%25"), "a/b c%");
    assert_eq!(id("/api/v2/me/smssessions/a%252Fb?fields=*"), "a%2Fb");
    for path in [
        "/api/v2/me/smssessions/a/b",
        "/api/v2/me/smssessions/a%2",
        "/api/v2/me/smssessions/%ff",
        "/api/v2/me/smssessions/",
    ] {
        assert_eq!(agent.get(&genesys, path).0, 404, "{path}");
    }
}

#[test]
fn methods_and_media_types_count() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    assert_eq!(
        agent.send(&genesys, "PUT", SESSION, "").response.status(),
        405
    );
    genesys.set_csrf(false);
    let pair = STANDARD.encode(format!("agent1:{GENESYS_PASSWORD}"));
    let form = Request::post(SESSION).header("authorization", format!("Basic {pair}"));
    assert_eq!(
        handle(&genesys, &form.body(Bytes::new()).unwrap())
            .response
            .status(),
        415
    );
}

#[test]
fn a_reset_brings_the_seeds_back() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    agent.post(
        &genesys,
        &json!({"operationName": "DeleteUserData", "keys": ["ContactId"]}),
    );
    let theirs = [("desktop".to_owned(), json!("wrote this"))]
        .into_iter()
        .collect();
    genesys.set_user_data("0071023821aec012", theirs);
    genesys.reset();
    assert_eq!(
        genesys.sessions("agent1"),
        Genesys::default().sessions("agent1")
    );
    assert!(genesys.writes().is_empty() && genesys.http_sessions() == 0);
}
