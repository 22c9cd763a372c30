//! Whatever stands in a field or in metadata, the vendor sees only paths and headers of the
//! documented shape, and the audit log only lines of its own.

use std::collections::BTreeMap;

use http::HeaderMap;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost_types::{FieldMask, Struct};
use switchboard::pb::{
    AttachUserDataRequest, CreateAgentSettingsRequest, DeleteAgentSettingsRequest,
    DeleteUserDataRequest, GetAgentSettingsRequest, GetSessionRequest, ListSessionsRequest,
    PersonalSettings, UpdateAgentSettingsRequest, UpdateUserDataRequest, WatchSessionsRequest,
};
use switchboard::sandbox::journal::Entry;
use tonic::Request;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};

use crate::support::audit::Audit;
use crate::support::{Gateway, impatient, text};

/// Rounds of the twelve calls below, each with texts of its own.
const ROUNDS: usize = 60;

/// Pieces that mean something to somebody on the way.
const PIECES: [&str; 34] = [
    "/",
    "..",
    ".",
    "//",
    "\\",
    "%2f",
    "%2e%2e",
    "%00",
    "%0d%0a",
    "?",
    "#",
    "&",
    "=",
    ";",
    ":",
    "@",
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    " ",
    "\t",
    "\"",
    "'",
    "{",
    "}",
    "http://evil.example/",
    "X-Evil: 1",
    "Host: evil.example",
    "é",
    "\u{1F600}",
];

/// Where the texts come from: always the same ones.
struct Texts(TestRunner);

impl Texts {
    fn any(&mut self) -> String {
        let pieces = prop::sample::select(&PIECES[..]).prop_map(str::to_owned);
        let part = prop_oneof![
            pieces,
            "[a-z0-9]{1,6}",
            any::<char>().prop_map(String::from)
        ];
        let text = prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat());
        text.new_tree(&mut self.0).unwrap().current()
    }

    fn some(&mut self) -> Vec<String> {
        (0..3).map(|_| self.any()).collect()
    }

    /// Mostly the ones that exist, so that calls get as far as the vendor.
    fn account(&mut self) -> String {
        let known = prop_oneof![4 => Just(true), 1 => Just(false)];
        match known.new_tree(&mut self.0).unwrap().current() {
            true => String::new(),
            false => self.any(),
        }
    }

    fn data(&mut self) -> Option<Struct> {
        let fields = self.some().into_iter().map(|key| (key, text(&self.any())));
        Some(Struct {
            fields: fields.collect(),
        })
    }

    fn settings(&mut self) -> Option<PersonalSettings> {
        Some(PersonalSettings {
            call_type: 1,
            caller_present: self.some(),
            call_number: self.some(),
            call_number_default: self.any(),
            caller_present_default: self.any(),
        })
    }

    /// A request with metadata under names that the gateway, the vendors or proxies know.
    fn request<T>(&mut self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        for name in [
            "x-request-id",
            "traceparent",
            "tracestate",
            "baggage",
            "authorization",
            "cookie",
            "host",
            "x-csrf-token",
            "x-token",
            "x-forwarded-host",
            "grpc-previous-rpc-attempts",
            "x-own",
        ] {
            let value = AsciiMetadataValue::try_from(self.any().as_bytes());
            // What HTTP/2 cannot carry no caller can send.
            if let Ok(value) = value {
                let name = AsciiMetadataKey::from_static(name);
                request.metadata_mut().insert(name, value);
            }
        }
        let name = self.any().to_lowercase();
        if let Ok(name) = AsciiMetadataKey::from_bytes(name.as_bytes())
            && !name.as_str().starts_with("grpc-")
        {
            request
                .metadata_mut()
                .insert(name, AsciiMetadataValue::from_static("1"));
        }
        request
    }
}

/// Every call once, with texts of any kind in all of its fields. Most are refused, and how does
/// not matter here.
async fn play(gateway: &Gateway, texts: &mut Texts) {
    let (mut sms, mut settings) = (gateway.sms(), gateway.settings());
    let attach = AttachUserDataRequest {
        session_id: texts.any(),
        user_data: texts.data(),
        account: texts.account(),
        request_id: texts.any(),
        ..Default::default()
    };
    let update = UpdateUserDataRequest {
        session_id: attach.session_id.clone(),
        user_data: Some(crate::support::data(&[(&texts.any(), &texts.any())])),
        account: texts.account(),
        ..Default::default()
    };
    let delete = DeleteUserDataRequest {
        session_id: texts.any(),
        keys: texts.some(),
        account: texts.account(),
        ..Default::default()
    };
    let get = GetSessionRequest {
        session_id: texts.any(),
        account: texts.account(),
    };
    let list = ListSessionsRequest {
        account: texts.account(),
    };
    let watch = WatchSessionsRequest {
        account: texts.account(),
        session_ids: texts.some(),
    };
    let create = CreateAgentSettingsRequest {
        user_id: texts.any(),
        settings: texts.settings(),
        account: texts.account(),
        request_id: String::new(),
    };
    let change = UpdateAgentSettingsRequest {
        id: texts.any(),
        user_id: texts.any(),
        settings: None,
        update_mask: Some(FieldMask {
            paths: texts.some(),
        }),
        account: texts.account(),
        request_id: texts.any(),
    };
    let query = GetAgentSettingsRequest {
        user_id: texts.any(),
        account: texts.account(),
    };
    let remove = DeleteAgentSettingsRequest {
        user_id: texts.any(),
        account: texts.account(),
    };
    let _ = sms.attach_user_data(texts.request(attach)).await;
    let _ = sms.update_user_data(texts.request(update)).await;
    let _ = sms.delete_user_data(texts.request(delete)).await;
    let _ = sms.get_session(texts.request(get)).await;
    let _ = sms.list_sessions(texts.request(list)).await;
    if let Ok(stream) = sms.watch_sessions(texts.request(watch)).await {
        let _ = stream.into_inner().message().await;
    }
    let _ = settings.create_agent_settings(texts.request(create)).await;
    let _ = settings.update_agent_settings(texts.request(change)).await;
    let _ = settings.get_agent_settings(texts.request(query)).await;
    let _ = settings.delete_agent_settings(texts.request(remove)).await;
}

