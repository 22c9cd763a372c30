//! What may be sent again is, as often as the contract's table says and no more; what may not
//! is answered at once. Each case is counted at the vendor.

use std::net::SocketAddr;
use std::slice::from_ref;
use std::time::Duration;

use switchboard::config::Config;
use switchboard::pb::{
    AttachUserDataRequest, CreateAgentSettingsRequest, DeleteAgentSettingsRequest,
    GetAgentSettingsRequest, GetSessionRequest, UpdateAgentSettingsRequest, UpdateUserDataRequest,
};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::upstream::settings::{Retry, Settings};
use tokio::net::{TcpListener, TcpStream};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::support::calls;
use crate::support::port::Port;
use crate::support::verdict::Verdict;
use crate::support::watch::{in_time, total, until};
use crate::support::{self, Gateway, RECORD, SESSION, USER};

/// The operations by how they may be repeated, in the vendors' words.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Call {
    GetSession,
    ListSessions,
    UpdateUserData,
    AttachUserData,
    Query,
    Update,
    Create,
}

const REPEATABLE: [Call; 5] = [
    Call::GetSession,
    Call::ListSessions,
    Call::UpdateUserData,
    Call::Query,
    Call::Update,
];
const ONCE: [Call; 2] = [Call::AttachUserData, Call::Create];

impl Call {
    fn at(self) -> (&'static str, &'static str) {
        match self {
            Call::GetSession => ("genesys", "GetSession"),
            Call::ListSessions => ("genesys", "ListSessions"),
            Call::UpdateUserData => ("genesys", "UpdateUserData"),
            Call::AttachUserData => ("genesys", "AttachUserData"),
            Call::Query => ("aicc", "query"),
            Call::Update => ("aicc", "update"),
            Call::Create => ("aicc", "create"),
        }
    }

    async fn make(self, gateway: &Gateway) -> Result<MetadataMap, Status> {
        self.make_as(gateway, |_| {}).await
    }

    /// With the metadata that a caller may add; tells the metadata of the answer.
    async fn make_as(
        self,
        gateway: &Gateway,
        caller: impl Fn(&mut MetadataMap),
    ) -> Result<MetadataMap, Status> {
        let (mut sms, mut settings) = (gateway.sms(), gateway.settings());
        let session_id = SESSION.to_owned();
        let user_data = Some(support::data(&[("Colour", "green")]));
        let user_id = USER.to_owned();
        macro_rules! answer {
            ($client:ident.$method:ident($message:expr)) => {{
                let mut request = Request::new($message);
                caller(request.metadata_mut());
                let answer = in_time("an answer", $client.$method(request)).await;
                answer.map(|answer| answer.metadata().clone())
            }};
        }
        match self {
            Call::GetSession => answer!(sms.get_session(GetSessionRequest {
                session_id,
                ..Default::default()
            })),
            Call::ListSessions => answer!(sms.list_sessions(Default::default())),
            Call::UpdateUserData => answer!(sms.update_user_data(UpdateUserDataRequest {
                session_id,
                user_data,
                ..Default::default()
            })),
            Call::AttachUserData => answer!(sms.attach_user_data(AttachUserDataRequest {
                session_id,
                user_data,
                ..Default::default()
            })),
            Call::Query => answer!(settings.get_agent_settings(GetAgentSettingsRequest {
                user_id,
                ..Default::default()
            })),
            Call::Update => answer!(settings.update_agent_settings(UpdateAgentSettingsRequest {
                id: RECORD.to_owned(),
                user_id,
                ..Default::default()
            })),
            Call::Create => answer!(settings.create_agent_settings(CreateAgentSettingsRequest {
                user_id: "1660270845627002402".to_owned(),
                ..Default::default()
            })),
        }
    }
}

fn upstreams(config: &mut Config) -> [&mut Settings; 2] {
    [
        &mut config.genesys.as_mut().unwrap().upstream,
        &mut config.aicc.as_mut().unwrap().upstream,
    ]
}

/// With short attempts, so that a hanging vendor does not hold a test up.
async fn gateway() -> Gateway {
    Gateway::start_with(|config| {
        for upstream in upstreams(config) {
            upstream.timeout.attempt = Duration::from_millis(300);
        }
    })
    .await
}

async fn bounded(deadline: Duration) -> Gateway {
    Gateway::start_with(|config| {
        config.server.max_deadline = deadline;
        config.server.default_deadline = deadline;
    })
    .await
}

