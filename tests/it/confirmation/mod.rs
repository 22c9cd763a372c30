//! A write that was asked to be confirmed returns when it is known to have happened, or not:
//! whatever comes first, the answer or the notification, and when one of them does not come.

mod deletes;
mod ledger;
mod lost;
mod refused;
mod repeats;
mod seen;
mod turns;

use std::time::Duration;

use switchboard::pb::{
    AttachUserDataRequest, AttachUserDataResponse, Confirmation, DeleteUserDataRequest, SmsSession,
    UpdateUserDataRequest,
};
use switchboard::sandbox::faults::Rule;
use tonic::{Code, Response, Status};

use crate::support::untimed::{self, within};
use crate::support::verdict::pushback;
use crate::support::watch::{in_time, total};
use crate::support::watcher::value;
use crate::support::{Gateway, SESSION, data, reason};

fn attach(key: &str, value: &str) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[(key, value)])),
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    }
}

fn update(value: &str) -> UpdateUserDataRequest {
    UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Topic", value)])),
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    }
}

fn delete(key: &str) -> DeleteUserDataRequest {
    DeleteUserDataRequest {
        session_id: SESSION.into(),
        keys: vec![key.into()],
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    }
}

fn named(request_id: &str, confirmation: Confirmation) -> AttachUserDataRequest {
    AttachUserDataRequest {
        request_id: request_id.into(),
        confirmation: confirmation.into(),
        ..attach("Topic", "one")
    }
}

type Attached = Result<Response<AttachUserDataResponse>, Status>;

/// One that the caller waits for so long.
async fn attach_within(
    gateway: &Gateway,
    wait: Duration,
    request: AttachUserDataRequest,
) -> Attached {
    let mut sms = untimed::sms(gateway.address).await;
    in_time("an answer", sms.attach_user_data(within(wait, request))).await
}

fn push(gateway: &Gateway, rule: Rule) {
    gateway.sandbox.faults().push(rule).unwrap();
}

fn sent(gateway: &Gateway, operation: &str) -> u64 {
    gateway.sandbox.journal().count("genesys", operation)
}

fn written(gateway: &Gateway) -> usize {
    gateway.sandbox.genesys().writes().len()
}

/// How often a confirmation was settled in this way.
fn settled(gateway: &Gateway, how: &str) -> u64 {
    let name = "switchboard_confirmations_total";
    total(&gateway.metrics, name, &[("how", how)])
}

#[track_caller]
fn shows(session: Option<&SmsSession>, key: &str, expected: &str) {
    let session = session.expect("the session that was seen");
    assert_eq!(session.id, SESSION);
    assert_eq!(value(session, key).as_deref(), Some(expected));
}

#[track_caller]
fn unknown(status: &Status) {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(reason(status), "OUTCOME_UNKNOWN");
    assert_eq!(pushback(status), Some("-1"));
}
