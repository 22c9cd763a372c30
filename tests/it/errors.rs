//! The error table: what each failure of a vendor means to the caller, over the wire, for every
//! method that it may befall.

use std::time::Duration;

use switchboard::sandbox::faults::{Code as VendorCode, Fault, Rule};
use tokio::net::TcpSocket;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::calls::{ALL, Call};
use crate::support::verdict::{Verdict, pushback, retry_info};
use crate::support::{self, Gateway, fact, impatient};

const GENESYS: [Call; 5] = [
    Call::Attach,
    Call::Update,
    Call::Delete,
    Call::GetSession,
    Call::ListSessions,
];

const AICC: [Call; 4] = [
    Call::CreateSettings,
    Call::UpdateSettings,
    Call::QuerySettings,
    Call::DeleteSettings,
];

/// The error of a call whose every request meets this fault.
async fn error(gateway: &Gateway, call: Call, fault: &Fault) -> Status {
    let rule = Rule::new(fault.clone()).vendor(call.vendor());
    gateway.sandbox.faults().replace(vec![rule]).unwrap();
    match call.send(gateway).await {
        Ok(_) => panic!("{call:?} went well in spite of {fault:?}"),
        Err(error) => error,
    }
}

/// A definite answer of whatever repeatability: sent once, nothing to wait for.
async fn definite(gateway: &Gateway, call: Call, fault: &Fault, verdict: Verdict) {
    let error = error(gateway, call, fault).await;
    verdict.check(call, &error);
    assert_eq!(pushback(&error), None, "{call:?}: {error:?}");
    assert_eq!(retry_info(&error), None, "{call:?}: {error:?}");
}

#[tokio::test]
async fn http_statuses_that_mean_the_same_everywhere() {
    let gateway = Gateway::start_with(impatient).await;
    let table = [
        ("400", Code::InvalidArgument, "VENDOR_REJECTED"),
        ("422", Code::InvalidArgument, "VENDOR_REJECTED"),
        ("413", Code::InvalidArgument, "VENDOR_REJECTED"),
        ("403", Code::PermissionDenied, "VENDOR_DENIED"),
        ("418", Code::PermissionDenied, "VENDOR_BLOCKED"),
        ("405", Code::Unimplemented, "VENDOR_MISCONFIGURED"),
        ("501", Code::Unimplemented, "VENDOR_MISCONFIGURED"),
        ("402", Code::Internal, "VENDOR_FAILED"),
        ("406", Code::Internal, "VENDOR_FAILED"),
        ("410", Code::Internal, "VENDOR_FAILED"),
        ("415", Code::Internal, "VENDOR_FAILED"),
        ("425", Code::Internal, "VENDOR_FAILED"),
        ("451", Code::Internal, "VENDOR_FAILED"),
        ("499", Code::Internal, "VENDOR_FAILED"),
        ("505", Code::Internal, "VENDOR_FAILED"),
        ("507", Code::Internal, "VENDOR_FAILED"),
        ("511", Code::Internal, "VENDOR_FAILED"),
        ("599", Code::Internal, "VENDOR_FAILED"),
        ("300", Code::Internal, "VENDOR_FAILED"),
        ("304", Code::Internal, "VENDOR_FAILED"),
        ("308", Code::Internal, "VENDOR_FAILED"),
    ];
    for (status, code, reason) in table {
        let fault = Fault::status(status.parse().unwrap());
        let verdict = Verdict::new(code, reason).status(status);
        for call in ALL {
            definite(&gateway, call, &fault, verdict).await;
        }
    }
}

#[tokio::test]
async fn http_statuses_that_depend_on_the_vendor_or_the_method() {
    let gateway = Gateway::start_with(impatient).await;
    let not_found = Verdict::new(Code::NotFound, "VENDOR_NOT_FOUND").status("404");
    let wrong_path = Verdict::new(Code::Unimplemented, "VENDOR_MISCONFIGURED").status("404");
    let failed = Verdict::new(Code::Internal, "VENDOR_FAILED").status("500");
    let business = Verdict::new(Code::FailedPrecondition, "VENDOR_REJECTED").status("500");
    for (calls, absent, broken) in [
        (&GENESYS[..], not_found, failed),
        (&AICC[..], wrong_path, business),
    ] {
        for call in calls {
            definite(&gateway, *call, &Fault::status(404), absent).await;
            definite(&gateway, *call, &Fault::status(500), broken).await;
            definite(&gateway, *call, &Fault::Html { status: 404 }, absent).await;
            definite(&gateway, *call, &Fault::Html { status: 500 }, broken).await;
        }
    }
    for call in ALL {
        let code = match call {
            Call::CreateSettings => Code::AlreadyExists,
            _ => Code::Aborted,
        };
        let conflict = Verdict::new(code, "VENDOR_REJECTED").status("409");
        definite(&gateway, call, &Fault::status(409), conflict).await;
    }
}

