//! An answer that makes no sense is never taken for a yes: reads and idempotent writes fail with
//! VENDOR_PROTOCOL, a write that must not happen twice is of unknown outcome, and none of them is
//! sent again.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;
use switchboard::pb::{
    CallType, GetAgentSettingsRequest, GetAgentSettingsResponse, ListSessionsRequest, SmsSession,
};
use switchboard::sandbox::faults::{Fault, Rule};
use tonic::{Code, Status};

use crate::support::calls::{ALL, Call};
use crate::support::vendor::{Vendor, answer, json};
use crate::support::verdict::{Verdict, all_words, pushback, retry_info};
use crate::support::{self, Gateway, SESSION, USER, get, impatient, number, relocate};

/// `{"statusCode":0,"returnCode":"0","id":"1"}`, packed.
const PACKED: &str = "H4sIAAAAAAACA6tWKi5JLCktds5PSVWyMtBRKkotKS3Kg3CVDJR0lDJTgAxDpVoA57YInSoAAAA=";

/// Such a yes of 100 kB in a few bytes.
const BOMB: &str = "H4sIAAAAAAACA+3HsQmAMBRAwV1+baGtrZMIEbFRMREEcXcDLmFxV713Ry5jOfOwpSn6toljKuexfhtt\
    NLGkGl2NfUxpWed6FwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAPBb8bxYhX0714YB\
    AA==";