/// These faults one after the other, and then none.
fn plan(gateway: &Gateway, faults: &[Fault]) {
    let rules = faults.iter().map(|fault| Rule::new(fault.clone()).times(1));
    gateway.sandbox.faults().replace(rules.collect()).unwrap();
    gateway.sandbox.journal().clear();
}

fn sent(gateway: &Gateway, call: Call) -> u64 {
    let (vendor, operation) = call.at();
    gateway.sandbox.journal().count(vendor, operation)
}

fn wait(seconds: &str) -> [Fault; 2] {
    let throttle = Fault::Throttle {
        retry_after: seconds.to_owned(),
    };
    let busy = Fault::Status {
        status: 503,
        body: None,
        content_type: None,
        retry_after: Some(seconds.to_owned()),
        location: None,
    };
    [throttle, busy]
}

fn pushback(status: &Status) -> Option<&str> {
    let value = status.metadata().get("grpc-retry-pushback-ms");
    value.map(|value| value.to_str().unwrap())
}

/// What leaves the outcome in doubt.
fn ambiguous() -> Vec<Fault> {
    let mut faults = vec![Fault::Reset, Fault::CutBody, Fault::Hang];
    faults.extend([408, 502, 503, 504].map(Fault::status));
    faults.push(Fault::Html { status: 502 });
    faults
}

/// Whole 2xx answers that mean nothing.
fn unreadable() -> Vec<Fault> {
    vec![
        Fault::Garbage,
        Fault::WrongType,
        Fault::NoCode,
        Fault::Html { status: 200 },
        Fault::Oversize {
            bytes: 5 * 1024 * 1024,
        },
        Fault::status(204),
    ]
}

#[tokio::test]
async fn reads_and_idempotent_writes_are_repeated_in_doubt() {
    let gateway = gateway().await;
    for call in REPEATABLE {
        for fault in ambiguous() {
            plan(&gateway, from_ref(&fault));
            let metadata = call.make(&gateway).await;
            let metadata = metadata.unwrap_or_else(|it| panic!("{call:?}, {fault:?}: {it:?}"));
            let told = u64::from(support::attempts(&metadata));
            assert_eq!((told, sent(&gateway, call)), (2, 2), "{call:?}, {fault:?}");
        }
    }
}

#[tokio::test]
async fn writes_that_must_not_happen_twice_are_not_repeated_in_doubt() {
    let gateway = gateway().await;
    for call in ONCE {
        for fault in ambiguous().into_iter().chain(unreadable()) {
            plan(&gateway, from_ref(&fault));
            let status = call.make(&gateway).await.unwrap_err();
            let story = format!("{call:?}, {fault:?}: {status:?}");
            assert_eq!(status.code(), Code::Unknown, "{story}");
            assert_eq!(support::reason(&status), "OUTCOME_UNKNOWN", "{story}");
            assert_eq!(pushback(&status), Some("-1"), "{story}");
            assert_eq!(support::attempts(status.metadata()), 1, "{story}");
            assert_eq!(sent(&gateway, call), 1, "{story}");
        }
    }
}

#[tokio::test]
async fn a_whole_answer_that_means_nothing_is_final() {
    let gateway = gateway().await;
    for call in REPEATABLE {
        for fault in unreadable() {
            plan(&gateway, from_ref(&fault));
            let status = call.make(&gateway).await.unwrap_err();
            let story = format!("{call:?}, {fault:?}: {status:?}");
            assert_eq!(status.code(), Code::Internal, "{story}");
            assert_eq!(support::reason(&status), "VENDOR_PROTOCOL", "{story}");
            assert_eq!(support::attempts(status.metadata()), 1, "{story}");
            assert_eq!(sent(&gateway, call), 1, "{story}");
        }
    }
}

#[tokio::test]
async fn a_no_is_final() {
    let gateway = gateway().await;
    for call in REPEATABLE.into_iter().chain(ONCE) {
        for status in [302, 400, 403, 404, 405, 409, 413, 418, 422, 500, 501, 505] {
            plan(&gateway, &[Fault::status(status)]);
            let answer = call.make(&gateway).await.unwrap_err();
            assert_eq!(support::attempts(answer.metadata()), 1, "{call:?} {status}");
            assert_eq!(sent(&gateway, call), 1, "{call:?}, {status}");
            let told = support::fact(&answer, "vendorStatus");
            assert_eq!(told, status.to_string());
        }
    }
}

