//! Takes out of a vendor's words what a caller or a log must not see.
//!
//! Vendors echo what they were sent. So every value of our request, every credential it
//! carried, and everything that looks like a number or a token goes; the rest is cut.

use std::iter;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use self::plain::{MOST_WRAPPINGS, one_line, plain, unwrapped};
use super::auth::Signed;
use super::error::Answer;
use super::operation::Call;

mod plain;

const MASK: &str = "***";

/// How much of a vendor's text is passed on, in characters.
const LONGEST: usize = 200;

/// How much of it is looked at: a character may be wrapped into a dozen and more.
const READ: usize = LONGEST * 16;

/// Codes go into logs and metadata; no vendor's is anywhere near as long.
const LONGEST_CODE: usize = 16;

/// Values of fewer characters are words of any text.
const SHORT: usize = 4;

/// Runs of this many digits may be a telephone number or an id of a person.
const DIGITS: usize = 5;

/// Runs of this many characters without a blank may be a token.
const TOKEN: usize = 24;

/// A value that is longer is known by its first characters: vendors cut what they echo, and so
/// do we.
const HEAD: usize = 12;

/// Knows what one request held; by default nothing.
#[derive(Default)]
pub struct Redactor {
    known: Vec<String>,
}

impl Redactor {
    /// Collects the values of the request's JSON body and of its credentials.
    pub fn of(request: &Request<Bytes>) -> Self {
        Self::knowing_values(request.body(), credentials(request.headers()))
    }

    fn knowing_values<'a>(
        body: &[u8],
        credentials: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Self {
        let mut values = Vec::new();
        if let Ok(body) = serde_json::from_slice(body) {
            collect(&body, &mut values);
        }
        for value in credentials {
            let text = String::from_utf8_lossy(value.as_bytes());
            values.extend(text.split([' ', ';', '=']).map(str::to_owned));
        }
        Redactor::default().with(values.iter().map(String::as_str))
    }

    /// The same, with secrets that the request holds in no form of its own.
    #[must_use]
    pub fn knowing(self, secrets: &[SecretString]) -> Self {
        self.with(secrets.iter().map(ExposeSecret::expose_secret))
    }

    /// As they are and as they look when what seems wrapped in them is undone; and the longest first,
    /// so that a value is not torn apart by a shorter one within it.
    fn with<'a>(mut self, values: impl Iterator<Item = &'a str>) -> Self {
        self.known.extend(values.flat_map(forms));
        self.known
            .sort_by_key(|value| std::cmp::Reverse(value.len()));
        self
    }

    /// An answer with its words and its code fit to be shown.
    pub fn clean_answer(&self, answer: &mut Answer) {
        answer.text = self.clean(&answer.text);
        if let Some(code) = &mut answer.code
            && !self.is_code(code)
        {
            MASK.clone_into(code);
        }
    }

    /// Short, plain, and nothing that was sent: `-1`, `0401000`, `20`.
    fn is_code(&self, code: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let long = |text: &str| text.len() >= DIGITS;
        let echo = |known: &String| {
            long(code) && known.contains(code) || long(known) && code.contains(known.as_str())
        };
        let sent = self.known.iter().any(echo);
        code.len() <= LONGEST_CODE && code.bytes().all(plain) && !sent
    }

    /// The text without anything known or suspicious, on one line, cut.
    pub fn clean(&self, text: &str) -> String {
        let beginning: String = text.chars().take(READ).collect();
        let mut text = one_line(&beginning);
        // One that looks wrapped itself may be gone with the next wrapping.
        let is_wrapped =
            |value: &&String| value.chars().count() >= SHORT && unwrapped(value) != **value;
        let wrapped: Vec<_> = self.known.iter().filter(is_wrapped).collect();
        for _ in 0..MOST_WRAPPINGS {
            for value in &wrapped {
                text = text.replace(*value, MASK);
            }
            let inner = unwrapped(&text);
            if inner == text {
                break;
            }
            text = inner;
        }
        for value in &self.known {
            // Most are not in it, and half a million may be known.
            if text.contains(head(value)) {
                text = mask(&text, value);
            }
        }
        let text = mask_runs(&text);
        cut(text.trim(), LONGEST)
    }
}

/// Mostly one: half a million values may be known, and each form of each is looked for.
fn forms(value: &str) -> impl Iterator<Item = String> {
    let (as_it_is, undone) = (one_line(value), plain(value));
    let other = (undone != as_it_is).then_some(undone);
    iter::once(as_it_is)
        .chain(other)
        .filter(|form| !form.trim().is_empty())
}

fn credentials(headers: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    headers.values().filter(|value| value.is_sensitive())
}

