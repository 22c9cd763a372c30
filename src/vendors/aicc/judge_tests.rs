//! Every answer that the vendor, or something in front of it, is known to give.

use proptest::prelude::*;
use tonic::Code;

use super::*;
use crate::upstream::operation::Replay;
use crate::upstream::testing::{ADD, CHANGE, CREATE, READ, reply, verdict};
use crate::vendors::testing::{
    STATUSES, assert_a_conflict_is_about_what_is_made, assert_a_time_is_heard,
    assert_the_contract_by_status, told,
};

const PAGE: &str = "<html><body>auth fail! access token</body></html>";

fn judged(status: u16, body: impl AsRef<[u8]>) -> String {
    verdict(&Aicc::judge(&CHANGE, reply(status, &[], body)))
}

#[test]
fn only_a_return_code_of_zero_is_a_yes() {
    for (code, expected) in [
        (r#""0""#, "yes"),
        ("0", "yes"),
        (r#"" 0 ""#, "yes"),
        (r#""0\n""#, "yes"),
        (r#""-1""#, "State"),
        ("-1", "State"),
        (r#""1""#, "State"),
        ("1", "State"),
        (r#""00""#, "State"),
        (r#""0.0""#, "State"),
        (r#""0401000""#, "State"),
        (r#""success""#, "State"),
        ("9223372036854775807", "State"),
        ("null", "unreadable"),
        (r#""""#, "unreadable"),
        (r#""  ""#, "unreadable"),
        ("0.5", "unreadable"),
        ("true", "unreadable"),
        (r#"["0"]"#, "unreadable"),
        (r#"{"code":"0"}"#, "unreadable"),
    ] {
        for status in [200, 201, 202] {
            let body = format!(r#"{{"returnCode":{code},"returnDesc":"update success."}}"#);
            assert_eq!(judged(status, &body), expected, "{body} in {status}");
        }
    }
    for body in [
        "",
        "0",
        "\"0\"",
        "null",
        "{}",
        "[]",
        r#"["0"]"#,
        r#"["0","update success."]"#,
        r#"[{"returnCode":"0"}]"#,
        r#"{"ReturnCode":"0"}"#,
        r#"{"result":{"returnCode":"0"}}"#,
        r#"{"errorCode":"0"}"#,
        r#"{"returnCode":"0""#,
        "update success.",
        PAGE,
    ] {
        assert_eq!(judged(200, body), "unreadable", "{body}");
    }
}

/// Words that were cut within a character do not hide the code beside them.
#[test]
fn half_a_character_hides_no_code() {
    for (code, expected) in [("0", "yes"), ("1", "State")] {
        let body = format!(r#"{{"returnCode":"{code}","returnDesc":"kim \ud83d"}}"#);
        assert_eq!(judged(200, body), expected);
    }
}

#[test]
fn codes_and_words_are_kept() {
    let body = r#"{"returnDesc":"号码无效","returnCode":"0401000"}"#;
    let error = Aicc::judge(&READ, reply(200, &[], body)).err().unwrap();
    assert_eq!(error.code(), Some("0401000"), "leading zeros count");
    assert_eq!(error.status(), Some(StatusCode::OK));
    assert!(error.to_string().ends_with(": 号码无效"), "{error}");
    let body = b"{\"returnCode\":\"-1\",\"returnDesc\":\"\xba\xc5\xc2\xeb bad\"}";
    let error = Aicc::judge(&READ, reply(200, &[], body)).err().unwrap();
    assert_eq!(error.code(), Some("-1"), "the encoding must not hide it");
    assert!(error.to_string().ends_with(" bad"), "{error}");
}

/// HTTP statuses, whatever the body says of itself.
fn statuses() -> impl Iterator<Item = (u16, &'static str)> {
    let own = [(404, "Misconfigured"), (500, "State")];
    STATUSES.into_iter().chain(own)
}

#[test]
fn the_http_status_goes_first() {
    for (status, expected) in statuses() {
        for body in [
            "",
            "plain text",
            "[]",
            "null",
            r#"{"returnCode":"0","returnDesc":"update success."}"#,
            r#"{"returnCode":"0401000","returnDesc":"no"}"#,
            r#"{"errorCode":"0","exceptionInfo":"something else"}"#,
        ] {
            assert_eq!(judged(status, body), expected, "{body} in {status}");
        }
        let page = if status == 403 { "Blocked" } else { expected };
        assert_eq!(judged(status, PAGE), page, "a page in {status}");
    }
}

#[test]
fn a_403_is_about_the_token_only_where_its_json_says_so() {
    for body in [
        &br#"{"errorCode":"0","exceptionInfo":"auth fail! token is expired"}"#[..],
        br#"{"exceptionInfo":"AUTH FAIL!"}"#,
        br#"{"exceptionInfo":"the access token is illegal","extra":1}"#,
        br#"{"exceptionInfo":"invalid access_token"}"#,
        br#"{"exceptionInfo":"AccessToken expired"}"#,
        b" {\"exceptionInfo\":\"auth fail! \xb9\xfd\xc6\xda\"}",
    ] {
        let told = String::from_utf8_lossy(body).into_owned();
        assert_eq!(judged(403, body), "credentials refused", "{told}");
        assert_eq!(judged(400, body), "Invalid", "{told}");
        assert_eq!(judged(500, body), "State", "{told}");
        assert_eq!(judged(200, body), "unreadable", "{told}");
    }
    for (body, expected) in [
        (
            r#"{"errorCode":"0","exceptionInfo":"no permission"}"#,
            "Denied",
        ),
        (r#"{"returnCode":"1","returnDesc":"auth fail!"}"#, "Denied"),
        (r#"{"exceptionInfo":["auth fail!"]}"#, "Denied"),
        (r#"{"exceptionInfo":null}"#, "Denied"),
        (r#"["auth fail!"]"#, "Denied"),
        ("auth fail!", "Denied"),
        ("", "Denied"),
        (PAGE, "Blocked"),
    ] {
        assert_eq!(judged(403, body), expected, "{body}");
    }
}

#[test]
fn a_vendor_that_names_a_time_is_heard() {
    assert_a_time_is_heard::<Aicc>();
    let failed = reply(500, &[("retry-after", "30")], "");
    let failed = verdict(&Aicc::judge(&ADD, failed));
    assert_eq!(failed, "State", "a business failure is not cured by time");
}

#[test]
fn a_conflict_is_about_existence_only_where_something_is_made() {
    assert_a_conflict_is_about_what_is_made::<Aicc>();
}

/// The contract's rows, from the vendor's answer to what the caller sees.
#[test]
fn the_contract() {
    use Code::{FailedPrecondition, Internal, PermissionDenied, Unimplemented, Unknown};
    assert_the_contract_by_status::<Aicc>();
    let token = r#"{"errorCode":"0","exceptionInfo":"auth fail!"}"#;
    let rows = [
        (
            &[
                (200, r#"{"returnCode":"1"}"#),
                (200, r#"{"returnCode":-1}"#),
                (500, ""),
            ][..],
            FailedPrecondition,
            "VENDOR_REJECTED",
        ),
        (
            &[(403, "{}"), (403, "no")],
            PermissionDenied,
            "VENDOR_DENIED",
        ),
        (&[(404, "")], Unimplemented, "VENDOR_MISCONFIGURED"),
        (&[(403, token)], Internal, "VENDOR_CREDENTIAL_REJECTED"),
        (&[(403, PAGE)], PermissionDenied, "VENDOR_BLOCKED"),
    ];
    for meta in [&READ, &CHANGE, &ADD] {
        for (answers, code, reason) in rows {
            for (status, body) in answers {
                let told = told::<Aicc>(meta, *status, body);
                assert_eq!(told, (code, reason.to_owned()), "HTTP {status} {body}");
            }
        }
        let garbled = match meta.replay {
            Replay::Once => (Unknown, "OUTCOME_UNKNOWN"),
            Replay::Safe | Replay::Idempotent => (Internal, "VENDOR_PROTOCOL"),
        };
        for body in ["", "{}", PAGE, r#"{"returnCode":null}"#] {
            let (code, reason) = told::<Aicc>(meta, 200, body);
            assert_eq!((code, reason.as_str()), garbled, "{body}");
        }
    }
}

#[test]
fn whose_words_are_told() {
    for (body, words) in [
        (r#"{"returnDesc":"no","exceptionInfo":"auth"}"#, ": no"),
        (r#"{"exceptionInfo":"no such user"}"#, ": no such user"),
        ("no JSON\nat all", ": no JSON"),
        (r#"{"returnDesc":7}"#, r#": {"returnDesc":7}"#),
    ] {
        let error = Aicc::judge(&READ, reply(400, &[], body)).err();
        let told = error.expect("a no").to_string();
        assert_eq!(
            told,
            format!("the vendor refused the request: HTTP 400{words}")
        );
    }
}

/// Who looks for the cause has to look at what stands in front of the vendor.
#[test]
fn a_page_is_called_one() {
    let error = Aicc::judge(&CREATE, reply(200, &[], PAGE)).err();
    let told = error.expect("a no").to_string();
    assert!(told.ends_with("it is an HTML page"), "{told}");
}

proptest! {
    #[test]
    fn strangers_bytes_never_panic(
        status in 200u16..600,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let _ = Aicc::judge(&ADD, reply(status, &[], body));
    }

    /// Whatever the code, only 0 within a 2xx is a yes.
    #[test]
    fn only_zero_is_ever_a_yes(code in "[ -~]{0,8}", status in 200u16..600) {
        let body = serde_json::json!({ "returnCode": code.clone() }).to_string();
        let yes = judged(status, body) == "yes";
        prop_assert_eq!(yes, code.trim() == "0" && status < 300);
    }
}