#[tokio::test]
async fn three_attempts_are_all() {
    let gateway = gateway().await;
    for call in REPEATABLE {
        for fault in [Fault::Reset, Fault::status(503), Fault::Hang] {
            plan(&gateway, &vec![fault.clone(); 4]);
            let status = call.make(&gateway).await.unwrap_err();
            let story = format!("{call:?}, {fault:?}: {status:?}");
            assert_eq!(status.code(), Code::Unavailable, "{story}");
            assert_eq!(support::reason(&status), "VENDOR_UNAVAILABLE", "{story}");
            assert!(status.get_details_retry_info().is_some(), "{story}");
            assert_eq!(support::attempts(status.metadata()), 3, "{story}");
            assert_eq!(support::fact(&status, "attempts"), "3");
            assert_eq!(sent(&gateway, call), 3, "{story}");
        }
    }
}

#[tokio::test]
async fn a_caller_that_repeats_gets_one_attempt() {
    let gateway = gateway().await;
    let repeating = |times: &'static str| {
        move |metadata: &mut MetadataMap| {
            metadata.insert("grpc-previous-rpc-attempts", times.parse().unwrap());
        }
    };
    for call in REPEATABLE {
        plan(&gateway, &[Fault::status(503)]);
        let status = call.make_as(&gateway, repeating("1")).await.unwrap_err();
        assert_eq!(support::reason(&status), "VENDOR_UNAVAILABLE");
        assert_eq!(sent(&gateway, call), 1, "{call:?}");

        plan(&gateway, &[Fault::status(503)]);
        call.make_as(&gateway, repeating("0")).await.unwrap();
        assert_eq!(sent(&gateway, call), 2, "{call:?}");
    }
}

#[tokio::test]
async fn a_vendor_that_asks_to_wait_is_asked_again_whatever_the_call() {
    // A short deadline keeps the jitter of the waits short.
    let gateway = bounded(Duration::from_secs(2)).await;
    for call in [Call::GetSession, Call::UpdateUserData]
        .into_iter()
        .chain(ONCE)
    {
        // In turn, so that both count for each call.
        plan(&gateway, &wait("0"));
        let metadata = call.make(&gateway).await.unwrap();
        assert_eq!(support::attempts(&metadata), 3, "{call:?}");
        let (vendor, operation) = call.at();
        let entries = gateway.sandbox.journal().for_vendor(vendor);
        let entries = entries.iter().filter(|entry| entry.operation == operation);
        let statuses: Vec<_> = entries.map(|entry| entry.status.unwrap()).collect();
        assert_eq!(statuses, [429, 503, 200], "{call:?}");
    }
}

#[tokio::test]
async fn a_wait_that_fits_into_the_deadline_is_made() {
    let gateway = bounded(Duration::from_secs(4)).await;
    for fault in wait("1") {
        plan(&gateway, &[fault]);
        let metadata = Call::AttachUserData.make(&gateway).await.unwrap();
        assert_eq!(support::attempts(&metadata), 2);
        assert_eq!(sent(&gateway, Call::AttachUserData), 2);
    }
}

#[tokio::test]
async fn a_wait_that_does_not_fit_is_told_at_once() {
    let gateway = gateway().await;
    for call in REPEATABLE.into_iter().chain(ONCE) {
        let rows = [
            (Code::ResourceExhausted, "VENDOR_THROTTLED"),
            (Code::Unavailable, "VENDOR_UNAVAILABLE"),
        ];
        for (fault, (code, reason)) in wait("60").into_iter().zip(rows) {
            plan(&gateway, &[fault]);
            let status = call.make(&gateway).await.unwrap_err();
            let story = format!("{call:?}: {status:?}");
            assert_eq!(status.code(), code, "{story}");
            assert_eq!(support::reason(&status), reason, "{story}");
            let info = status.get_details_retry_info().unwrap();
            assert_eq!(info.retry_delay, Some(Duration::from_secs(60)));
            assert_eq!(pushback(&status), Some("60000"), "{story}");
            assert_eq!(support::attempts(status.metadata()), 1, "{story}");
            assert_eq!(sent(&gateway, call), 1, "{story}");
            let quota = status.get_details_quota_failure();
            assert_eq!(quota.is_some(), reason == "VENDOR_THROTTLED", "{story}");
        }
    }
}