#[tokio::test]
async fn whole_answers_that_cannot_be_read() {
    let page = "<html><body>Please log in</body></html>";
    let answers = [
        answer(200, "text/html", page),
        answer(200, "application/json", page),
        answer(200, "application/json", ""),
        answer(204, "application/json", ""),
        answer(206, "text/plain", "ok"),
        answer(200, "text/plain", "OK"),
        json("{}"),
        json("[]]"),
        json("null"),
        json("true"),
        json("7"),
        json(r#""0""#),
        json("[[]]"),
        json("{\"statusCode\":0,\"returnCode\":\"0\""),
        json("\u{feff}{}"),
        json(&b"\xff\xfe{\x00}\x00"[..]),
        json(&b"\x00\x00\x00\x00"[..]),
        json("[".repeat(100_000)),
        json(r#"{"statusCode":{},"returnCode":["0"]}"#),
        json(r#"{"statusCode":"0","returnCode":true}"#),
        json(r#"{"statusCode":null,"returnCode":null}"#),
        json(r#"{"statusCode":false,"returnCode":""}"#),
        json(r#"{"statusCode":0.5,"returnCode":0.0}"#),
        json(r#"{"STATUSCODE":0,"ReturnCode":"0"}"#),
        json(r#"{"statusCode":99999999999999999999,"returnCode":{"code":"0"}}"#),
    ];
    for bad in answers {
        every_call_fails(&bad).await;
    }
}

#[tokio::test]
async fn answers_that_are_wrongly_packed() {
    for body in [
        &b"not packed at all"[..],
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage",
        &unpack(PACKED)[..30],
    ] {
        let bad = packed(Bytes::copy_from_slice(body));
        every_call_fails(&bad).await;
    }
    let good = packed(unpack(PACKED));
    let (_vendor, gateway) = answering(&good).await;
    for call in [
        Call::Attach,
        Call::Update,
        Call::CreateSettings,
        Call::QuerySettings,
    ] {
        call.send(&gateway).await.unwrap();
    }
}

#[tokio::test]
async fn answers_over_the_size_limit() {
    let gateway = Gateway::start_with(|config| {
        impatient(config);
        support::upstreams(config).for_each(|upstream| upstream.max_answer = 4096);
    })
    .await;
    let fault = |bytes| vec![Rule::new(Fault::Oversize { bytes })];
    gateway.sandbox.faults().replace(fault(4096)).unwrap();
    for call in [
        Call::Attach,
        Call::Update,
        Call::Delete,
        Call::UpdateSettings,
    ] {
        call.send(&gateway).await.unwrap();
    }
    gateway.sandbox.faults().replace(fault(4097)).unwrap();
    for call in ALL {
        gateway.sandbox.journal().clear();
        let error = call.send(&gateway).await.unwrap_err();
        unreadable(call, &error, "200");
        let sent = gateway
            .sandbox
            .journal()
            .count(call.vendor(), call.operation());
        assert_eq!(sent, 1, "{call:?}");
    }
}

/// An error page may be of any length: what it means stands in the status.
#[tokio::test]
async fn a_refusal_over_the_size_limit_is_a_refusal() {
    for (status, code, reason) in [
        (400, Code::InvalidArgument, "VENDOR_REJECTED"),
        (403, Code::PermissionDenied, "VENDOR_BLOCKED"),
        (409, Code::Aborted, "VENDOR_REJECTED"),
        (418, Code::PermissionDenied, "VENDOR_BLOCKED"),
        (429, Code::ResourceExhausted, "VENDOR_THROTTLED"),
    ] {
        let page = format!("<html>{}", "long ".repeat(1000));
        let vendor = Vendor::saying(answer(status, "text/html", page)).await;
        let gateway = Gateway::start_with(|config| {
            relocate(config, &vendor.url);
            support::upstreams(config).for_each(|upstream| upstream.max_answer = 4096);
        })
        .await;
        let error = Call::Attach.send(&gateway).await.unwrap_err();
        assert_eq!((error.code(), &*support::reason(&error)), (code, reason));
        assert_eq!(support::fact(&error, "vendorStatus"), status.to_string());
    }
}

/// A proxy's own page goes out with what the vendor's answer was said to be packed with.
#[tokio::test]
async fn a_refusal_that_is_wrongly_packed_is_a_refusal() {
    let refused = [
        (400, Code::InvalidArgument, "VENDOR_REJECTED", 1),
        (401, Code::Internal, "VENDOR_CREDENTIAL_REJECTED", 2),
        (409, Code::Aborted, "VENDOR_REJECTED", 1),
        (418, Code::PermissionDenied, "VENDOR_BLOCKED", 1),
        (429, Code::ResourceExhausted, "VENDOR_THROTTLED", 3),
        (503, Code::Unknown, "OUTCOME_UNKNOWN", 1),
    ];
    for body in [&b"not packed at all"[..], &unpack(PACKED)[..30]] {
        for (status, code, reason, attempts) in refused {
            let mut bad = packed(Bytes::copy_from_slice(body));
            *bad.status_mut() = StatusCode::from_u16(status).unwrap();
            let (_vendor, gateway) = answering(&bad).await;
            let error = Call::Attach.send(&gateway).await.unwrap_err();
            assert_eq!(
                (error.code(), &*support::reason(&error)),
                (code, reason),
                "{status}"
            );
            assert_eq!(support::fact(&error, "vendorStatus"), status.to_string());
            assert_eq!(support::attempts(error.metadata()), attempts, "{status}");
        }
    }
}

#[tokio::test]
async fn what_counts_is_the_size_unpacked() {
    let vendor = Vendor::saying(packed(unpack(BOMB))).await;
    let gateway = Gateway::start_with(|config| {
        relocate(config, &vendor.url);
        support::upstreams(config).for_each(|upstream| upstream.max_answer = 4096);
    })
    .await;
    for call in ALL {
        let error = call.send(&gateway).await.unwrap_err();
        unreadable(call, &error, "200");
    }
}

#[tokio::test]
async fn garbage_of_the_fault_plan() {
    let gateway = Gateway::start_with(impatient).await;
    for fault in [
        Fault::Garbage,
        Fault::NoCode,
        Fault::WrongType,
        Fault::Html { status: 200 },
    ] {
        gateway
            .sandbox
            .faults()
            .replace(vec![Rule::new(fault).after()])
            .unwrap();
        for call in ALL {
            unreadable(call, &call.send(&gateway).await.unwrap_err(), "200");
        }
    }
    // Each was done, whatever the caller was told: once per fault.
    assert_eq!(gateway.sandbox.genesys().attaches().len(), 4);
    assert_eq!(gateway.sandbox.aicc().creates().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = Vendor::saying(json("{}")).await;
    for status in [301, 302, 303, 307, 308] {
        let mut redirect = answer(status, "text/plain", "");
        let target = format!("{}/api/v2/me", elsewhere.url);
        redirect
            .headers_mut()
            .insert("location", target.parse().unwrap());
        let (vendor, gateway) = answering(&redirect).await;
        for (sent, call) in ALL.into_iter().enumerate() {
            let error = call.send(&gateway).await.unwrap_err();
            let failed = Verdict::new(Code::Internal, "VENDOR_FAILED");
            let status: &'static str = ["301", "302", "303", "307", "308"]
                .into_iter()
                .find(|known| *known == status.to_string())
                .unwrap();
            failed.status(status).check(call, &error);
            assert_eq!(vendor.calls().len(), sent + 1);
        }
        // Nor when a login is answered with one.
        let login = Vendor::start_with(move |_| {
            let redirect = redirect.clone();
            Box::pin(async move { redirect })
        })
        .await;
        let gateway = Gateway::start_with(|config| relocate(config, &login.url)).await;
        for call in [Call::Attach, Call::CreateSettings] {
            let error = call.send(&gateway).await.unwrap_err();
            assert_eq!(error.code(), Code::Internal, "{error:?}");
            assert_eq!(support::reason(&error), "VENDOR_FAILED");
            assert_eq!(support::attempts(error.metadata()), 0);
        }
    }
    assert!(elsewhere.seen().is_empty(), "{:?}", elsewhere.seen());
}

#[tokio::test]
async fn a_refusal_with_odd_words_is_still_that_refusal() {
    let words: [&[u8]; 5] = [
        b"\"caf\xe9 \xff\"",
        b"{\"text\":\"no\"}",
        b"[1]",
        b"null",
        b"\"\\u0000\\ud83d\\ude00\"",
    ];
    for words in words {
        let body = [
            br#"{"statusCode":6,"returnCode":"6","statusMessage":"#,
            words,
            br#","returnDesc":"#,
            words,
            b"}",
        ]
        .concat();
        let (_vendor, gateway) = answering(&json(body)).await;
        for call in [Call::Attach, Call::Update, Call::GetSession] {
            let absent = Verdict::new(Code::NotFound, "VENDOR_NOT_FOUND");
            let absent = absent.status("200").vendor_code("6");
            absent.check(call, &call.send(&gateway).await.unwrap_err());
        }
        for call in [
            Call::CreateSettings,
            Call::UpdateSettings,
            Call::QuerySettings,
        ] {
            let refused = Verdict::new(Code::FailedPrecondition, "VENDOR_REJECTED");
            let refused = refused.status("200").vendor_code("6");
            refused.check(call, &call.send(&gateway).await.unwrap_err());
        }
    }
}

#[tokio::test]
async fn a_yes_with_odd_words_is_still_a_yes() {
    let body = b"{\"statusCode\":0,\"statusMessage\":\"\xff\",\"referenceId\":\"x\",\
        \"returnCode\":\"0\",\"returnDesc\":\"\xe9\",\"id\":1307145259662215169,\"more\":[{}]}";
    is_a_yes(json(&body[..])).await;
}

/// As servers put one before a text of theirs.
#[tokio::test]
async fn a_yes_after_a_byte_order_mark_is_still_a_yes() {
    let body = "\u{feff}{\"statusCode\":0,\"returnCode\":\"0\",\"id\":\"1\"}";
    is_a_yes(json(body)).await;
}

async fn is_a_yes(yes: Response<Bytes>) {
    let (_vendor, gateway) = answering(&yes).await;
    for call in [
        Call::Attach,
        Call::Update,
        Call::Delete,
        Call::CreateSettings,
        Call::UpdateSettings,
        Call::DeleteSettings,
    ] {
        call.send(&gateway)
            .await
            .unwrap_or_else(|error| panic!("{call:?}: {error:?}"));
    }
}

#[tokio::test]
async fn a_create_without_an_id_is_no_yes() {
    for body in [
        r#"{"returnCode":"0","returnDesc":"create success."}"#,
        r#"{"returnCode":"0","id":""}"#,
        r#"{"returnCode":"0","id":null}"#,
        r#"{"returnCode":"0","id":{}}"#,
    ] {
        let (vendor, gateway) = answering(&json(body)).await;
        let error = Call::CreateSettings.send(&gateway).await.unwrap_err();
        unreadable(Call::CreateSettings, &error, "200");
        assert_eq!(vendor.calls().len(), 1);
        // An update repeats the id that it was given.
        Call::UpdateSettings.send(&gateway).await.unwrap();
    }
}

#[tokio::test]
async fn a_record_in_any_of_the_vendors_spellings() {
    let odd = json!({
        "returnCode": 0, "returnDesc": null, "id": 1_307_145_259_662_215_169_u64,
        "userId": "other-form", "callType": "9", "callerPresent": null,
        "callNumber": "123, 456,,789", "callNumberDefault": null, "partdbId": [1],
        "callerPresentDefault": 12, "tenantId": 7, "new": {"er": true},
    });
    let record = query(odd.to_string()).await.unwrap();
    assert_eq!(record.id, "1307145259662215169");
    assert_eq!(record.user_id, "other-form");
    assert_eq!(record.tenant_id, "7");
    assert_eq!(
        (record.agent_name.as_str(), record.create_time.as_str()),
        ("", "")
    );
    let settings = record.settings.unwrap();
    assert_eq!(settings.call_type(), CallType::Unspecified);
    assert!(settings.caller_present.is_empty());
    assert_eq!(settings.call_number, ["123", "456", "789"]);
    assert_eq!(settings.caller_present_default, "12");

    let error = query(r#"{"returnCode":"0","callNumber":[]}"#)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    for wrong in [
        r#"{"returnCode":"0","id":"1","callNumber":{}}"#,
        r#"{"returnCode":"0","id":"1","callNumber":[[]]}"#,
        r#"{"returnCode":"0","id":true}"#,
        r#"{"returnCode":"0","id":"1","userId":["secret-user"]}"#,
    ] {
        let error = query(wrong).await.unwrap_err();
        unreadable(Call::QuerySettings, &error, "200");
        assert!(!all_words(&error).contains("secret-user"));
    }
}

#[tokio::test]
async fn sessions_wrapped_and_bare() {
    // The vendor's own sample of the list.
    let bare = json!({
        "id": SESSION, "state": "Chatting", "uri": "http://127.0.0.1:8090/api/v2/x",
        "participants": [{"type": "Agent", "nickname": "kim", "participantId": "1"}],
        "capabilities": ["Leave"], "userData": {"k": 1},
    });
    for body in [
        bare.clone(),
        json!([bare]),
        json!({"statusCode": 0, "smssession": bare}),
        json!({"statusCode": 0, "smssessions": [bare]}),
        json!({"statusCode": 0, "smsession": bare}),
        json!({"statusCode": 0, "smssessions": bare}),
        json!({"statusCode": 0, "smssessions": [{"id": "another"}, bare]}),
    ] {
        let (one, all) = read(&body.to_string()).await;
        let one = one.unwrap();
        assert_eq!(one.id, SESSION);
        assert_eq!(one.participants[0].nickname, "kim");
        assert_eq!(one.user_data.as_ref().unwrap().fields["k"], number(1.0));
        assert_eq!(all.unwrap().last(), Some(&one), "{body}");
    }
    for empty in [
        json!({"statusCode": 0, "smssessions": []}),
        json!({"statusCode": 0, "smssessions": null}),
        json!([]),
    ] {
        let (one, all) = read(&empty.to_string()).await;
        assert_eq!(support::reason(&one.unwrap_err()), "VENDOR_NOT_FOUND");
        assert_eq!(all.unwrap(), []);
    }
    for wrong in [
        json!({"statusCode": 0}),
        json!({"statusCode": 0, "smssessions": "many"}),
        json!({"statusCode": 0, "smssessions": [{"state": "Chatting"}]}),
        json!({"statusCode": 0, "smssession": {"id": SESSION, "userData": ["secret-value"]}}),
    ] {
        let (one, all) = read(&wrong.to_string()).await;
        for (call, error) in [
            (Call::GetSession, one.unwrap_err()),
            (Call::ListSessions, all.unwrap_err()),
        ] {
            unreadable(call, &error, "200");
            assert!(!all_words(&error).contains("secret-value"));
        }
    }
}

/// Every call fails for this answer, and was sent once.
async fn every_call_fails(bad: &Response<Bytes>) {
    let (vendor, gateway) = answering(bad).await;
    for (before, call) in ALL.into_iter().enumerate() {
        let Err(error) = call.send(&gateway).await else {
            panic!("{call:?} took {bad:?} for a yes");
        };
        let status = match bad.status().as_u16() {
            204 => "204",
            206 => "206",
            _ => "200",
        };
        unreadable(call, &error, status);
        assert_eq!(vendor.calls().len(), before + 1, "{call:?} {bad:?}");
    }
}

#[track_caller]
fn unreadable(call: Call, error: &Status, status: &'static str) {
    let verdict = if call.once() {
        Verdict::new(Code::Unknown, "OUTCOME_UNKNOWN")
    } else {
        Verdict::new(Code::Internal, "VENDOR_PROTOCOL")
    };
    verdict.status(status).check(call, error);
    assert_eq!(pushback(error), call.once().then_some("-1"), "{error:?}");
    assert_eq!(retry_info(error), None);
}

/// A gateway in front of a vendor that says this to every call.
async fn answering(answer: &Response<Bytes>) -> (Vendor, Gateway) {
    let vendor = Vendor::saying(answer.clone()).await;
    let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
    (vendor, gateway)
}

async fn query(body: impl Into<Bytes>) -> Result<GetAgentSettingsResponse, Status> {
    let (_vendor, gateway) = answering(&json(body)).await;
    let request = GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    let answer = gateway.settings().get_agent_settings(request).await?;
    Ok(answer.into_inner())
}

/// What the two reads make of an answer.
async fn read(body: &str) -> (Result<SmsSession, Status>, Result<Vec<SmsSession>, Status>) {
    let (_vendor, gateway) = answering(&json(body.to_owned())).await;
    let request = get();
    let one = gateway.sms().get_session(request).await;
    let all = gateway
        .sms()
        .list_sessions(ListSessionsRequest::default())
        .await;
    (
        one.map(|one| one.into_inner().session.unwrap()),
        all.map(|all| all.into_inner().sessions),
    )
}

fn packed(body: Bytes) -> Response<Bytes> {
    let mut packed = json(body);
    packed
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    packed
}

fn unpack(base64: &str) -> Bytes {
    BASE64_STANDARD.decode(base64).unwrap().into()
}
