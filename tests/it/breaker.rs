//! A vendor that keeps failing is given a rest, and its callers an answer at once.

use switchboard::pb::ListSessionsRequest;
use switchboard::sandbox::faults::{Fault, Rule};
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{Gateway, reason};

#[tokio::test]
async fn it_opens_tells_when_and_closes_again() {
    let gateway = Gateway::start_with(|config| {
        let upstream = &mut config.genesys.as_mut().unwrap().upstream;
        upstream.retry.attempts = 1;
        upstream.breaker.enabled = true;
        upstream.breaker.min_calls = 5;
        upstream.breaker.open = std::time::Duration::from_millis(200);
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
