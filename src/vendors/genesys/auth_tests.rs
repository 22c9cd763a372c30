//! What a session sends along, and what it keeps to itself.

use super::*;
use crate::upstream::secret::Secret;
use crate::vendors::testing::{assert_logins_fail_by_status, login_failure};

const WRITE: &str = "/api/v2/me/smssessions/0071023821aec011";

fn session() -> Session {
    session_at("https://gws.example.com")
}

fn session_at(base: &str) -> Session {
    let account = Account {
        username: "agent1".into(),
        password: Secret::fixed("hunter2"),
    };
    let base = Url::parse(base).unwrap();
    Session::begin(&account, &base).expect("a password that fits")
}

fn signed(session: &Session) -> Request<Bytes> {
    let mut request = Request::builder().uri(WRITE).body(Bytes::new()).unwrap();
    session.sign(&mut request);
    request
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

fn header<'a>(request: &'a Request<Bytes>, name: &str) -> Option<&'a str> {
    let value = request.headers().get(name)?;
    Some(value.to_str().unwrap())
}

#[test]
fn a_fresh_session_has_basic_credentials_only() {
    let request = signed(&session());
    let basic = "Basic YWdlbnQxOmh1bnRlcjI=";
    assert_eq!(header(&request, "authorization"), Some(basic));
    assert_eq!(request.headers().len(), 1);
}

#[test]
fn all_cookies_and_the_csrf_header_go_along() {
    let session = session();
    session.answered(&headers(&[
        ("set-cookie", "JSESSIONID=one; Path=/; HttpOnly; Secure"),
        ("set-cookie", "balancer=node-7; Path=/"),
        ("set-cookie", "elsewhere=x; Path=/ui"),
        ("x-csrf-header", "X-CSRF-TOKEN"),
        ("x-csrf-token", "first"),
    ]));
    let request = signed(&session);
    let cookies = header(&request, "cookie").unwrap();
    let mut cookies: Vec<_> = cookies.split("; ").collect();
    cookies.sort_unstable();
    assert_eq!(cookies, ["JSESSIONID=one", "balancer=node-7"]);
    assert_eq!(header(&request, "x-csrf-token"), Some("first"));
}

#[test]
fn cookies_or_a_csrf_header_begin_a_session_each_by_itself() {
    let csrf = [("x-csrf-header", "X-CSRF-TOKEN"), ("x-csrf-token", "first")];
    let cookie = [("set-cookie", "JSESSIONID=one; Path=/")];
    for (answer, name) in [(&csrf[..], "x-csrf-token"), (&cookie, "cookie")] {
        let session = session();
        assert!(!session.has_begun());
        session.answered(&headers(answer));
        assert!(session.has_begun(), "{name}");
        assert!(header(&signed(&session), name).is_some(), "{name}");
    }
}

/// Servers bind their cookies to the path that they are mounted at.
#[test]
fn cookies_of_a_base_url_with_a_path_go_along() {
    for path in ["/gws", "/gws/api", "/"] {
        let session = session_at("https://example.com/gws");
        let cookie = format!("JSESSIONID=one; Path={path}");
        let mut answer = HeaderMap::new();
        answer.insert("set-cookie", HeaderValue::from_str(&cookie).unwrap());
        session.answered(&answer);
        let request = signed(&session);
        assert_eq!(header(&request, "cookie"), Some("JSESSIONID=one"), "{path}");
    }
}

/// A proxy of the operator's may add the TLS on the way, and a lost cookie is a refused write.
#[test]
fn secure_cookies_go_along_over_plain_http_too() {
    for base in ["http://gws.internal:8080", "http://gws.internal/gws"] {
        for path in ["/", "/gws/api/v2/me", "/api/v2/me"] {
            let session = session_at(base);
            let cookie = format!("JSESSIONID=one; Path={path}; HttpOnly; Secure");
            let mut answer = HeaderMap::new();
            answer.insert("set-cookie", HeaderValue::from_str(&cookie).unwrap());
            session.answered(&answer);
            let goes = path == "/" || path.starts_with("/gws") == base.ends_with("/gws");
            let expected = goes.then_some("JSESSIONID=one");
            let request = signed(&session);
            assert_eq!(header(&request, "cookie"), expected, "{path} at {base}");
        }
    }
}

