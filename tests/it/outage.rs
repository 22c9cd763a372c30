//! A vendor that is out does not hear from the gateway more than it must, and nobody else
//! notices: calls are answered in time and by details, those to the other vendor go on, and all
//! is well again with the first call after the outage.

use std::time::Duration;

use futures_util::future::join_all;
use switchboard::pb::{AttachUserDataRequest, GetAgentSettingsRequest, UpdateUserDataRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::untimed::{self, within};
use crate::support::watch::{in_time, total};
use crate::support::{self, Gateway, SESSION, USER, get};

/// 250 a second, for five seconds.
const CALLS: u32 = 1250;
const PACE: Duration = Duration::from_millis(4);
/// A tenth of them goes to the other vendor.
const OTHER: u32 = 10;

/// How many requests, or connects, one call may cost a vendor that is out.
const DEAREST: f64 = 1.3;

/// The floor of the retry budget, by the second. A machine that does not keep the pace gives
/// it more seconds than the figure above allows for, which are those of the budget's window.
const FLOOR: f64 = 10.0;
const WINDOW: Duration = Duration::from_secs(10);

/// Far more than such a call takes, and as long as calls have by default.
const DEADLINE: Duration = Duration::from_secs(10);

fn update() -> UpdateUserDataRequest {
    UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    }
}

/// Both vendors are up, and both accounts logged in.
async fn gateway() -> Gateway {
    let gateway = Gateway::start().await;
    gateway.sms().get_session(get()).await.unwrap();
    ask_other(&gateway).await.unwrap();
    gateway
}

async fn ask_other(gateway: &Gateway) -> Result<(), Status> {
    let mut settings = untimed::settings(gateway.address).await;
    let request = GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    let answer = settings.get_agent_settings(within(DEADLINE, request));
    answer.await.map(drop)
}

/// Calls both vendors at the pace, and judges every answer; tells how long it took.
async fn bear(gateway: &Gateway) -> Duration {
    let start = Instant::now();
    let sms = untimed::sms(gateway.address).await;
    let mut ticks = tokio::time::interval(PACE);
    let (mut calls, mut others) = (Vec::new(), Vec::new());
    for n in 0..CALLS {
        ticks.tick().await;
        let mut sms = sms.clone();
        calls.push(tokio::spawn(async move {
            if n % 2 == 0 {
                let read = sms.get_session(within(DEADLINE, get())).await;
                read.expect_err("the vendor is out")
            } else {
                let write = sms.update_user_data(within(DEADLINE, update())).await;
                write.expect_err("the vendor is out")
            }
        }));
        if n % OTHER == 0 {
            others.push(ask_other(gateway));
        }
    }
    for call in in_time("the calls", join_all(calls)).await {
        let status = call.unwrap();
        // In time, as these callers have no timer of their own: the gateway ends late ones itself.
        match (status.code(), support::reason(&status).as_str()) {
            (Code::Unavailable, "VENDOR_UNAVAILABLE" | "CIRCUIT_OPEN") => {
                assert!(status.get_details_retry_info().is_some(), "{status:?}");
            }
            (Code::DeadlineExceeded, "DEADLINE") => {}
            _ => panic!("{status:?}"),
        }
    }
    for other in in_time("the other vendor", join_all(others)).await {
        other.expect("the other vendor is well");
    }
    start.elapsed()
}

async fn assert_well_at_once(gateway: &Gateway) {
    let answer = gateway.sms().get_session(get()).await.unwrap();
    assert_eq!(support::attempts(answer.metadata()), 1);
    let answer = gateway.sms().update_user_data(update()).await.unwrap();
    assert_eq!(support::attempts(answer.metadata()), 1);
    // No connection of before is left over for it to be lost on.
    let attach = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    };
    gateway.sms().attach_user_data(attach).await.unwrap();
}

/// So that the figure is to be had from a run that went well, too.
#[expect(clippy::print_stderr, reason = "shown with --nocapture")]
fn assert_cheap(how: &str, requests: u64, took: Duration) {
    let calls = f64::from(CALLS);
    let each = requests as f64 / calls;
    eprintln!("{how}: {each:.3} for each of {CALLS} calls in {took:.1?}");
    let longer = took.saturating_sub(WINDOW).as_secs_f64();
    let most = DEAREST + longer * FLOOR / calls;
    assert!(each <= most, "{how}: {each} for each call in {took:?}");
}

/// One after the other, so that they do not take each other's pace away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_is_out_is_spared_and_the_other_one_is_not() {
    answers_503().await;
    refuses_connections().await;
    was_never_there().await;
}

async fn answers_503() {
    let gateway = gateway().await;
    let down = Rule::new(Fault::status(503)).vendor("genesys");
    gateway.sandbox.faults().push(down).unwrap();
    gateway.sandbox.journal().clear();
    let took = bear(&gateway).await;
    let journal = gateway.sandbox.journal();
    let requests = ["Login", "GetSession", "UpdateUserData"].map(|it| journal.count("genesys", it));
    assert_cheap("requests to a vendor of 503s", requests.iter().sum(), took);
    gateway.sandbox.faults().clear();
    assert_well_at_once(&gateway).await;
}

async fn refuses_connections() {
    let gateway = gateway().await;
    let attempts = || {
        let genesys = [("vendor", "genesys")];
        total(
            &gateway.metrics,
            "switchboard_vendor_attempts_total",
            &genesys,
        )
    };
    let before = attempts();
    gateway.sandbox.genesys_listener().stop().await;
    let took = bear(&gateway).await;
    assert_cheap("connects to a closed port", attempts() - before, took);
    gateway.sandbox.genesys_listener().start().unwrap();
    assert_well_at_once(&gateway).await;
}

/// The same with nobody logged in: what is counted then are logins.
async fn was_never_there() {
    let gateway = Gateway::start().await;
    gateway.sandbox.genesys_listener().stop().await;
    let took = bear(&gateway).await;
    let genesys = [("vendor", "genesys")];
    let attempts = total(
        &gateway.metrics,
        "switchboard_vendor_attempts_total",
        &genesys,
    );
    assert_cheap("logins at a closed port", attempts, took);
    gateway.sandbox.genesys_listener().start().unwrap();
    assert_well_at_once(&gateway).await;
}
