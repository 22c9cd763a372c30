//! A vendor that keeps failing is given a rest, and its callers an answer at once.

use std::time::Duration;

use futures_util::future::join_all;
use switchboard::pb::ListSessionsRequest;
use switchboard::sandbox::faults::{Fault, Rule};
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

use crate::admin;
use crate::support::calls::Call;
use crate::support::watch::{in_time, until};
use crate::support::{self, Gateway, patient, reason};

const SMS: &str = "contactcenter.v1.SmsSessionData";
const SETTINGS: &str = "contactcenter.v1.AgentSettings";
const EVER: Duration = Duration::from_secs(3600);

/// One that opens with the first failure, for so long.
async fn jumpy(open: Duration) -> Gateway {
    Gateway::start_with(|config| {
        let upstream = &mut config.genesys.as_mut().unwrap().upstream;
        upstream.retry.attempts = 1;
        upstream.breaker.enabled = true;
        upstream.breaker.min_calls = 1;
        upstream.breaker.open = open;
        config.server.shutdown_delay = Duration::from_secs(1);
    })
    .await
}

async fn call(gateway: &Gateway) -> Result<(), tonic::Status> {
    let request = ListSessionsRequest::default();
    gateway.sms().list_sessions(request).await.map(drop)
}

/// A vendor that hangs takes as long for each probe as for any attempt, and all others are refused
/// meanwhile: who looks then must not find it better than it is.
#[tokio::test]
async fn it_is_open_while_its_probe_is_under_way() {
    let gateway = jumpy(Duration::from_millis(1)).await;
    let faults = gateway.sandbox.faults();
    let lists = || gateway.sandbox.journal().count("genesys", "ListSessions");
    let failing = Rule::new(Fault::status(503)).times(1);
    faults.push(failing).unwrap();
    call(&gateway).await.unwrap_err();
    faults.push(Rule::new(Fault::Hang)).unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;

    let mut sms = gateway.sms();
    let probe = sms.list_sessions(ListSessionsRequest::default());
    let look = async {
        until("the probe", || lists() == 2).await;
        let refused = call(&gateway).await.unwrap_err();
        assert_eq!(reason(&refused), "CIRCUIT_OPEN");
        let metrics = gateway.metrics.text();
        assert!(metrics.contains(r#"switchboard_breaker_state{vendor="genesys"} 2"#));
        let (_, page) = admin::get(&gateway, "/status.json").await;
        let page: serde_json::Value = serde_json::from_str(&page).unwrap();
        assert_eq!(page["vendors"][0]["breaker"]["state"], "open");
    };
    tokio::select! {
        _ = probe => panic!("it hangs"),
        () = look => {}
    }
}

/// However many wait for a login, it is one request at the vendor.
#[tokio::test]
async fn one_login_that_fails_is_one_failure() {
    let gateway = Gateway::start_with(|config| {
        patient(config);
        for upstream in support::upstreams(config) {
            upstream.breaker.enabled = true;
        }
    })
    .await;
    let lost = Rule::new(Fault::Reset).operation("Token").times(1);
    gateway.sandbox.faults().push(lost).unwrap();
    let calls = (0..50).map(|_| Call::UpdateSettings.send(&gateway));
    for answer in join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(gateway.sandbox.journal().count("aicc", "Token"), 2);
}

/// With nobody logged in, logins are all that shows how the vendor is.
#[tokio::test]
async fn logins_that_fail_open_the_circuit() {
    let gateway = Gateway::start_with(|config| {
        for upstream in support::upstreams(config) {
            upstream.retry.attempts = 1;
            upstream.breaker.enabled = true;
            upstream.breaker.min_calls = 5;
        }
    })
    .await;
    for (operation, one) in [
        ("Login", Call::ListSessions),
        ("Token", Call::QuerySettings),
    ] {
        let down = Rule::new(Fault::status(503)).operation(operation);
        gateway.sandbox.faults().push(down).unwrap();
        for _ in 0..5 {
            let status = one.send(&gateway).await.unwrap_err();
            assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
        }
        let status = one.send(&gateway).await.unwrap_err();
        assert_eq!(reason(&status), "CIRCUIT_OPEN");
    }
}

/// Fails a call, which opens the circuit.
async fn fail(gateway: &Gateway) {
    let down = Rule::new(Fault::status(503)).times(1);
    gateway.sandbox.faults().replace(vec![down]).unwrap();
    let status = call(gateway).await.unwrap_err();
    assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
}

/// Until the circuit lets a probe through.
async fn rested(gateway: &Gateway) {
    let half_open = r#"switchboard_breaker_state{vendor="genesys"} 1"#;
    let lets_through = || gateway.metrics.text().contains(half_open);
    until("the vendor's rest is over", lets_through).await;
}

async fn health(gateway: &Gateway, service: &str) -> ServingStatus {
    let service = service.to_owned();
    let mut client = HealthClient::new(gateway.channel.clone());
    let answer = client.check(HealthCheckRequest { service }).await;
    answer.unwrap().into_inner().status()
}

async fn watch(gateway: &Gateway, service: &str) -> Streaming<HealthCheckResponse> {
    let service = service.to_owned();
    let mut client = HealthClient::new(gateway.channel.clone());
    let answer = client.watch(HealthCheckRequest { service }).await;
    answer.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let message = in_time("a change of health", watch.message()).await;
    message.unwrap().expect("no end").status()
}

#[tokio::test]
async fn health_follows_an_open_circuit_for_its_service_alone() {
    let gateway = jumpy(EVER).await;
    let mut sms = watch(&gateway, SMS).await;
    assert_eq!(next(&mut sms).await, Serving);
    fail(&gateway).await;
    assert_eq!(next(&mut sms).await, NotServing);
    assert_eq!(health(&gateway, SETTINGS).await, Serving);
    assert_eq!(health(&gateway, "").await, Serving);
    assert_eq!(admin::get(&gateway, "/readyz").await.0, 200);
}

#[tokio::test]
async fn health_says_so_when_the_vendor_is_well_again() {
    let gateway = jumpy(Duration::from_secs(1)).await;
    let mut sms = watch(&gateway, SMS).await;
    assert_eq!(next(&mut sms).await, Serving);
    fail(&gateway).await;
    assert_eq!(next(&mut sms).await, NotServing);
    rested(&gateway).await;
    call(&gateway).await.unwrap();
    assert_eq!(next(&mut sms).await, Serving);
    assert_eq!(health(&gateway, SMS).await, Serving);
}

/// Callers that go by health send no probe: health has to invite one.
#[tokio::test]
async fn health_invites_a_probe_when_the_rest_is_over_and_nobody_has_called() {
    let gateway = jumpy(Duration::from_millis(200)).await;
    let mut sms = watch(&gateway, SMS).await;
    assert_eq!(next(&mut sms).await, Serving);
    for _ in 0..3 {
        fail(&gateway).await;
        assert_eq!(next(&mut sms).await, NotServing);
        assert_eq!(next(&mut sms).await, Serving);
    }
    call(&gateway).await.unwrap();
    assert_eq!(health(&gateway, SMS).await, Serving);
}

#[tokio::test]
async fn while_it_drains_no_circuit_turns_health_back() {
    let mut gateway = jumpy(Duration::from_millis(200)).await;
    let (mut sms, mut settings) = (watch(&gateway, SMS).await, watch(&gateway, SETTINGS).await);
    assert_eq!(next(&mut sms).await, Serving);
    assert_eq!(next(&mut settings).await, Serving);
    fail(&gateway).await;
    assert_eq!(next(&mut sms).await, NotServing);
    gateway.terminate();
    assert_eq!(next(&mut settings).await, NotServing);
    // The circuit has its rest, a probe that is answered, and closes within the delay.
    rested(&gateway).await;
    call(&gateway).await.unwrap();
    for service in ["", SMS, SETTINGS] {
        assert_eq!(health(&gateway, service).await, NotServing, "{service}");
    }
    // Nothing else was ever said but the end.
    while let Ok(Some(message)) = in_time("the end", sms.message()).await {
        assert_eq!(message.status(), NotServing);
    }
    in_time("the drain", gateway.ended()).await.unwrap();
}

#[tokio::test]
async fn it_opens_tells_when_and_closes_again() {
    let gateway = Gateway::start_with(|config| {
        let upstream = &mut config.genesys.as_mut().unwrap().upstream;
        upstream.retry.attempts = 1;
        upstream.breaker.enabled = true;
        upstream.breaker.min_calls = 5;
        upstream.breaker.open = Duration::from_secs(1);
    })
    .await;
    let mut sms = gateway.sms();
    let journal = gateway.sandbox.journal();
    gateway
        .sandbox
        .faults()
        .push(Rule::new(Fault::status(503)))
        .unwrap();
    for _ in 0..5 {
        let status = sms
            .list_sessions(ListSessionsRequest::default())
            .await
            .unwrap_err();
        assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
    }
    let status = sms
        .list_sessions(ListSessionsRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "CIRCUIT_OPEN");
    let wait = status
        .get_details_retry_info()
        .unwrap()
        .retry_delay
        .unwrap();
    assert_eq!(journal.count("genesys", "ListSessions"), 5);
    assert!(
        gateway
            .metrics
            .text()
            .contains(r#"switchboard_breaker_state{vendor="genesys"} 2"#)
    );
    assert!(
        gateway
            .metrics
            .text()
            .contains(r#"switchboard_breaker_state{vendor="aicc"} 0"#)
    );

    gateway.sandbox.faults().clear();
    // The answer said how long; that is the event to wait for.
    tokio::time::sleep(wait).await;
    // It refuses nobody any more, though nobody has called since: else a replica that gets no calls
    // would be told to keep its vendor open for ever.
    assert!(
        gateway
            .metrics
            .text()
            .contains(r#"switchboard_breaker_state{vendor="genesys"} 1"#)
    );
    let (_, page) = admin::get(&gateway, "/status.json").await;
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["vendors"][0]["breaker"]["state"], "half_open");
    sms.list_sessions(ListSessionsRequest::default())
        .await
        .unwrap();
    assert!(
        gateway
            .metrics
            .text()
            .contains(r#"switchboard_breaker_state{vendor="genesys"} 0"#)
    );
}