#[tokio::test]
async fn a_page_that_forbids_comes_from_something_in_front() {
    let gateway = Gateway::start_with(impatient).await;
    let blocked = Verdict::new(Code::PermissionDenied, "VENDOR_BLOCKED").status("403");
    let undeclared = Fault::Status {
        status: 403,
        body: Some("\r\n <!DOCTYPE html><html>...".into()),
        content_type: None,
        retry_after: None,
        location: None,
    };
    let marked = Fault::Status {
        status: 403,
        body: Some("\u{feff}<html>...".into()),
        content_type: None,
        retry_after: None,
        location: None,
    };
    for call in ALL {
        definite(&gateway, call, &Fault::Html { status: 403 }, blocked).await;
        definite(&gateway, call, &undeclared, blocked).await;
        definite(&gateway, call, &marked, blocked).await;
    }
}

#[tokio::test]
async fn the_codes_of_genesys() {
    let gateway = Gateway::start_with(impatient).await;
    let table = [
        (&["1", "10"][..], Code::InvalidArgument, "VENDOR_REJECTED"),
        (
            &["2", "11", "12", "13", "14", "15", "16", "17", "19"],
            Code::FailedPrecondition,
            "VENDOR_REJECTED",
        ),
        (&["3", "5"], Code::PermissionDenied, "VENDOR_DENIED"),
        (&["6"], Code::NotFound, "VENDOR_NOT_FOUND"),
        (&["8"], Code::Internal, "VENDOR_CREDENTIAL_REJECTED"),
        (&["18"], Code::AlreadyExists, "VENDOR_REJECTED"),
        (
            &["4", "7", "21", "99", "-1", "2147483648"],
            Code::Internal,
            "VENDOR_FAILED",
        ),
    ];
    for (codes, code, reason) in table {
        for vendor_code in codes {
            let number = vendor_code.parse().unwrap();
            // A 200 can be a no; and the code goes before any HTTP status that comes with it.
            for status in ["200", "400", "403", "404", "500", "503"] {
                let verdict = Verdict::new(code, reason);
                let verdict = verdict.status(status).vendor_code(vendor_code);
                let fault = with_code(status.parse().unwrap(), number);
                for call in [Call::Attach, Call::Update, Call::GetSession] {
                    definite(&gateway, call, &fault, verdict).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn an_error_status_is_no_success_whatever_its_code() {
    let gateway = Gateway::start_with(impatient).await;
    let failed = Verdict::new(Code::Internal, "VENDOR_FAILED");
    let failed = failed.status("500").vendor_code("0");
    for call in GENESYS {
        definite(&gateway, call, &with_code(500, 0), failed).await;
    }
    // The gateway in front of AICC says `"errorCode":"0"` in its errors.
    let fault = json_status(
        400,
        r#"{"errorCode":"0","returnCode":"0","exceptionInfo":"no"}"#,
    );
    let rejected = Verdict::new(Code::InvalidArgument, "VENDOR_REJECTED");
    let rejected = rejected.status("400").vendor_code("0");
    for call in AICC {
        definite(&gateway, call, &fault, rejected).await;
    }
}

#[tokio::test]
async fn unfinished_processing_is_an_unknown_outcome() {
    let gateway = Gateway::start_with(impatient).await;
    let unknown = Verdict::new(Code::Unknown, "OUTCOME_UNKNOWN");
    let unknown = unknown.status("200").vendor_code("9");
    for call in [Call::Attach, Call::Update, Call::Delete] {
        let error = error(&gateway, call, &with_code(200, 9)).await;
        unknown.check(call, &error);
        assert_eq!(pushback(&error), Some("-1"));
        assert_eq!(retry_info(&error), None);
    }
}

#[tokio::test]
async fn the_codes_of_aicc() {
    let gateway = Gateway::start_with(impatient).await;
    let table: [(VendorCode, &str); 6] = [
        ("1".into(), "1"),
        ("-1".into(), "-1"),
        ("0401000".into(), "0401000"),
        ("00".into(), "00"),
        (" 7 ".into(), "7"),
        (5.into(), "5"),
    ];
    for (code, shown) in table {
        let fault = Fault::VendorCode {
            code,
            message: "no".into(),
        };
        let rejected = Verdict::new(Code::FailedPrecondition, "VENDOR_REJECTED");
        let rejected = rejected.status("200").vendor_code(shown);
        for call in AICC {
            definite(&gateway, call, &fault, rejected).await;
        }
    }
    let rejected = Verdict::new(Code::FailedPrecondition, "VENDOR_REJECTED");
    let rejected = rejected.status("500").vendor_code("0401000");
    let fault = json_status(500, r#"{"returnCode":"0401000","returnDesc":"no"}"#);
    for call in AICC {
        definite(&gateway, call, &fault, rejected).await;
    }
}

#[tokio::test]
async fn a_success_is_spelled_in_more_than_one_way() {
    let gateway = Gateway::start_with(impatient).await;
    for code in [VendorCode::from(0), " 0 ".into(), "0".into()] {
        let fault = Fault::VendorCode {
            code,
            message: "update success.".into(),
        };
        gateway
            .sandbox
            .faults()
            .replace(vec![Rule::new(fault)])
            .unwrap();
        Call::UpdateSettings.send(&gateway).await.unwrap();
        Call::DeleteSettings.send(&gateway).await.unwrap();
    }
}

#[tokio::test]
async fn unavailable_in_every_attempt() {
    let gateway = Gateway::start_with(impatient).await;
    for status in ["408", "502", "503", "504"] {
        let number = status.parse().unwrap();
        for fault in [Fault::status(number), Fault::Html { status: number }] {
            for call in ALL {
                let error = error(&gateway, call, &fault).await;
                if call.once() {
                    unknown_outcome(call, &error, status);
                } else {
                    unavailable(call, &error, status, 3);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_connection_lost_in_every_attempt() {
    let gateway = Gateway::start_with(impatient).await;
    // So that the fault strikes a request and not the login.
    for call in [Call::GetSession, Call::QuerySettings] {
        call.send(&gateway).await.unwrap();
    }
    for fault in [Fault::Reset, Fault::CutBody] {
        for call in ALL {
            let error = error(&gateway, call, &fault).await;
            if call.once() {
                unknown_outcome(call, &error, "");
            } else {
                unavailable(call, &error, "", 3);
            }
        }
    }
}

#[tokio::test]
async fn no_connection_at_all() {
    let gateway = Gateway::start_with(impatient).await;
    gateway.sandbox.stop().await;
    for call in ALL {
        let error = call.send(&gateway).await.unwrap_err();
        unavailable(call, &error, "", 0);
    }
}

#[tokio::test]
async fn a_request_that_could_not_be_sent_is_not_in_doubt() {
    // Bound and not listening: nobody else can have the port, and nobody answers there.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let gateway = Gateway::start_with(|config| {
        impatient(config);
        // The token is had as always.
        config.aicc.as_mut().unwrap().base_url = url.parse().unwrap();
    })
    .await;
    for call in AICC {
        let error = call.send(&gateway).await.unwrap_err();
        unavailable(call, &error, "", 0);
        assert_eq!(gateway.sandbox.journal().count("aicc", "Token"), 1);
    }
}

#[tokio::test]
async fn throttled_for_longer_than_the_deadline() {
    let gateway = Gateway::start_with(impatient).await;
    let fault = Fault::Throttle {
        retry_after: "60".into(),
    };
    for call in ALL {
        let error = error(&gateway, call, &fault).await;
        let throttled = Verdict::new(Code::ResourceExhausted, "VENDOR_THROTTLED").status("429");
        throttled.check(call, &error);
        assert_eq!(retry_info(&error), Some(Duration::from_secs(60)));
        assert_eq!(pushback(&error), Some("60000"));
        let quota = error.get_details_quota_failure().expect("a QuotaFailure");
        let subject = format!("{}/{}", call.vendor(), call.operation());
        assert_eq!(quota.violations[0].subject, subject);
    }
}

#[tokio::test]
async fn throttled_without_a_word_on_how_long() {
    let gateway = Gateway::start_with(|config| {
        for upstream in support::upstreams(config) {
            upstream.retry.attempts = 1;
        }
    })
    .await;
    for call in ALL {
        let error = error(&gateway, call, &Fault::status(429)).await;
        let throttled = Verdict::new(Code::ResourceExhausted, "VENDOR_THROTTLED").status("429");
        throttled.check(call, &error);
        let wait = retry_info(&error).expect("a RetryInfo");
        assert!(!wait.is_zero());
        assert_eq!(
            pushback(&error),
            Some(wait.as_millis().to_string().as_str())
        );
        assert!(error.get_details_quota_failure().is_some());
    }
}

#[tokio::test]
async fn busy_for_longer_than_the_deadline_is_a_definite_no() {
    let gateway = Gateway::start_with(impatient).await;
    let fault = Fault::Status {
        status: 503,
        body: None,
        content_type: None,
        retry_after: Some("60".into()),
        location: None,
    };
    for call in ALL {
        let error = error(&gateway, call, &fault).await;
        let busy = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE").status("503");
        busy.check(call, &error);
        assert_eq!(retry_info(&error), Some(Duration::from_secs(60)));
        assert_eq!(pushback(&error), Some("60000"));
        assert!(error.get_details_quota_failure().is_none());
    }
}

#[tokio::test]
async fn the_vendors_code_and_words_come_along_where_time_may_cure() {
    let gateway = Gateway::start_with(impatient).await;
    for (status, retry_after) in [
        ("408", None),
        ("429", None),
        ("429", Some("60")),
        ("502", None),
        ("503", None),
        ("503", Some("60")),
        ("504", None),
    ] {
        let fault = Fault::Status {
            status: status.parse().unwrap(),
            body: Some(r#"{"returnCode":"8","returnDesc":"maintenance until noon"}"#.into()),
            content_type: Some("application/json".into()),
            retry_after: retry_after.map(Into::into),
            location: None,
        };
        for call in AICC {
            let error = error(&gateway, call, &fault).await;
            assert_eq!(fact(&error, "vendorStatus"), status, "{call:?}: {error:?}");
            assert_eq!(fact(&error, "vendorCode"), "8", "{call:?}: {error:?}");
            let words = error.message();
            assert!(words.contains("maintenance until noon"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there() {
    let gateway = Gateway::start().await;
    // `other` has none of the first account's sessions, and AICC's records know no accounts.
    for call in [Call::Attach, Call::Update, Call::Delete, Call::GetSession] {
        let error = call.send_as(&gateway, "other").await.unwrap_err();
        let absent = Verdict::new(Code::NotFound, "VENDOR_NOT_FOUND");
        absent.status("404").vendor_code("6").check(call, &error);
    }
    Call::DeleteSettings.send(&gateway).await.unwrap();
    let error = Call::QuerySettings.send(&gateway).await.unwrap_err();
    let absent = Verdict::new(Code::NotFound, "VENDOR_NOT_FOUND");
    let absent = absent.status("200").vendor_code("0");
    absent.check(Call::QuerySettings, &error);
    let refused = Verdict::new(Code::FailedPrecondition, "VENDOR_REJECTED").status("200");
    let refused = refused.vendor_code("0401002");
    for call in [Call::DeleteSettings, Call::UpdateSettings] {
        let error = call.send(&gateway).await.unwrap_err();
        refused.check(call, &error);
    }
    Call::CreateSettings.send(&gateway).await.unwrap();
    let error = Call::CreateSettings.send(&gateway).await.unwrap_err();
    let exists = Verdict::new(Code::FailedPrecondition, "VENDOR_REJECTED").status("200");
    exists
        .vendor_code("0401001")
        .check(Call::CreateSettings, &error);
}

#[tokio::test]
async fn the_vendors_words_come_along() {
    let gateway = Gateway::start_with(impatient).await;
    for (call, message) in [
        (Call::Update, "Property is read-only"),
        (Call::UpdateSettings, "the agent is 不存在"),
    ] {
        let fault = Fault::VendorCode {
            code: if call.vendor() == "genesys" {
                11.into()
            } else {
                "11".into()
            },
            message: message.into(),
        };
        let error = error(&gateway, call, &fault).await;
        assert!(error.message().contains(message), "{error:?}");
        assert!(error.message().contains(call.operation()), "{error:?}");
    }
    // Long ones are cut, and one that is nothing but escapes when it travels too.
    for message in ["long ".repeat(2000), "不".repeat(3000)] {
        let fault = Fault::VendorCode {
            code: 11.into(),
            message,
        };
        for call in ALL {
            let error = error(&gateway, call, &fault).await;
            assert!(error.message().len() <= 1024, "{error:?}");
            assert!(support::verdict::trailers(&error) <= 4096);
        }
    }
}

/// A read or an idempotent write that failed in transit.
#[track_caller]
fn unavailable(call: Call, error: &Status, status: &'static str, attempts: u32) {
    let verdict = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE");
    verdict.status(status).attempts(attempts).check(call, error);
    let wait = retry_info(error).expect("a RetryInfo");
    assert!(!wait.is_zero());
    assert_ne!(pushback(error), Some("-1"), "{error:?}");
}

/// A write that may have happened: sent once, and not to be repeated by anybody.
#[track_caller]
fn unknown_outcome(call: Call, error: &Status, status: &'static str) {
    let verdict = Verdict::new(Code::Unknown, "OUTCOME_UNKNOWN");
    verdict.status(status).check(call, error);
    assert_eq!(pushback(error), Some("-1"), "{error:?}");
    assert_eq!(retry_info(error), None, "{error:?}");
}

fn with_code(status: u16, code: i64) -> Fault {
    json_status(
        status,
        &format!(r#"{{"statusCode":{code},"statusMessage":"no"}}"#),
    )
}

fn json_status(status: u16, body: &str) -> Fault {
    Fault::Status {
        status,
        body: Some(body.to_owned()),
        content_type: Some("application/json".into()),
        retry_after: None,
        location: None,
    }
}
