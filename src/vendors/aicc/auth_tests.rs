//! What a login sends, how its answers are read, and what none of it shows.

use super::*;
use crate::upstream::testing;
use crate::vendors::testing::{assert_logins_fail_by_status, login_failure};

const TOKEN_PATH: &str = "/apigovernance/api/oauth/tokenByAkSk";

fn login() -> Request<Bytes> {
    let secret = SecretString::from("s3cret-of-the-app");
    let life = Duration::from_secs(600);
    request("my-app", &secret, TOKEN_PATH, life).expect("a request")
}

fn read(status: u16, body: &str) -> Result<Granted, LoginError> {
    let reply = testing::reply(status, &[], body);
    granted(&reply, &Redactor::of(&login()))
}

fn failure(status: u16, body: &str) -> &'static str {
    login_failure(&read(status, body).err().expect("no token"))
}

fn life(expires: &str) -> u64 {
    let answer = format!(r#"{{"AccessToken":"t","Expires":{expires}}}"#);
    let granted: Granted = serde_json::from_str(&answer).unwrap();
    granted.life(Duration::from_secs(600)).as_secs()
}

#[test]
fn the_life_is_the_shorter_one_that_makes_sense() {
    assert_eq!(life(r#""600""#), 600);
    assert_eq!(life(r#"" 300 ""#), 300);
    assert_eq!(life("120"), 120);
    for absurd in [r#""0""#, r#""1699999999""#, r#""soon""#, "null", "-5", "{}"] {
        assert_eq!(life(absurd), 600, "{absurd}");
    }
    let missing: Granted = serde_json::from_str(r#"{"AccessToken":"t"}"#).unwrap();
    assert_eq!(missing.life(Duration::from_secs(60)).as_secs(), 60);
}

#[test]
fn the_documented_login() {
    let request = login();
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri().path(), TOKEN_PATH);
    assert_eq!(request.headers()["x-token-expire"], "600");
    assert_eq!(request.headers()["content-type"], "application/json");
    let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    let expected = serde_json::json!({
        "app_key": "my-app", "app_secret": "s3cret-of-the-app",
    });
    assert_eq!(body, expected);
}

#[test]
fn the_documented_answer() {
    let answer = r#"{"AccessToken":"abc","ApplyType":"Bearer","CreateTime":"1700000000",
        "Expires":"300","Scope":"all","AppKey":"my-app","UserID":"u"}"#;
    let granted = read(200, answer).expect("a token");
    assert_eq!(granted.access_token, "abc");
    assert_eq!(granted.life(Duration::from_secs(600)).as_secs(), 300);
}

#[test]
fn how_a_login_fails() {
    assert_logins_fail_by_status(failure, "unavailable");
    for (status, body, expected) in [
        (
            403,
            r#"{"errorCode":"0","exceptionInfo":"auth fail!"}"#,
            "refused",
        ),
        (500, r#"{"returnCode":"1"}"#, "unavailable"),
        (200, r#"{"returnCode":"0401000"}"#, "refused"),
        (200, r#"{"returnCode":-1,"AccessToken":""}"#, "refused"),
        (
            200,
            r#"{"errorCode":"0","exceptionInfo":"auth fail!"}"#,
            "refused",
        ),
        (200, r#"{"returnCode":"0"}"#, "unreadable"),
        (200, r#"{"returnDesc":"welcome"}"#, "unreadable"),
        (200, "{}", "unreadable"),
        (200, r#"{"AccessToken":""}"#, "unreadable"),
        (200, r#"{"AccessToken":null}"#, "unreadable"),
        (200, r#"{"access_token":"abc"}"#, "unreadable"),
        (200, r#"["abc"]"#, "unreadable"),
        (200, r#"["abc","600"]"#, "unreadable"),
        (200, "\n [\"abc\",\"600\"]", "unreadable"),
        (200, r#"{"exceptionInfo":7}"#, "unreadable"),
    ] {
        assert_eq!(failure(status, body), expected, "{body} in {status}");
    }
    let page = read(200, "<html>please log in</html>").err();
    let told = page.expect("no login").to_string();
    assert!(told.ends_with("it is an HTML page"), "{told}");
}

#[test]
fn no_failure_repeats_a_secret() {
    for (status, body) in [
        (
            401,
            r#"{"returnDesc":"s3cret-of-the-app is wrong for my-app"}"#,
        ),
        (500, r#"{"exceptionInfo":"s3cret-of-the-app and my-app"}"#),
        (403, "s3cret-of-the-app and my-app"),
        (
            200,
            r#"{"returnCode":"my-app","returnDesc":"s3cret-of-the-app is wrong"}"#,
        ),
        (
            200,
            r#"{"AccessToken":["s3cret-of-the-app"],"AppKey":"my-app"}"#,
        ),
        (200, r#"{"AccessToken":"s3cret-of-the-app"#),
    ] {
        let error = read(status, body).err().expect("no token");
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(!shown.contains("my-app"), "{shown}");
        }
    }
}

#[test]
fn both_headers_go_out_and_debug_shows_neither() {
    let bearer = Bearer::new("my-app", "token-of-the-app", "s3cret".into()).unwrap();
    let mut request = Request::new(Bytes::new());
    bearer.sign(&mut request);
    assert_eq!(request.headers()["x-app-key"], "my-app");
    assert_eq!(
        request.headers()["authorization"],
        "Bearer token-of-the-app"
    );
    let shown = format!("{request:?}");
    assert!(!shown.contains("token-of-the-app"), "{shown}");
    assert!(!shown.contains("my-app"), "{shown}");
    // What the vendor echoes of it is known to the redactor.
    let redactor = Redactor::of(&request).knowing(&bearer.secrets());
    let clean = redactor.clean("token token-of-the-app of my-app with s3cret is illegal");
    assert_eq!(clean, "token *** of *** with *** is illegal");
}

#[test]
fn a_token_that_fits_no_header_is_unreadable() {
    let error = Bearer::new("my-app", "to\nken", "s3cret".into())
        .err()
        .expect("no header");
    assert!(matches!(error, LoginError::Unreadable { .. }));
    assert!(!format!("{error:?} {error}").contains("ken\""));
}
