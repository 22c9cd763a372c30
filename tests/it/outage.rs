//! A vendor that is out does not hear from the gateway more than it must, and nobody else
//! notices: calls are answered in time and by details, those to the other vendor go on, and all
//! is well again with the first call after the outage.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use switchboard::pb::{AttachUserDataRequest, GetAgentSettingsRequest, UpdateUserDataRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::untimed::{self, within};
use crate::support::watch::{in_time, total};
use crate::support::{self, Gateway, SESSION, USER, get};

/// 250 a second, for five seconds.
const CALLS: u32 = 1250;
const PACE: Duration = Duration::from_millis(4);
/// A machine that does not keep the pace has so many under way at a time, and is not called by ever more.
const AT_A_TIME: usize = 64;
/// A tenth of them goes to the other vendor.
const OTHER: u32 = 10;

/// How many requests, or connects, one call may cost a vendor that is out.
const DEAREST: f64 = 1.3;

/// The floor of the retry budget, by the second. A machine that does not keep the pace gives
/// it more seconds than the figure above allows for, which are those of the budget's window.
const FLOOR: f64 = 10.0;
const WINDOW: Duration = Duration::from_secs(10);

/// What the gateway says of calls that wait for the processor.
const CANNOT_BEGIN: &str = "more calls arrive at the gateway than it can begin";

/// Before a call is made again that the gateway could not begin.
const REST: Duration = Duration::from_millis(500);

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
    ask_other(gateway.address).await.unwrap();
    gateway
}

async fn ask_other(gateway: SocketAddr) -> Result<(), Status> {
    let settings = untimed::settings(gateway).await;
    begun(|| {
        let request = GetAgentSettingsRequest {
            user_id: USER.into(),
            ..Default::default()
        };
        let mut settings = settings.clone();
        async move {
            let answer = settings.get_agent_settings(within(DEADLINE, request));
            answer.await.map(drop)
        }
    })
    .await
}

/// On a machine that does not keep the pace the gateway refuses what it cannot begin, whatever the
/// vendors do: then it is called again.
async fn begun<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    loop {
        match call().await {
            Err(status) if status.message() == CANNOT_BEGIN => sleep(REST).await,
            answer => return answer,
        }
    }
}

/// Calls both vendors at the pace, and judges every answer; tells how long it took.
async fn bear(gateway: &Gateway) -> Duration {
    let start = Instant::now();
    let sms = untimed::sms(gateway.address).await;
    let mut ticks = tokio::time::interval(PACE);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let (mut calls, mut others) = (Vec::new(), Vec::new());
    for n in 0..CALLS {
        ticks.tick().await;
        let place = in_time("a place", Arc::clone(&places).acquire_owned()).await;
        let sms = sms.clone();
        calls.push(tokio::spawn(async move {
            let _place = place;
            let answer = begun(|| {
                let mut sms = sms.clone();
                async move {
                    if n % 2 == 0 {
                        sms.get_session(within(DEADLINE, get())).await.map(drop)
                    } else {
                        let write = sms.update_user_data(within(DEADLINE, update()));
                        write.await.map(drop)
                    }
                }
            });
            answer.await.expect_err("the vendor is out")
        }));
        if n % OTHER == 0 {
            others.push(tokio::spawn(ask_other(gateway.address)));
        }
    }
    for call in calls {
        let status = in_time("a call", call).await.unwrap();
        // In time, as these callers have no timer of their own: the gateway ends late ones itself.
        match (status.code(), support::reason(&status).as_str()) {
            (Code::Unavailable, "VENDOR_UNAVAILABLE" | "CIRCUIT_OPEN") => {
                assert!(status.get_details_retry_info().is_some(), "{status:?}");
            }
            (Code::DeadlineExceeded, "DEADLINE") => {}
            _ => panic!("{status:?}"),
        }
    }
    for other in others {
        let answer = in_time("the other vendor", other).await.unwrap();
        answer.expect("the other vendor is well");
    }
    start.elapsed()
}

async fn assert_well_at_once(gateway: &Gateway) {
    let read = begun(|| async { gateway.sms().get_session(get()).await }).await;
    assert_eq!(support::attempts(read.unwrap().metadata()), 1);
    let written = begun(|| async { gateway.sms().update_user_data(update()).await }).await;
    assert_eq!(support::attempts(written.unwrap().metadata()), 1);
    // No connection of before is left over for it to be lost on.
    let attach = || AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    };
    let attached = begun(|| async { gateway.sms().attach_user_data(attach()).await }).await;
    attached.unwrap();
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