#[tokio::test]
async fn a_spent_budget_ends_repeats_and_tells_callers_so() {
    let gateway = Gateway::start_with(|config| {
        for upstream in upstreams(config) {
            upstream.retry.budget_percent = 0;
            upstream.retry.budget_floor = 0;
        }
    })
    .await;
    plan(&gateway, &[Fault::status(503)]);
    let status = Call::GetSession.make(&gateway).await.unwrap_err();
    assert_eq!(support::reason(&status), "VENDOR_UNAVAILABLE");
    assert_eq!(pushback(&status), Some("-1"));
    assert_eq!(sent(&gateway, Call::GetSession), 1);
    // A cured refusal of the credentials is no repeat.
    plan(&gateway, &[Fault::Unauthorized]);
    Call::GetSession.make(&gateway).await.unwrap();
    assert_eq!(sent(&gateway, Call::GetSession), 2);
    for (vendor, refused) in [("genesys", 1), ("aicc", 0)] {
        let labels = [("vendor", vendor)];
        let counted = total(
            &gateway.metrics,
            "switchboard_retry_refusals_total",
            &labels,
        );
        assert_eq!(counted, refused, "{vendor}");
    }
}

/// The vendor says no more than that it did not do the repeat.
#[tokio::test]
async fn a_repeat_that_is_refused_does_not_hide_the_attempt_before_it() {
    let gateway = gateway().await;
    let refused = Fault::VendorCode {
        code: 2.into(),
        message: "no".to_owned(),
    };
    for call in [Call::UpdateUserData, Call::Update] {
        for doubt in [true, false] {
            let lost = doubt.then(|| Fault::status(504));
            let faults: Vec<_> = lost.into_iter().chain([refused.clone()]).collect();
            plan(&gateway, &faults);
            let status = call.make(&gateway).await.unwrap_err();
            assert_eq!(support::reason(&status), "VENDOR_REJECTED");
            let told = status.message().ends_with("may have done it");
            assert_eq!(told, doubt, "{call:?}: {status:?}");
        }
    }
}

async fn delete(gateway: &Gateway) -> Result<MetadataMap, Status> {
    delete_after(gateway, 0).await
}

/// By a caller that has made the call so many times before.
async fn delete_after(gateway: &Gateway, times: u32) -> Result<MetadataMap, Status> {
    let mut request = Request::new(DeleteAgentSettingsRequest {
        user_id: USER.to_owned(),
        ..Default::default()
    });
    let metadata = request.metadata_mut();
    metadata.insert("grpc-previous-rpc-attempts", times.into());
    let answer = gateway.settings().delete_agent_settings(request).await;
    answer.map(|answer| answer.metadata().clone())
}

#[tokio::test]
async fn a_delete_that_was_done_by_an_attempt_without_an_answer_is_a_success() {
    for fault in [Fault::Reset, Fault::CutBody, Fault::status(504)] {
        let gateway = gateway().await;
        let rule = Rule::new(fault.clone()).after().times(1);
        gateway.sandbox.faults().push(rule).unwrap();
        let metadata = delete(&gateway).await;
        metadata.unwrap_or_else(|status| panic!("{fault:?}: {status:?}"));
        assert_eq!(gateway.sandbox.journal().count("aicc", "delete"), 2);
        assert!(gateway.sandbox.aicc().record(USER).is_none());
    }
}

/// The vendor's no to a repeat may mean that the first attempt had done it. Only a look can tell, and
/// where none can be had nobody is told that it was not done.
#[tokio::test]
async fn a_delete_in_doubt_that_cannot_be_looked_for_is_not_refused() {
    let refused = Fault::VendorCode {
        code: "-1".into(),
        message: "no".to_owned(),
    };
    let there = Verdict::new(Code::FailedPrecondition, "VENDOR_REJECTED");
    let there = there.status("200").vendor_code("-1").attempts(3);
    let unseen = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE");
    let unseen = unseen.status("502").attempts(5);
    for (queries_fail, verdict) in [(false, there), (true, unseen)] {
        let gateway = gateway().await;
        plan(&gateway, &[Fault::status(504), refused.clone()]);
        if queries_fail {
            let rule = Rule::new(Fault::status(502)).operation("query");
            gateway.sandbox.faults().push(rule).unwrap();
        }
        let status = delete(&gateway).await.unwrap_err();
        verdict.check(calls::Call::DeleteSettings, &status);
        // A look that found it leaves no doubt.
        let message = status.message();
        assert!(!message.contains("earlier attempt"), "{message}");
    }
}

