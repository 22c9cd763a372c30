//! Every answer that the vendor, or something in front of it, is known to give.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use proptest::prelude::*;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;
use crate::upstream::testing::{ADD, CHANGE, CREATE, READ, failure, reply, verdict};

const PAGE: &str = "<html><body>Forbidden</body></html>";

fn envelope(code: i64) -> String {
    format!(r#"{{"statusCode":{code},"statusMessage":"the vendor's words"}}"#)
}

fn judged(status: u16, body: impl AsRef<[u8]>) -> String {
    verdict(&Genesys::judge(&CHANGE, reply(status, &[], body)))
}

/// The vendor's table, with the contract's meaning of each code.
const CODES: [(i64, &str); 25] = [
    (1, "Invalid"),
    (2, "State"),
    (3, "Denied"),
    (4, "Failed"),
    (5, "Denied"),
    (6, "NotFound"),
    (7, "Failed"),
    (8, "Credentials"),
    (9, "Unfinished"),
    (10, "Invalid"),
    (11, "State"),
    (12, "State"),
    (13, "State"),
    (14, "State"),
    (15, "State"),
    (16, "State"),
    (17, "State"),
    (18, "AlreadyExists"),
    (19, "State"),
    (20, "credentials refused"),
    // Of releases to come, or of another product.
    (21, "Failed"),
    (99, "Failed"),
    (-1, "Failed"),
    (i64::MAX, "Failed"),
    (i64::MIN, "Failed"),
];

/// The body goes first: a code means the same with any HTTP status, 200 among them.
#[test]
fn a_code_means_the_same_with_every_http_status() {
    for (code, expected) in CODES {
        for status in [200, 201, 400, 403, 404, 409, 418, 429, 500, 502, 503, 504] {
            assert_eq!(
                judged(status, envelope(code)),
                expected,
                "{code} in {status}"
            );
        }
        // Which is about credentials, whatever else is said.
        assert_eq!(judged(401, envelope(code)), "credentials refused", "{code}");
    }
}

#[test]
fn the_code_and_the_words_are_kept() {
    for (code, _) in CODES {
        let error = Genesys::judge(&READ, reply(200, &[], envelope(code)))
            .err()
            .unwrap();
        assert_eq!(error.code(), Some(code.to_string().as_str()));
        assert_eq!(error.status(), Some(StatusCode::OK));
        assert!(error.to_string().ends_with("the vendor's words"), "{error}");
    }
}

/// HTTP statuses whose answer says nothing of its own.
const STATUSES: [(u16, &str); 32] = [
    (200, "yes"),
    (201, "yes"),
    (204, "yes"),
    (301, "Failed"),
    (302, "Failed"),
    (304, "Failed"),
    (307, "Failed"),
    (308, "Failed"),
    (400, "Invalid"),
    (401, "credentials refused"),
    (402, "Failed"),
    (403, "Denied"),
    (404, "NotFound"),
    (405, "Misconfigured"),
    (406, "Failed"),
    (408, "bare 408"),
    (409, "Conflict"),
    (410, "Failed"),
    (411, "Failed"),
    (413, "TooLarge"),
    (415, "Failed"),
    (418, "Blocked"),
    (422, "Invalid"),
    (423, "Failed"),
    (429, "throttled None"),
    (431, "Failed"),
    (500, "Failed"),
    (501, "Misconfigured"),
    (502, "bare 502"),
    (503, "bare 503"),
    (504, "bare 504"),
    (505, "Failed"),
];

#[test]
fn without_a_code_the_http_status_decides() {
    let bodies = [
        "",
        "plain text",
        "{}",
        "[]",
        "null",
        "7",
        r#"{"message":"no"}"#,
        // A success within an error is none.
        r#"{"statusCode":0}"#,
        // Not the vendor's code.
        r#"{"statusCode":"3"}"#,
        r#"{"statusCode":null}"#,
        r#"{"statusCode":{}}"#,
        r#"{"statusCode":[3]}"#,
        r#"{"error":{"statusCode":3}}"#,
        // Torn.
        r#"{"statusCode":3"#,
    ];
    for (status, expected) in STATUSES {
        for body in bodies {
            assert_eq!(judged(status, body), expected, "{body} in {status}");
        }
        let page = if status == 403 { "Blocked" } else { expected };
        assert_eq!(judged(status, PAGE), page, "a page in {status}");
    }
}

/// Serde takes an array for a struct, field by field; the vendor's answers are objects.
#[test]
fn an_array_is_no_envelope() {
    for body in ["[3]", r#"[3,"no"]"#, "[20]", " [0]"] {
        assert_eq!(judged(200, body), "yes", "left to the operation to read");
        assert_eq!(judged(404, body), "NotFound", "{body}");
    }
}

/// The code is what matters: what stands beside it must not hide it.
#[test]
fn odd_neighbours_do_not_hide_the_code() {
    for body in [
        &br#"{"statusCode":3}"#[..],
        br#"{"statusMessage":null,"statusCode":3}"#,
        br#"{"statusCode":3,"statusMessage":42}"#,
        br#"{"statusCode":3,"statusMessage":{"text":"no"}}"#,
        b"{\"statusCode\":3,\"statusMessage\":\"verweigert f\xfcr Sie\"}",
        br#"{"statusCode":3,"statusMessage":"not \ud83d"}"#,
        b"\r\n {\"extra\":[{}], \"statusCode\" : 3 }\n",
    ] {
        let told = String::from_utf8_lossy(body).into_owned();
        assert_eq!(judged(200, body), "Denied", "{told}");
        assert_eq!(judged(500, body), "Denied", "{told}");
    }
}

/// API gateways in front spell the HTTP status as a `statusCode` of their own.
#[test]
fn a_code_that_repeats_the_http_status_is_not_the_vendors() {
    for (status, expected) in STATUSES.into_iter().filter(|(status, _)| *status >= 300) {
        assert_eq!(
            judged(status, envelope(status.into())),
            expected,
            "{status}"
        );
    }
    assert_eq!(judged(200, envelope(200)), "Failed");
    assert_eq!(judged(502, envelope(503)), "Failed");
}

#[test]
fn a_lost_csrf_token_or_cookie_is_cured_by_a_login_and_nothing_else_in_a_403() {
    for body in [
        "Missing or invalid Csrf token",
        "missing or invalid CSRF token\n",
        "<html><title>403</title>Missing or invalid Csrf token</html>",
        r#"{"statusCode":3,"statusMessage":"Missing or invalid Csrf token"}"#,
        r#"{"message":"Missing or invalid Csrf token"}"#,
    ] {
        assert_eq!(judged(403, body), "credentials refused", "{body}");
        assert_ne!(judged(400, body), "credentials refused", "{body}");
    }
    for (body, expected) in [
        ("Forbidden", "Denied"),
        ("csrf", "Denied"),
        ("", "Denied"),
        (PAGE, "Blocked"),
        (" \n <!doctype html>", "Blocked"),
        (r#"{"statusCode":3}"#, "Denied"),
        (r#"{"statusCode":5}"#, "Denied"),
        (r#"{"statusCode":20}"#, "credentials refused"),
    ] {
        assert_eq!(judged(403, body), expected, "{body}");
    }
    let declared = reply(403, &[("content-type", "Text/HTML; charset=x")], "no tags");
    assert_eq!(verdict(&Genesys::judge(&CHANGE, declared)), "Blocked");
}

#[test]
fn a_vendor_that_names_a_time_is_heard() {
    let judged = |status, value: &str| {
        let reply = reply(status, &[("retry-after", value)], "");
        verdict(&Genesys::judge(&ADD, reply))
    };
    assert_eq!(judged(429, "7"), "throttled Some(7s)");
    assert_eq!(judged(503, "7"), "busy 7s");
    assert_eq!(judged(503, "0"), "busy 0ns");
    for nonsense in ["", "soon", "-1", "1.5"] {
        assert_eq!(judged(429, nonsense), "throttled None", "{nonsense:?}");
        assert_eq!(judged(503, nonsense), "bare 503", "{nonsense:?}");
    }
    for other in [502, 504, 408] {
        assert_eq!(judged(other, "7"), format!("bare {other}"));
    }
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(judged(429, past), "throttled Some(0ns)");
    assert_eq!(judged(503, past), "busy 0ns");
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    let reply = reply(503, &[("retry-after", &date)], "");
    let Err(Error::Busy { retry_after, .. }) = Genesys::judge(&ADD, reply) else {
        panic!("a date is a time too");
    };
    assert!(
        (55..=60).contains(&retry_after.as_secs()),
        "{retry_after:?}"
    );
}

#[test]
fn a_conflict_is_about_existence_only_where_something_is_made() {
    let judged = |meta| verdict(&Genesys::judge(meta, reply(409, &[], "")));
    assert_eq!(judged(&CREATE), "AlreadyExists");
    for meta in [&READ, &CHANGE, &ADD] {
        assert_eq!(judged(meta), "Conflict");
    }
}

#[test]
fn pages_are_named_and_texts_are_quoted() {
    let words = |body: &str| {
        let error = Genesys::judge(&READ, reply(500, &[], body)).err().unwrap();
        error
            .to_string()
            .split(": ")
            .last()
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(words(PAGE), "an HTML page");
    assert_eq!(words("\n out of memory \n at line 7"), "out of memory");
    assert_eq!(words(""), "HTTP 500");
}

/// The contract's rows, from the vendor's answer to what the caller sees.
#[test]
fn the_contract() {
    use Code::{
        Aborted, AlreadyExists, FailedPrecondition, Internal, InvalidArgument, NotFound,
        PermissionDenied, ResourceExhausted, Unavailable, Unimplemented, Unknown,
    };
    let http = |status: u16| (status, String::new());
    let code = |code: i64| (200, envelope(code));
    let rows = [
        (
            vec![http(400), http(422), code(1), code(10)],
            InvalidArgument,
            "VENDOR_REJECTED",
        ),
        (
            [2, 11, 12, 13, 14, 15, 16, 17, 19].map(code).into(),
            FailedPrecondition,
            "VENDOR_REJECTED",
        ),
        (
            vec![code(3), code(5), http(403)],
            PermissionDenied,
            "VENDOR_DENIED",
        ),
        (vec![code(6), http(404)], NotFound, "VENDOR_NOT_FOUND"),
        (vec![code(18)], AlreadyExists, "VENDOR_REJECTED"),
        (
            vec![http(405), http(501)],
            Unimplemented,
            "VENDOR_MISCONFIGURED",
        ),
        (
            vec![
                http(401),
                code(20),
                code(8),
                (403, "invalid Csrf token".into()),
            ],
            Internal,
            "VENDOR_CREDENTIAL_REJECTED",
        ),
        (
            vec![http(418), (403, PAGE.into())],
            PermissionDenied,
            "VENDOR_BLOCKED",
        ),
        (vec![http(429)], ResourceExhausted, "VENDOR_THROTTLED"),
        (vec![code(9)], Unknown, "OUTCOME_UNKNOWN"),
        (
            vec![
                code(4),
                code(7),
                code(21),
                code(-1),
                http(500),
                (500, envelope(0)),
            ],
            Internal,
            "VENDOR_FAILED",
        ),
        (
            vec![http(301), http(302), http(307), http(410), http(507)],
            Internal,
            "VENDOR_FAILED",
        ),
        (vec![http(409)], Aborted, "VENDOR_REJECTED"),
        (vec![http(413)], InvalidArgument, "VENDOR_REJECTED"),
    ];
    for meta in [&READ, &CHANGE, &ADD] {
        for (answers, code, reason) in &rows {
            for (status, body) in answers {
                let told = told(meta, *status, body);
                assert_eq!(told, (*code, (*reason).to_owned()), "HTTP {status} {body}");
            }
        }
        for status in [408, 502, 503, 504] {
            let expected = match meta.replay {
                crate::upstream::operation::Replay::Once => (Unknown, "OUTCOME_UNKNOWN"),
                _ => (Unavailable, "VENDOR_UNAVAILABLE"),
            };
            let (code, reason) = told(meta, status, "");
            assert_eq!((code, reason.as_str()), expected, "HTTP {status}");
        }
    }
    assert_eq!(
        told(&CREATE, 409, ""),
        (AlreadyExists, "VENDOR_REJECTED".to_owned())
    );
}

fn told(meta: &Meta, status: u16, body: &str) -> (Code, String) {
    let error = Genesys::judge(meta, reply(status, &[], body))
        .err()
        .expect("a no");
    let status = Status::from(failure(meta.replay, error));
    let reason = status.get_details_error_info().expect("details").reason;
    (status.code(), reason)
}

proptest! {
    #[test]
    fn strangers_bytes_never_panic(
        status in 200u16..600,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = Genesys::judge(&ADD, reply(status, &[], body));
    }

    /// Whatever the code, an error says so, and only 0 within a 2xx is a yes.
    #[test]
    fn only_zero_is_a_yes(code: i64, status in 200u16..600) {
        let yes = judged(status, envelope(code)) == "yes";
        prop_assert_eq!(yes, code == 0 && status < 300);
    }
}
