//! What of a vendor's words leaves the stack: nothing that was sent, nothing secret.

use std::time::Duration;

use bytes::Bytes;
use tower::ServiceExt;

use super::*;
use crate::upstream::auth::AuthLayer;
use crate::upstream::operation::Replay;
use crate::upstream::testing::{CREATE, Login, Logins, call, reply, tokens, vendor};

const MINUTE: Duration = Duration::from_secs(60);

/// No code: a vendor that says this as one says something else.
const LONG_CODE: &str = "99999999999999999999999999";

/// Quotes every answer in whole, and takes it for what its status says.
struct Parrot;

impl Vendor for Parrot {
    const NAME: &'static str = "parrot";

    fn judge(meta: &Meta, reply: Reply) -> Result<Reply, Error> {
        let error = by_status(meta, &reply, Some(LONG_CODE.into()), plain_text(&reply));
        Err(error.expect("no success"))
    }
}

/// The error of a call with this body to a vendor that answers with that text.
async fn told(status: u16, body: &'static str, echo: &'static str) -> Error {
    let logins = Logins::new(MINUTE, [Login::granted(MINUTE)]);
    let (vendor, _) =
        vendor(move |_, _| std::future::ready(Ok(reply(status, &[("retry-after", "1")], echo))));
    let judged = JudgeLayer::<Parrot>::new().layer(vendor);
    let mut call = call(Replay::Once, MINUTE);
    *call.request.body_mut() = Bytes::from_static(body.as_bytes());
    let result = AuthLayer(tokens(&logins)).layer(judged).oneshot(call).await;
    result.err().expect("a parrot never says yes")
}

/// One for each kind of error that quotes an answer.
const STATUSES: [u16; 5] = [400, 401, 429, 502, 503];

#[tokio::test(start_paused = true)]
async fn neither_debug_nor_display_of_an_error_repeats_what_was_sent() {
    let body = r#"{"operationName":"AttachUserData","userData":{"Name":"Alice Doe"}}"#;
    let echo = "AttachUserData: Alice Doe with secret of token 1 (Token 1, 13912345678) is bad";
    for status in STATUSES {
        let error = told(status, body, echo).await;
        for shown in [
            error.to_string(),
            format!("{error:?}"),
            format!("{error:#?}"),
        ] {
            for secret in ["Alice", "secret of token", "139123"] {
                assert!(!shown.contains(secret), "{shown}");
            }
            assert!(shown.contains("AttachUserData: *** with ***"), "{shown}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_words_is_cut_and_put_on_one_line() {
    let echo: &'static str = Box::leak("no ".repeat(100_000).into_boxed_str());
    let error = told(400, "{}", echo).await.to_string();
    assert!(error.len() < 512, "{}", error.len());
    let lines = told(400, "{}", "first\r\nsecond\u{1b}[31m")
        .await
        .to_string();
    assert!(lines.ends_with("first"), "{lines:?}");
}

#[test]
fn objects_are_read_and_nothing_else() {
    let read =
        |body: &[u8]| object::<std::collections::BTreeMap<String, u8>>(&reply(200, &[], body));
    assert_eq!(read(b" \r\n{\"a\":1}\n").unwrap()["a"], 1);
    assert_eq!(read(b"{}").unwrap().len(), 0);
    assert_eq!(read(b"{\"\xff\":1}").unwrap().len(), 1);
    for other in [&b""[..], b"[]", b"null", b"{", b"{} {}", b"<p>", b"\xff{}"] {
        assert!(read(other).is_none(), "{other:?}");
    }
}

/// A 2xx says nothing by its status; before an answer comes a 1xx, and none in its place.
#[test]
fn a_status_that_is_no_refusal() {
    let judged = |status| by_status(&CREATE, &reply(status, &[], ""), None, String::new());
    for status in [200, 201, 202, 204, 206, 299] {
        assert!(judged(status).is_none(), "{status}");
    }
    for status in [100, 101, 103, 199] {
        let error = judged(status).expect("no yes");
        assert!(matches!(error, Error::Unreadable { .. }), "{status}");
    }
}

#[test]
fn a_mark_is_no_part_of_the_words() {
    assert_eq!(plain_text(&reply(500, &[], "\u{feff}no")), "no");
}

#[test]
fn a_page_in_place_of_an_answer_is_called_one() {
    let json = ("content-type", "application/json");
    let html = ("content-type", "text/html");
    for (declared, body, cause) in [
        (json, "<html>please log in</html>", "it is an HTML page"),
        (html, "\u{feff}\r\n<!DOCTYPE html>", "it is an HTML page"),
        (html, r#"{"text":"<html>"}"#, "no code in it"),
        (json, "", "no code in it"),
    ] {
        let error = unreadable(&reply(200, &[declared], body), "no code in it");
        let told = format!("the vendor's answer could not be read: {cause}");
        assert_eq!(error.to_string(), told, "{body}");
        assert_eq!(error.status(), Some(StatusCode::OK));
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_that_is_none_is_masked_before_it_gets_anywhere() {
    for status in STATUSES {
        let error = told(status, "", "").await;
        assert_eq!(error.code(), Some("***"));
        assert!(!format!("{error} {error:?}").contains(LONG_CODE));
    }
}