/// Exactly one segment of unreserved characters and whole escapes, and no way up or down.
fn is_segment(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        at += match bytes[at] {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => 1,
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
                let upper = |it: &u8| matches!(it, b'0'..=b'9' | b'A'..=b'F');
                if digits.len() < 2 || !digits.iter().all(upper) {
                    return false;
                }
                3
            }
            _ => return false,
        };
    }
    !matches!(text, "" | "." | "..")
}

fn is_documented(entry: &Entry) -> bool {
    let target = &*entry.target;
    match entry.vendor {
        "genesys" => {
            let session = target.strip_prefix("/api/v2/me/smssessions/");
            let fixed = [
                "/api/v2/me",
                "/api/v2/me/smssessions?fields=*",
                "/api/v2/notifications",
            ];
            fixed.contains(&target)
                || session.is_some_and(is_segment)
                || target
                    .strip_prefix("/api/v2/notifications/")
                    .is_some_and(is_segment)
        }
        _ => target == "/apigovernance/api/oauth/tokenByAkSk" || AICC.contains(&target),
    }
}

/// The four calls of the vendor.
const AICC: [&str; 4] = [
    "/apiaccess/CC-Management/v1/openapp/agentsettings/create",
    "/apiaccess/CC-Management/v1/openapp/agentsettings/update",
    "/apiaccess/CC-Management/v1/openapp/agentsettings/query",
    "/apiaccess/CC-Management/v1/openapp/agentsettings/delete",
];

/// Each header, once, and what its value may be made of.
const HEADERS: [&str; 12] = [
    "accept",
    "accept-encoding",
    "authorization",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "user-agent",
    "x-csrf-token",
    "x-app-key",
    "x-token-expire",
    // The trace of the call, as the conventions have it.
    "traceparent",
];

/// The names of headers that are not among the documented ones, or stand twice, or hold what no
/// header of ours does.
fn odd_headers(headers: &HeaderMap) -> Vec<String> {
    let mut counts = BTreeMap::new();
    for (name, value) in headers {
        *counts.entry(name.as_str()).or_insert(0) += 1;
        let plain = value
            .as_bytes()
            .iter()
            .all(|byte| (0x20..=0x7e).contains(byte));
        let evil = String::from_utf8_lossy(value.as_bytes()).contains("evil");
        if !plain || evil {
            return vec![format!("{name}: {value:?}")];
        }
    }
    let odd = |(name, times): &(&str, i32)| *times > 1 || !HEADERS.contains(name);
    let names = counts.into_iter().filter(odd);
    names
        .map(|(name, times)| format!("{name} {times}"))
        .collect()
}

#[tokio::test]
async fn paths_and_headers_are_ours() {
    let audit = Audit::listen();
    let gateway = Gateway::start_with(impatient).await;
    let mut texts = Texts(TestRunner::deterministic());
    for _ in 0..ROUNDS {
        play(&gateway, &mut texts).await;
    }
    let entries = gateway.sandbox.journal().entries();
    for entry in &entries {
        assert!(is_documented(entry), "{} {}", entry.vendor, entry.target);
        let odd = odd_headers(&entry.request_headers);
        assert!(odd.is_empty(), "{} {}: {odd:?}", entry.vendor, entry.target);
    }
    // Else it looked at nothing, or the list allows more than there is.
    let sent = |name: &&str| {
        entries
            .iter()
            .any(|it| it.request_headers.contains_key(*name))
    };
    let unsent: Vec<_> = HEADERS.into_iter().filter(|name| !sent(name)).collect();
    assert!(unsent.is_empty(), "{unsent:?} are never sent");
    let sessions = entries
        .iter()
        .filter(|it| it.target.contains("smssessions/"))
        .count();
    let escaped = entries
        .iter()
        .filter(|it| it.target.contains("%2F"))
        .count();
    let settings = entries
        .iter()
        .filter(|it| AICC.contains(&&*it.target))
        .count();
    assert!(
        sessions > 50 && escaped > 5 && settings > 20,
        "{sessions} {escaped} {settings}"
    );

    let lines = audit.take();
    assert!(lines.len() >= ROUNDS * 5, "{}", lines.len());
    for line in &lines {
        for (name, value) in line {
            let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(!value.contains(breaks), "{name}: {value:?}");
        }
    }
}

#[test]
fn what_is_not_documented_is_seen() {
    for segment in ["", ".", "..", "a/b", "a?b", "%2", "%zz", "a b", "é", "%2f"] {
        assert!(!is_segment(segment), "{segment:?}");
    }
    assert!(is_segment("a-b.c_d~%2F%C3%A9"));
    let mut headers = HeaderMap::new();
    headers.insert("host", "127.0.0.1:1".parse().unwrap());
    assert!(odd_headers(&headers).is_empty());
    headers.append("host", "127.0.0.1:2".parse().unwrap());
    assert_eq!(odd_headers(&headers), ["host 2"]);
    headers.insert("x-own", "1".parse().unwrap());
    assert_eq!(odd_headers(&headers).len(), 2);
}