/// The header is made once where every cookie goes everywhere, and for each request where not.
#[test]
fn cookies_that_end_or_belong_elsewhere_do_not_keep_the_others_back() {
    for other in [
        "Path=/; Max-Age=3600",
        "Path=/api/v2/me",
        "Path=/ui",
        "Path=/; Max-Age=0",
    ] {
        let session = session();
        let other_one = format!("other=x; {other}");
        let mut answer = HeaderMap::new();
        answer.append(
            "set-cookie",
            HeaderValue::from_static("JSESSIONID=one; Path=/"),
        );
        answer.append("set-cookie", HeaderValue::from_str(&other_one).unwrap());
        session.answered(&answer);
        let request = signed(&session);
        let cookies = header(&request, "cookie").unwrap();
        let goes = other.contains("3600") || other.contains("/api");
        assert!(cookies.contains("JSESSIONID=one"), "{other}: {cookies}");
        assert_eq!(cookies.contains("other=x"), goes, "{other}: {cookies}");
        // What was told to end at once is no cookie any more.
        let made_once = session.state.load().cookies.is_some();
        assert_eq!(made_once, other.ends_with("Max-Age=0"), "{other}");
    }
}

/// The balancer may move the session with any answer, and the token moves with it.
#[test]
fn later_answers_change_them_and_silent_ones_do_not() {
    let session = session();
    session.answered(&headers(&[
        ("set-cookie", "JSESSIONID=one; Path=/"),
        ("x-csrf-header", "X-CSRF-TOKEN"),
        ("x-csrf-token", "first"),
    ]));
    session.answered(&HeaderMap::new());
    session.answered(&headers(&[("x-csrf-header", "X-CSRF-TOKEN")]));
    session.answered(&headers(&[("set-cookie", "JSESSIONID=two; Path=/")]));
    let request = signed(&session);
    assert_eq!(header(&request, "cookie"), Some("JSESSIONID=two"));
    assert_eq!(header(&request, "x-csrf-token"), Some("first"));
    session.answered(&headers(&[
        ("x-csrf-header", "X-OTHER"),
        ("x-other", "second"),
        ("set-cookie", "JSESSIONID=; Path=/; Max-Age=0"),
    ]));
    let request = signed(&session);
    assert_eq!(header(&request, "cookie"), None);
    assert_eq!(header(&request, "x-csrf-token"), None);
    assert_eq!(header(&request, "x-other"), Some("second"));
}

/// Or each request would be longer than the one before, until nobody takes it.
#[test]
fn cookies_without_end_are_not_collected() {
    for life in ["", "; Max-Age=3600"] {
        let session = session();
        session.answered(&headers(&[("set-cookie", "JSESSIONID=one; Path=/")]));
        for number in 0..1000 {
            let mut answer = HeaderMap::new();
            let cookie = format!("c{number}=x; Path=/{life}");
            answer.append("set-cookie", HeaderValue::from_str(&cookie).unwrap());
            session.answered(&answer);
        }
        let request = signed(&session);
        let cookies = header(&request, "cookie").unwrap();
        assert_eq!(cookies.split("; ").count(), MOST_COOKIES);
        // Those that are there go on to change.
        session.answered(&headers(&[
            ("set-cookie", "JSESSIONID=two; Path=/"),
            ("x-csrf-header", "X-CSRF-TOKEN"),
            ("x-csrf-token", "first"),
        ]));
        let request = signed(&session);
        let cookies = header(&request, "cookie").unwrap();
        assert!(cookies.contains("JSESSIONID=two"), "{cookies}");
        assert_eq!(header(&request, "x-csrf-token"), Some("first"));
    }
}

#[test]
fn strange_headers_are_survived() {
    let session = session();
    for value in [
        &b"\xff\xfe"[..],
        b"",
        b"=",
        b";;;",
        b"a",
        b"a=b; Domain=other.example",
    ] {
        let mut map = HeaderMap::new();
        let value = HeaderValue::from_bytes(value).unwrap();
        map.insert("set-cookie", value.clone());
        map.insert("x-csrf-header", value);
        session.answered(&map);
    }
    assert_eq!(header(&signed(&session), "cookie"), None);
}

