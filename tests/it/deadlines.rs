//! No call outlasts its deadline, and who waited learns by details what ran out: never a bare
//! CANCELLED. A write that must not happen twice is not cut in half by a caller that leaves.
//!
//! Nothing here measures time: that an answer comes at all shows that a bound held, and its
//! reason shows which.

use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use switchboard::pb::{AttachUserDataRequest, CreateAgentSettingsRequest, UpdateUserDataRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use tonic::{Code, Status};

use crate::support::untimed::{self, within};
use crate::support::watch::{in_time, until};
use crate::support::{self, Gateway, SESSION, USER, get};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(3600);

const SHORT: Duration = Duration::from_millis(250);

fn update() -> UpdateUserDataRequest {
    UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    }
}

fn attach() -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    }
}

fn create() -> CreateAgentSettingsRequest {
    CreateAgentSettingsRequest {
        user_id: "1660270845627002402".into(),
        ..Default::default()
    }
}

/// A gateway whose own bounds are out of the way, in front of vendors of which this goes wrong.
async fn gateway(faults: &[Rule]) -> Gateway {
    let gateway = Gateway::start_with(|config| {
        config.server.max_deadline = LONG;
        config.server.default_deadline = LONG;
        config.genesys.as_mut().unwrap().upstream.timeout.attempt = LONG;
        config.aicc.as_mut().unwrap().upstream.timeout.attempt = LONG;
    })
    .await;
    gateway.sandbox.faults().replace(faults.to_vec()).unwrap();
    gateway
}

async fn log_in(gateway: &Gateway) {
    gateway.sms().get_session(get()).await.unwrap();
    let user = switchboard::pb::GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    gateway.settings().get_agent_settings(user).await.unwrap();
}

fn assert_late(status: &Status, reason: &str, attempts: u32) {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(support::reason(status), reason, "{status:?}");
    assert_eq!(support::attempts(status.metadata()), attempts);
    assert_eq!(support::fact(status, "attempts"), attempts.to_string());
    let pushback = status.metadata().get("grpc-retry-pushback-ms");
    let never = (reason == "OUTCOME_UNKNOWN").then_some("-1");
    assert_eq!(pushback.map(|it| it.to_str().unwrap()), never);
}

#[tokio::test]
async fn a_hanging_vendor_is_waited_for_until_the_callers_deadline() {
    let gateway = gateway(&[]).await;
    log_in(&gateway).await;
    let hang = Rule::new(Fault::Hang);
    gateway.sandbox.faults().push(hang).unwrap();
    let mut sms = untimed::sms(gateway.address).await;
    let mut settings = untimed::settings(gateway.address).await;

    let read = in_time("read", sms.get_session(within(SHORT, get()))).await;
    assert_late(&read.unwrap_err(), "DEADLINE", 1);
    let update = in_time("update", sms.update_user_data(within(SHORT, update()))).await;
    assert_late(&update.unwrap_err(), "DEADLINE", 1);
    let attach = in_time("attach", sms.attach_user_data(within(SHORT, attach()))).await;
    assert_late(&attach.unwrap_err(), "OUTCOME_UNKNOWN", 1);
    let create = settings.create_agent_settings(within(SHORT, create()));
    let create = in_time("create", create).await;
    assert_late(&create.unwrap_err(), "OUTCOME_UNKNOWN", 1);
}

#[tokio::test]
async fn a_write_that_waited_for_a_login_was_not_sent() {
    let hang = |login: &str| Rule::new(Fault::Hang).operation(login);
    let gateway = gateway(&[hang("Login"), hang("Token")]).await;
    let mut sms = untimed::sms(gateway.address).await;
    let attach = in_time("attach", sms.attach_user_data(within(SHORT, attach()))).await;
    assert_late(&attach.unwrap_err(), "DEADLINE", 0);
    let mut settings = untimed::settings(gateway.address).await;
    let create = settings.create_agent_settings(within(SHORT, create()));
    let create = in_time("create", create).await;
    assert_late(&create.unwrap_err(), "DEADLINE", 0);
    let journal = gateway.sandbox.journal();
    assert_eq!(journal.count("genesys", "AttachUserData"), 0);
    assert_eq!(journal.count("aicc", "create"), 0);
}

#[tokio::test]
async fn the_deadline_bounds_all_attempts_and_the_waits_between_them() {
    let gateway = Gateway::start_with(|config| {
        let upstream = &mut config.genesys.as_mut().unwrap().upstream;
        upstream.timeout.attempt = Duration::from_millis(20);
        upstream.retry.attempts = 1_000_000;
        upstream.retry.budget_floor = 1_000_000;
    })
    .await;
    log_in(&gateway).await;
    let hang = Rule::new(Fault::Hang);
    gateway.sandbox.faults().push(hang).unwrap();
    let mut sms = untimed::sms(gateway.address).await;
    let read = in_time("read", sms.get_session(within(SHORT, get()))).await;
    let status = read.unwrap_err();
    // A wait that would outlast the deadline is not begun: then the last attempt's failure
    // stands.
    let ended = match status.code() {
        Code::DeadlineExceeded => "DEADLINE",
        _ => "VENDOR_UNAVAILABLE",
    };
    assert_eq!(support::reason(&status), ended, "{status:?}");
    let sent = gateway.sandbox.journal().count("genesys", "GetSession") - 1;
    assert!(sent >= 2, "{sent} attempts");
}

