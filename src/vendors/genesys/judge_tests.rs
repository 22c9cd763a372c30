//! Every answer that the vendor, or something in front of it, is known to give.

use http::StatusCode;
use proptest::prelude::*;
use tonic::Code;

use super::*;
use crate::upstream::testing::{ADD, CHANGE, READ, reply, verdict};
use crate::vendors::testing::{
    STATUSES, assert_a_conflict_is_about_what_is_made, assert_a_time_is_heard,
    assert_the_contract_by_status, told,
};

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
fn statuses() -> impl Iterator<Item = (u16, &'static str)> {
    let own = [
        (200, "yes"),
        (201, "yes"),
        (204, "yes"),
        (404, "NotFound"),
        (500, "Failed"),
    ];
    STATUSES.into_iter().chain(own)
}

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
    for (status, expected) in statuses() {
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
    for (status, expected) in statuses().filter(|(status, _)| *status >= 300) {
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
    assert_a_time_is_heard::<Genesys>();
}

#[test]
fn a_conflict_is_about_existence_only_where_something_is_made() {
    assert_a_conflict_is_about_what_is_made::<Genesys>();
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
        AlreadyExists, FailedPrecondition, Internal, InvalidArgument, NotFound, PermissionDenied,
        Unknown,
    };
    assert_the_contract_by_status::<Genesys>();
    let http = |status: u16| (status, String::new());
    let code = |code: i64| (200, envelope(code));
    let rows = [
        (vec![code(1), code(10)], InvalidArgument, "VENDOR_REJECTED"),
        (
            [2, 11, 12, 13, 14, 15, 16, 17, 19].map(code).into(),
            FailedPrecondition,
            "VENDOR_REJECTED",
        ),
        (vec![code(3), code(5)], PermissionDenied, "VENDOR_DENIED"),
        (vec![code(6), http(404)], NotFound, "VENDOR_NOT_FOUND"),
        (vec![code(18)], AlreadyExists, "VENDOR_REJECTED"),
        (
            vec![code(20), code(8), (403, "invalid Csrf token".into())],
            Internal,
            "VENDOR_CREDENTIAL_REJECTED",
        ),
        (vec![(403, PAGE.into())], PermissionDenied, "VENDOR_BLOCKED"),
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
    ];
    for meta in [&READ, &CHANGE, &ADD] {
        for (answers, code, reason) in &rows {
            for (status, body) in answers {
                let told = told::<Genesys>(meta, *status, body);
                assert_eq!(told, (*code, (*reason).to_owned()), "HTTP {status} {body}");
            }
        }
    }
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