#[test]
fn debug_of_a_signed_request_shows_no_credential() {
    let session = session();
    session.answered(&headers(&[
        ("set-cookie", "JSESSIONID=cookie-of-kim; Path=/"),
        ("x-csrf-header", "X-CSRF-TOKEN"),
        ("x-csrf-token", "token-of-kim"),
    ]));
    let shown = format!("{:?}", signed(&session));
    for secret in ["YWdlbnQx", "hunter2", "cookie-of-kim", "token-of-kim"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(shown.matches("Sensitive").count(), 3);
}

#[test]
fn an_unreadable_password_is_told_without_it() {
    let account = Account {
        username: "agent1".into(),
        password: Secret::file("gone/password".into()),
    };
    let base = Url::parse("https://gws.example.com").unwrap();
    let error = Session::begin(&account, &base).err().expect("no such file");
    assert!(matches!(error, LoginError::Secret { .. }));
    assert!(!format!("{account:?}").contains("hunter2"));
}

#[test]
fn what_counts_as_a_login() {
    // (body, with a session begun, without one)
    for (body, with, without) in [
        (r#"{"statusCode":0}"#, true, true),
        (r#"{"user":{}}"#, true, false),
        ("{}", true, false),
        (r#"{"statusCode":{}}"#, false, false),
        (r#"{"statusCode":"0"}"#, false, false),
        ("", false, false),
        ("[]", false, false),
        ("<html>please log in</html>", false, false),
    ] {
        let reply = crate::upstream::testing::reply(200, &[], body);
        assert_eq!(inferred::is_login(&reply, true), with, "{body}");
        assert_eq!(inferred::is_login(&reply, false), without, "{body}");
    }
}

fn refused(status: u16, body: &str) -> LoginError {
    let session = session();
    let redactor = Redactor::of(&signed(&session)).knowing(&session.secrets());
    let reply = crate::upstream::testing::reply(status, &[], body);
    granted(reply, false, &redactor).expect_err("no login")
}

/// None is made again at once: accounts lock.
#[test]
fn how_a_login_fails() {
    let failure = |status, body: &str| login_failure(&refused(status, body));
    assert_logins_fail_by_status(failure, "unavailable for good");
    for (status, body, expected) in [
        (403, "Missing or invalid Csrf token", "refused"),
        (404, r#"{"statusCode":6}"#, "misdirected"),
        (200, r#"{"statusCode":3}"#, "refused"),
        (200, r#"{"statusCode":8}"#, "refused"),
        (200, r#"{"statusCode":20}"#, "refused"),
        (200, r#"{"statusCode":99}"#, "refused"),
        (500, r#"{"statusCode":3}"#, "unavailable for good"),
        // The vendor failed, whatever the status says.
        (200, r#"{"statusCode":4}"#, "unavailable for good"),
        (200, r#"{"statusCode":9}"#, "unavailable for good"),
        (403, r#"{"statusCode":4}"#, "unavailable for good"),
        (302, r#"{"statusCode":4}"#, "unavailable for good"),
    ] {
        assert_eq!(failure(status, body), expected, "{body} in {status}");
    }
}

#[test]
fn no_failure_repeats_a_secret() {
    const ECHO: &str = "hunter2, or YWdlbnQxOmh1bnRlcjI=, is wrong";
    let json = format!(r#"{{"statusCode":4,"statusMessage":"{ECHO}"}}"#);
    for (status, body) in [
        (200, json.as_str()),
        (401, ECHO),
        (403, ECHO),
        (404, ECHO),
        (429, ECHO),
        (500, ECHO),
        (503, ECHO),
    ] {
        let error = refused(status, body);
        let told = error.to_string();
        assert!(told.contains("is wrong"), "{told}");
        for shown in [told, format!("{error:?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(!shown.contains("YWdlbnQx"), "{shown}");
        }
    }
}
