//! Credentials, cookies, CSRF.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use serde_json::json;

use super::{Client, SESSION, handle, lost, read};
use crate::sandbox::genesys::{GENESYS_PASSWORD, Genesys};

#[test]
fn wrong_credentials_are_not_authenticated() {
    let genesys = Genesys::default();
    let stranger = Client::new("agent3");
    assert_eq!(stranger.get(&genesys, "/api/v2/me").0, 401);
    assert_eq!(stranger.get(&genesys, "/api/v2/me").1["statusCode"], 20);
    genesys.add_agent("agent3", GENESYS_PASSWORD);
    assert_eq!(
        stranger.get(&genesys, "/api/v2/me").1["user"]["userName"],
        "agent3"
    );
    let anonymous = Request::get("/api/v2/me").body(Bytes::new()).unwrap();
    assert_eq!(handle(&genesys, &anonymous).response.status(), 401);
}

#[test]
fn credentials_are_read_as_latin_1() {
    let genesys = Genesys::default();
    genesys.add_agent("renée", "passé");
    let login = |bytes: &[u8]| {
        let header = format!("Basic {}", STANDARD.encode(bytes));
        let request = Request::get("/api/v2/me").header("authorization", header);
        handle(&genesys, &request.body(Bytes::new()).unwrap())
            .response
            .status()
            .as_u16()
    };
    assert_eq!(login(b"ren\xe9e:pass\xe9"), 200);
    assert_eq!(login("renée:passé".as_bytes()), 401);
}

#[test]
fn the_first_answer_brings_cookies_and_every_get_the_token() {
    let genesys = Genesys::default();
    let mut agent = Client::new("agent1");
    let first = agent.send(&genesys, "GET", "/api/v2/me", "").response;
    let cookies: Vec<_> = first
        .headers()
        .get_all("set-cookie")
        .iter()
        .map(|it| it.to_str().unwrap())
        .collect();
    assert!(cookies[0].starts_with("JSESSIONID=") && cookies[0].ends_with("; Path=/; HttpOnly"));
    assert!(cookies[1].starts_with("BIGipServerGWS=node1."));
    assert_eq!(first.headers()["x-csrf-header"], "X-CSRF-TOKEN");
    agent.learn(&first);
    let second = agent.send(&genesys, "GET", SESSION, "").response;
    assert!(!second.headers().contains_key("set-cookie"));
    assert_eq!(second.headers()["x-csrf-token"], agent.csrf.as_str());
    assert_eq!(genesys.http_sessions(), 1);
}

#[test]
fn a_post_needs_both_cookies_and_the_token() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    let update = r#"{"operationName":"UpdateUserData","userData":{"k":"v"}}"#;
    let post = |client: &Client| client.send(&genesys, "POST", SESSION, update);
    let (own, balancer) = agent.cookies.split_once("; ").unwrap();
    for broken in [
        Client {
            csrf: String::new(),
            ..agent.clone()
        },
        Client {
            csrf: "wrong".to_owned(),
            ..agent.clone()
        },
        Client {
            cookies: String::new(),
            ..agent.clone()
        },
        Client {
            cookies: own.to_owned(),
            ..agent.clone()
        },
        Client {
            cookies: balancer.to_owned(),
            ..agent.clone()
        },
    ] {
        assert!(lost(&post(&broken)), "{}", broken.cookies);
    }
    assert_eq!(genesys.http_sessions(), 1);
    assert!(post(&agent).applied);
    genesys.expire_sessions();
    assert!(lost(&post(&agent)));
}

#[test]
fn without_csrf_protection_a_post_starts_a_session() {
    let genesys = Genesys::default();
    genesys.set_csrf(false);
    let answer = Client::new("agent1").send(
        &genesys,
        "POST",
        SESSION,
        r#"{"operationName":"UpdateUserData","userData":{"k":1}}"#,
    );
    assert!(answer.applied && answer.response.headers().contains_key("set-cookie"));
    assert!(!answer.response.headers().contains_key("x-csrf-token"));
}

#[test]
fn two_agents_never_share_a_session() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    let mixed = Client {
        agent: "agent2".to_owned(),
        ..agent
    };
    assert!(lost(&mixed.send(&genesys, "GET", "/api/v2/me", "")));
    assert_eq!(genesys.mixed_sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_forgotten() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    let update = json!({"operationName": "UpdateUserData", "userData": {"k": "v"}});
    tokio::time::advance(Duration::from_secs(1799)).await;
    assert_eq!(agent.post(&genesys, &update).0, 200);
    tokio::time::advance(Duration::from_secs(1800)).await;
    assert_eq!(agent.post(&genesys, &update).0, 403);
}

#[test]
fn contact_centre_sessions_are_counted_and_ending_one_kills_the_http_session() {
    let genesys = Genesys::default();
    let agent = Client::logged_in(&genesys, "agent1");
    let post = |name: &str| {
        agent.send(
            &genesys,
            "POST",
            "/api/v2/me",
            &json!({"operationName": name}).to_string(),
        )
    };
    assert_eq!(read(&post("StartContactCenterSession")).1["statusCode"], 0);
    assert_eq!(read(&post("EndContactCenterSession")).1["statusCode"], 0);
    assert!(lost(&post("StartContactCenterSession")));
    assert_eq!(genesys.contact_center_session_calls(), 2);
}