#[tokio::test]
async fn the_operators_longest_deadline_counts_where_the_caller_asks_for_more() {
    let gateway = Gateway::start_with(|config| config.server.max_deadline = SHORT).await;
    log_in(&gateway).await;
    let hang = Rule::new(Fault::Hang);
    gateway.sandbox.faults().push(hang).unwrap();
    let mut sms = untimed::sms(gateway.address).await;
    let read = in_time("read", sms.get_session(within(LONG, get()))).await;
    assert_late(&read.unwrap_err(), "DEADLINE", 1);
    let attach = in_time("attach", sms.attach_user_data(within(LONG, attach()))).await;
    assert_late(&attach.unwrap_err(), "OUTCOME_UNKNOWN", 1);
}

#[tokio::test]
async fn the_operators_default_counts_where_the_caller_sends_none() {
    let gateway = Gateway::start_with(|config| config.server.default_deadline = SHORT).await;
    log_in(&gateway).await;
    let hang = Rule::new(Fault::Hang);
    gateway.sandbox.faults().push(hang).unwrap();
    let read = in_time("read", gateway.sms().get_session(get())).await;
    assert_late(&read.unwrap_err(), "DEADLINE", 1);
    let attach = in_time("attach", gateway.sms().attach_user_data(attach())).await;
    assert_late(&attach.unwrap_err(), "OUTCOME_UNKNOWN", 1);
}

/// The library that serves gRPC has a timer of its own for `grpc-timeout`, whose answer is a
/// bare CANCELLED; a runtime that is late with everything must not let it win.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_gateway_still_answers_deadlines_itself() {
    let gateway = gateway(&[]).await;
    log_in(&gateway).await;
    let hang = Rule::new(Fault::Hang);
    gateway.sandbox.faults().push(hang).unwrap();
    let sms = untimed::sms(gateway.address).await;
    let calls = (0..600).map(|_| {
        let mut sms = sms.clone();
        async move {
            sms.attach_user_data(within(Duration::from_millis(60), attach()))
                .await
        }
    });
    for answer in in_time("all calls", join_all(calls)).await {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        let reason = support::reason(&status);
        let sent = support::attempts(status.metadata()) > 0;
        let expected = if sent { "OUTCOME_UNKNOWN" } else { "DEADLINE" };
        assert_eq!(reason, expected, "{status:?}");
    }
}

/// A caller that begins a call and never sends its message.
#[tokio::test]
async fn a_request_that_never_arrives_is_not_waited_for_beyond_the_deadline() {
    let gateway = Gateway::start_with(|config| config.server.default_deadline = SHORT).await;
    let stream = tokio::net::TcpStream::connect(gateway.address)
        .await
        .unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!(
        "http://{}/contactcenter.v1.SmsSessionData/GetSession",
        gateway.address
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(())
    .unwrap();
    let (answer, _never_used) = client.send_request(request, false).unwrap();
    let answer = in_time("the answer", answer).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(support::reason(&status), "DEADLINE");
    assert_eq!(answer.headers()["x-switchboard-attempts"], "0");
}

/// How many calls ended without an answer, as the gateway's own metrics tell.
fn given_up(gateway: &Gateway) -> bool {
    gateway.metrics.text().contains("CANCELLED")
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_cut_an_attach_in_half() {
    let mut gateway = Gateway::start().await;
    log_in(&gateway).await;
    let slow = Rule::new(Fault::Latency { ms: 700 });
    gateway.sandbox.faults().push(slow).unwrap();
    let mut sms = gateway.sms();
    let call = tokio::spawn(async move { sms.attach_user_data(attach()).await });
    let mut settings = gateway.settings();
    let other = tokio::spawn(async move { settings.create_agent_settings(create()).await });
    let journal = gateway.sandbox.journal().clone();
    until("the vendors have both requests", || {
        journal.count("genesys", "AttachUserData") + journal.count("aicc", "create") == 2
    })
    .await;
    call.abort();
    other.abort();
    until("the callers have left", || given_up(&gateway)).await;

    // The drain waits for what goes on without a caller.
    gateway.terminate();
    in_time("the drain", gateway.ended()).await.unwrap();
    let attached = (SESSION.to_owned(), "Colour".to_owned());
    assert_eq!(gateway.sandbox.genesys().attaches(), [attached]);
    assert_eq!(gateway.sandbox.aicc().creates(), [create().user_id]);
    assert_eq!(journal.count("genesys", "AttachUserData"), 1);
    assert_eq!(journal.count("aicc", "create"), 1);
}

/// What may be repeated need not go on for nobody.
#[tokio::test]
async fn a_caller_that_leaves_ends_a_read() {
    let mut gateway = gateway(&[]).await;
    log_in(&gateway).await;
    let hang = Rule::new(Fault::Hang);
    gateway.sandbox.faults().push(hang).unwrap();
    let mut sms = gateway.sms();
    let call = tokio::spawn(async move { sms.get_session(get()).await });
    let journal = gateway.sandbox.journal().clone();
    until("the vendor has the request", || {
        journal.count("genesys", "GetSession") == 2
    })
    .await;
    call.abort();
    until("the caller has left", || given_up(&gateway)).await;
    // Had it gone on, the drain would wait for its deadline.
    gateway.terminate();
    in_time("the drain", gateway.ended()).await.unwrap();
}
