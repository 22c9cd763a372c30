//! A write repeated under the same `request_id` is done once.

use std::time::Duration;

use switchboard::pb::{AttachUserDataRequest, CreateAgentSettingsRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use tokio::sync::watch;
use tonic::Code;

use crate::support::untimed::{self, within};
use crate::support::vendor::{Vendor, json, login};
use crate::support::{Gateway, SESSION, attempts, data, patient, reason, relocate};

fn attach(request_id: &str, value: &str) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Ticket", value)])),
        request_id: request_id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_repeat_is_answered_without_the_vendor() {
    let gateway = Gateway::start().await;
    let mut sms = gateway.sms();
    let first = sms.attach_user_data(attach("order-1", "a")).await.unwrap();
    let second = sms.attach_user_data(attach("order-1", "a")).await.unwrap();
    assert_eq!(first.get_ref(), second.get_ref());
    assert_eq!(attempts(second.metadata()), 0);
    assert_eq!(
        gateway.sandbox.journal().count("genesys", "AttachUserData"),
        1
    );

    let status = sms
        .attach_user_data(attach("order-1", "b"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn fifty_at_once_are_one() {
    let gateway = Gateway::start().await;
    let calls = (0..50).map(|_| {
        let mut settings = gateway.settings();
        let request = CreateAgentSettingsRequest {
            user_id: "new-agent".into(),
            request_id: "create-1".into(),
            ..Default::default()
        };
        async move { settings.create_agent_settings(request).await }
    });
    let answers = futures_util::future::join_all(calls).await;
    let ids: std::collections::BTreeSet<_> = answers
        .into_iter()
        .map(|a| a.unwrap().into_inner().id)
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(gateway.sandbox.aicc().creates(), ["new-agent"]);
}

#[tokio::test]
async fn an_unknown_outcome_stays_unknown_and_is_not_tried_again() {
    let gateway = Gateway::start().await;
    let lost = Rule::new(Fault::Reset)
        .operation("AttachUserData")
        .times(1)
        .after();
    gateway.sandbox.faults().push(lost).unwrap();
    let mut sms = gateway.sms();
    for _ in 0..2 {
        let status = sms
            .attach_user_data(attach("order-2", "a"))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unknown);
        assert_eq!(reason(&status), "OUTCOME_UNKNOWN");
    }
    assert_eq!(
        gateway.sandbox.journal().count("genesys", "AttachUserData"),
        1
    );
}

/// What the first call has not sent yet it may still send, when it has more time.
#[tokio::test]
async fn a_repeat_with_less_time_is_told_that_nobody_knows() {
    let (open, gate) = watch::channel(false);
    let vendor = Vendor::start_with(move |seen| {
        let mut gate = gate.clone();
        Box::pin(async move {
            if !seen.is_login() {
                return json(r#"{"statusCode":0}"#);
            }
            gate.wait_for(|open| *open).await.unwrap();
            login(&seen)
        })
    })
    .await;
    let gateway = Gateway::start_with(|config| {
        relocate(config, &vendor.url);
        patient(config);
    })
    .await;
    let mut sms = gateway.sms();
    let first = sms.attach_user_data(attach("order-4", "a"));
    let repeat = async {
        vendor.arrived(1).await;
        let repeat = within(Duration::from_millis(300), attach("order-4", "a"));
        let mut sms = untimed::sms(gateway.address).await;
        let status = sms.attach_user_data(repeat).await.unwrap_err();
        assert!(vendor.calls().is_empty());
        open.send_replace(true);
        (status.code(), reason(&status))
    };
    let (first, repeat) = tokio::join!(first, repeat);
    assert_eq!(repeat, (Code::DeadlineExceeded, "OUTCOME_UNKNOWN".into()));
    first.unwrap();
    assert_eq!(vendor.calls().len(), 1);
}

#[tokio::test]
async fn a_request_that_was_never_valid_is_not_remembered() {
    let gateway = Gateway::start().await;
    let mut sms = gateway.sms();
    let mut wrong = attach("order-3", "a");
    wrong.session_id.clear();
    let status = sms.attach_user_data(wrong).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    sms.attach_user_data(attach("order-3", "a")).await.unwrap();
    let too_long = attach(&"x".repeat(65), "a");
    let status = sms.attach_user_data(too_long).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
}