/// What the caller's library repeats on its own was done by a call whose answer did not arrive.
#[tokio::test]
async fn a_delete_that_was_done_by_the_callers_call_before_is_a_success() {
    let gateway = gateway().await;
    delete(&gateway).await.unwrap();
    let metadata = delete_after(&gateway, 1).await.unwrap();
    assert_eq!(support::attempts(&metadata), 2, "and the look");
    // The record stands, so it is the vendor's no that counts.
    let gateway = self::gateway().await;
    let refused = Fault::VendorCode {
        code: "-1".into(),
        message: "no".to_owned(),
    };
    plan(&gateway, &[refused]);
    let status = delete_after(&gateway, 1).await.unwrap_err();
    let there = Verdict::new(Code::FailedPrecondition, "VENDOR_REJECTED");
    let there = there.status("200").vendor_code("-1").attempts(2);
    there.check(calls::Call::DeleteSettings, &status);
}

#[tokio::test]
async fn a_delete_of_what_is_not_there_is_a_failure() {
    let gateway = gateway().await;
    delete(&gateway).await.unwrap();
    let status = delete(&gateway).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(support::reason(&status), "VENDOR_REJECTED");
    assert_eq!(support::attempts(status.metadata()), 1);
    // An attempt that never reached the vendor, or was refused, has deleted nothing.
    plan(&gateway, &[Fault::Unauthorized, wait("0")[0].clone()]);
    let status = delete(&gateway).await.unwrap_err();
    assert_eq!(support::reason(&status), "VENDOR_REJECTED");
    assert_eq!(support::attempts(status.metadata()), 3);
}

/// Repeats at short intervals, as often as it takes for a vendor to come back.
fn patient() -> Retry {
    Retry {
        attempts: 1_000_000,
        cap: Duration::from_millis(20),
        budget_percent: 100,
        budget_floor: 1_000_000,
        ..Retry::default()
    }
}

async fn retried(gateway: &Gateway) {
    let labels = [("reason", "never_sent")];
    until("an attempt has failed to connect", || {
        total(&gateway.metrics, "switchboard_retries_total", &labels) > 0
    })
    .await;
}

#[tokio::test]
async fn a_create_that_was_never_sent_is_repeated() {
    // Logins go to the sandbox directly; calls to an address where nobody listens at first.
    let closed = Port::reserve();
    let address = closed.address;
    let gateway = Gateway::start_with(|config| {
        let aicc = config.aicc.as_mut().unwrap();
        aicc.base_url = format!("http://{address}").parse().unwrap();
        aicc.upstream.retry = patient();
    })
    .await;
    let open = async {
        retried(&gateway).await;
        let vendor = gateway.sandbox.aicc_listener().address();
        forward(TcpListener::bind(address).await.unwrap(), vendor);
    };
    let (answer, ()) = tokio::join!(Call::Create.make(&gateway), open);
    // What was never sent is not counted.
    assert_eq!(support::attempts(&answer.unwrap()), 1);
    assert_eq!(sent(&gateway, Call::Create), 1);
    assert_eq!(gateway.sandbox.aicc().creates().len(), 1);
}

#[tokio::test]
async fn an_attach_whose_login_was_never_sent_is_repeated() {
    let gateway = Gateway::start_with(|config| {
        config.genesys.as_mut().unwrap().upstream.retry = patient();
    })
    .await;
    gateway.sandbox.genesys_listener().stop().await;
    let open = async {
        let labels = [("vendor", "genesys"), ("result", "unavailable")];
        until("a login has failed", || {
            total(
                &gateway.metrics,
                "switchboard_token_refreshes_total",
                &labels,
            ) > 0
        })
        .await;
        gateway.sandbox.genesys_listener().start().unwrap();
    };
    let (answer, ()) = tokio::join!(Call::AttachUserData.make(&gateway), open);
    assert_eq!(support::attempts(&answer.unwrap()), 1);
    assert_eq!(gateway.sandbox.genesys().attaches().len(), 1);
}

#[tokio::test]
async fn a_vendor_that_cannot_be_reached_is_unavailable_for_writes_too() {
    let gateway = gateway().await;
    gateway.sandbox.genesys_listener().stop().await;
    gateway.sandbox.aicc_listener().stop().await;
    for call in REPEATABLE.into_iter().chain(ONCE) {
        let status = call.make(&gateway).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{call:?}: {status:?}");
        assert_eq!(support::reason(&status), "VENDOR_UNAVAILABLE");
        assert_eq!(support::attempts(status.metadata()), 0);
        assert!(status.get_details_retry_info().is_some());
    }
}

/// Passes connections on as they are.
fn forward(listener: TcpListener, to: SocketAddr) {
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut vendor = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut caller, &mut vendor).await;
            });
        }
    });
}