/// What of a call may come back in its answer, kept until that is there: shared, not copied, as
/// most answers need no cleaning.
pub(super) struct Sent {
    body: Bytes,
    credentials: Vec<HeaderValue>,
    signed: Option<Signed>,
}

impl Sent {
    pub(super) fn with(call: &Call) -> Self {
        Sent {
            body: call.request.body().clone(),
            credentials: credentials(call.request.headers()).cloned().collect(),
            signed: call.signed.clone(),
        }
    }

    pub(super) fn redactor(&self) -> Redactor {
        let secrets: Vec<_> = self.signed.iter().flat_map(Signed::secrets).collect();
        Redactor::knowing_values(&self.body, &self.credentials).knowing(&secrets)
    }
}

/// Every scalar of the body, but for the words of our own that are no data.
fn collect(value: &Value, known: &mut Vec<String>) {
    match value {
        Value::String(text) => known.push(text.clone()),
        Value::Number(number) => known.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, known)),
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, _)| *key != "operationName")
            .for_each(|(_, field)| collect(field, known)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Replaces `value`; one of a few characters only where it stands alone, else texts dissolve.
fn mask(text: &str, value: &str) -> String {
    let alone = value.chars().count() < SHORT;
    let head = head(value);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(head) {
        let (before, found) = rest.split_at(at);
        let (found, after) = found.split_at(common(found, value));
        let joined = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let part = joined(
            before
                .chars()
                .next_back()
                .or_else(|| out.chars().next_back()),
        ) || joined(after.chars().next());
        out.push_str(before);
        out.push_str(if alone && part { found } else { MASK });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// By what a value is known.
fn head(value: &str) -> &str {
    let end = value.char_indices().nth(HEAD);
    end.map_or(value, |(at, _)| &value[..at])
}

/// How many bytes both begin with, in whole characters.
fn common(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// Masks long runs of digits, and long words that look like tokens.
fn mask_runs(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || "+/=_-.~".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = |of: &dyn Fn(char) -> bool| rest.find(|c| !of(c)).unwrap_or(rest.len());
        let length = if word(first) {
            end(&word)
        } else {
            end(&|c| !word(c))
        };
        let (run, after) = rest.split_at(length);
        out.push_str(&mask_run(run));
        rest = after;
    }
    out
}

fn mask_run(run: &str) -> String {
    let digits = run.chars().filter(char::is_ascii_digit).count();
    let token = run.len() >= TOKEN && digits > 0;
    if token || digits >= DIGITS {
        MASK.to_owned()
    } else {
        run.to_owned()
    }
}

/// At most `longest` characters, marked where it was cut.
pub fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(body: &str) -> Redactor {
        let request = Request::builder()
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        Redactor::of(&request)
    }

    #[test]
    fn a_value_of_one_form_is_known_once() {
        let redactor = redactor(r#"{"a":"Alice","b":"Bob","c":"x%20y"}"#);
        let redactor = redactor.knowing(&["s3cret".into()]);
        assert_eq!(redactor.known, ["s3cret", "Alice", "x%20y", "Bob", "x y"]);
    }

    #[test]
    fn what_was_sent_does_not_come_back() {
        let redactor = redactor(
            r#"{"operationName":"AttachUserData","userData":{"Name":"Alice Doe","Age":47,"X":"a"}}"#,
        );
        assert_eq!(
            redactor.clean("AttachUserData failed: value Alice Doe of 47 is a bad value"),
            "AttachUserData failed: value *** of *** is *** bad value"
        );
    }

    #[test]
    fn numbers_and_tokens_go_words_stay() {
        let redactor = redactor("");
        assert_eq!(
            redactor.clean("call +4915112345678 with eyJhbGciOiJIUzI1NiJ9.e30.abc failed, code 12"),
            "call *** with *** failed, code 12"
        );
        assert_eq!(
            redactor.clean("Missing or invalid Csrf token"),
            "Missing or invalid Csrf token"
        );
        assert_eq!(redactor.clean("号码 13912345678 无效"), "号码 *** 无效");
    }

    #[test]
    fn credentials_in_headers_are_known() {
        let mut value = HeaderValue::from_static("Bearer shorty");
        value.set_sensitive(true);
        let request = Request::builder()
            .header("authorization", value)
            .body(Bytes::new())
            .unwrap();
        assert_eq!(
            Redactor::of(&request).clean("token shorty is illegal"),
            "token *** is illegal"
        );
    }

    #[test]
    fn a_value_is_known_in_other_forms_too() {
        let redactor = redactor(r#"{"a":"Elm Street\nfive","b":"say \"yes\"","c":"Jürgen"}"#);
        for (text, clean) in [
            ("at Elm Street\nfive", "at ***"),
            (r"at Elm Street\nfive", "at ***"),
            ("at Elm Street five", "at ***"),
            ("at Elm Street fi…", "at ***…"),
            (r#"{"error":"say \"yes\""}"#, r#"{"error":"***"}"#),
            (r"J\u00fcrgen", "***"),
            (
                r#"{"fault":"{\"a\":\"J\\u00fcrgen\"}"}"#,
                r#"{"fault":"{"a":"***"}"}"#,
            ),
            (
                "for J&uuml;rgen at Elm&#32;Street&#10;five",
                "for *** at ***",
            ),
            ("q=say%20%22yes%22%20J%C3%BCrgen", "q=*** ***"),
        ] {
            assert_eq!(redactor.clean(text), clean, "{text}");
        }
    }

    #[test]
    fn a_value_within_another_does_not_tear_it_apart() {
        for body in [
            r#"{"first":"Anna","all":"Annabel Lee"}"#,
            r#"{"all":"Annabel Lee","first":"Anna"}"#,
        ] {
            let clean = redactor(body).clean("for Annabel Lee, or Anna");
            assert_eq!(clean, "for ***, or ***", "{body}");
        }
    }

    #[test]
    fn a_value_that_looks_wrapped_itself_is_known() {
        let values = [
            r"C:\temp",
            r"a\b\",
            "100%25 R&amp;D",
            r"a\u0041b",
            r#"at \"home\""#,
        ];
        for value in values {
            let body = serde_json::json!({"a": value}).to_string();
            let twice = serde_json::json!({"a": &body}).to_string();
            for text in [value, &body, &twice] {
                let clean = redactor(&body).clean(text);
                let harmless = |c: char| r#"{"a":*\}"#.contains(c);
                assert!(clean.chars().all(harmless), "{value} in {text}: {clean}");
            }
        }
    }

    #[test]
    fn blank_values_and_headers_of_every_request_are_no_secrets() {
        let request = Request::builder()
            .header("accept", "application/json")
            .body(Bytes::from_static(br#"{"a":"","b":"    ","c":"\n\n\n\n"}"#))
            .unwrap();
        let text = "expected application/json:    none";
        assert_eq!(Redactor::of(&request).clean(text), text);
    }

    #[test]
    fn where_words_end_and_tokens_and_numbers_begin() {
        let redactor = redactor("");
        for stays in [
            "1234",
            "abcdefghijklmnopqrstuv1",
            "abcdefghijklmnopqrstuvwxyz",
        ] {
            assert_eq!(redactor.clean(stays), stays);
        }
        for goes in ["12345", "abcdefghijklmnopqrstuvw1"] {
            assert_eq!(redactor.clean(goes), MASK, "{goes}");
        }
    }

    #[test]
    fn a_code_that_was_sent_is_none() {
        let redactor = redactor(r#"{"a":"04","b":"ABCD","c":"PREF-EFGHI","d":"JKLMN"}"#);
        let longest = "x".repeat(LONGEST_CODE);
        for code in ["0401000", "ABCD", longest.as_str()] {
            assert!(redactor.is_code(code), "{code}");
        }
        for sent in ["EFGHI", "JKLMN", "xJKLMNx"] {
            assert!(!redactor.is_code(sent), "{sent}");
        }
    }

    #[test]
    fn a_code_is_passed_on_only_if_it_looks_like_one() {
        let redactor = redactor(r#"{"callNumber":["4917012345678"]}"#);
        let shown = |code: &str| {
            let mut answer = Answer {
                status: http::StatusCode::OK,
                code: Some(code.to_owned()),
                text: String::new(),
            };
            redactor.clean_answer(&mut answer);
            answer.code.unwrap()
        };
        for code in ["0", "20", "-1", "0401000", "ERR_1.2"] {
            assert_eq!(shown(code), code);
        }
        for odd in [
            "user +49170",
            "4917012345678",
            "E4917012345678",
            "line\nbreak",
            "x".repeat(17).as_str(),
            "号",
        ] {
            assert_eq!(shown(odd), MASK, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_value_survives(value in "[a-zA-Z0-9]{4,40}", before in "[ a-z]{0,20}", after in "[ a-z]{0,20}") {
            let body = serde_json::json!({"userData": {"k": value.clone()}}).to_string();
            let clean = redactor(&body).clean(&format!("{before}{value}{after}"));
            prop_assert!(!clean.contains(&value));
        }

        #[test]
        fn always_short_and_on_one_line(text in ".{0,3000}") {
            let clean = redactor("{}").clean(&text);
            prop_assert!(clean.chars().count() <= LONGEST + 1);
            prop_assert!(!clean.contains(char::is_control));
        }
    }
}
