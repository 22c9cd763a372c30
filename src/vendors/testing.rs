//! What the tests of the vendors share.

use std::time::{Duration, SystemTime};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::grpc::methods::{self, Method};
use crate::upstream::error::LoginError;
use crate::upstream::operation::{Meta, Replay, Vendor};
use crate::upstream::testing::{ADD, CHANGE, CREATE, READ, failure, reply, verdict};

/// Asserts that each rpc of a service promises callers what its operation does: that they may
/// repeat it exactly where the gateway itself does. Fails for an rpc that is not listed, and
/// for a listed one that does not exist.
pub(super) fn assert_promises(service: &str, operations: &[(&str, Replay)]) {
    let promised = promises(service);
    assert!(!promised.is_empty(), "no service {service}");
    for (rpc, replay) in &promised {
        let listed = operations.iter().find(|(name, _)| name == rpc);
        let (_, does) = listed.unwrap_or_else(|| panic!("{rpc}: list its operation"));
        assert_eq!(
            does, replay,
            "{rpc}: idempotency_level and META.replay differ"
        );
    }
    for (rpc, _) in operations {
        let exists = promised.iter().any(|(name, _)| name == rpc);
        assert!(exists, "{rpc} is no rpc of {service}");
    }
    assert_eq!(promised.len(), operations.len(), "one is listed twice");
}

/// Every rpc with what its `idempotency_level` says, as the gateway itself reads it.
fn promises(service: &str) -> Vec<(String, Replay)> {
    let prefix = format!("contactcenter.v1.{service}/");
    let promise = |method: Method| {
        let rpc = method.name.strip_prefix(&prefix)?.to_owned();
        let replay = match (method.writes, method.once) {
            (false, _) => Replay::Safe,
            (true, false) => Replay::Idempotent,
            (true, true) => Replay::Once,
        };
        Some((rpc, replay))
    };
    methods::all().into_iter().filter_map(promise).collect()
}

/// What HTTP says by itself, where no vendor means something of its own.
pub(super) const STATUSES: [(u16, &str); 27] = [
    (301, "Failed"),
    (302, "Failed"),
    (304, "Failed"),
    (307, "Failed"),
    (308, "Failed"),
    (400, "Invalid"),
    (401, "credentials refused"),
    (402, "Failed"),
    (403, "Denied"),
    (405, "Misconfigured"),
    (406, "Failed"),
    (408, "bare 408"),
    (409, "Conflict"),
    (410, "Failed"),
    (411, "Failed"),
    (413, "TooLarge"),
    (415, "Failed"),
    (418, "Blocked"),
    (422, "Invalid"),
    (423, "Failed"),
    (429, "throttled None"),
    (431, "Failed"),
    (501, "Misconfigured"),
    (502, "bare 502"),
    (503, "bare 503"),
    (504, "bare 504"),
    (505, "Failed"),
];

/// What the caller sees of a no.
pub(super) fn told<V: Vendor>(meta: &Meta, status: u16, body: &str) -> (Code, String) {
    let error = V::judge(meta, reply(status, &[], body))
        .err()
        .expect("a no");
    let status = Status::from(failure(meta.replay, error));
    let reason = status.get_details_error_info().expect("details").reason;
    (status.code(), reason)
}

/// The contract's rows that are about HTTP alone.
pub(super) fn assert_the_contract_by_status<V: Vendor>() {
    let rows = [
        (
            &[400, 413, 422][..],
            Code::InvalidArgument,
            "VENDOR_REJECTED",
        ),
        (&[401], Code::Internal, "VENDOR_CREDENTIAL_REJECTED"),
        (&[403], Code::PermissionDenied, "VENDOR_DENIED"),
        (&[405, 501], Code::Unimplemented, "VENDOR_MISCONFIGURED"),
        (&[409], Code::Aborted, "VENDOR_REJECTED"),
        (&[418], Code::PermissionDenied, "VENDOR_BLOCKED"),
        (&[429], Code::ResourceExhausted, "VENDOR_THROTTLED"),
        (&[301, 302, 307, 410, 507], Code::Internal, "VENDOR_FAILED"),
    ];
    let doubt = [408, 502, 503, 504];
    for meta in [&READ, &CHANGE, &ADD] {
        let doubtful = match meta.replay {
            Replay::Once => (&doubt[..], Code::Unknown, "OUTCOME_UNKNOWN"),
            Replay::Safe | Replay::Idempotent => {
                (&doubt[..], Code::Unavailable, "VENDOR_UNAVAILABLE")
            }
        };
        for (statuses, code, reason) in rows.into_iter().chain([doubtful]) {
            for status in statuses {
                let told = told::<V>(meta, *status, "");
                assert_eq!(told, (code, reason.to_owned()), "HTTP {status}");
            }
        }
    }
    let exists = (Code::AlreadyExists, "VENDOR_REJECTED".to_owned());
    assert_eq!(told::<V>(&CREATE, 409, ""), exists);
}

/// What became of a login, in a word.
pub(super) fn login_failure(error: &LoginError) -> &'static str {
    match error {
        LoginError::Refused(_) => "refused",
        LoginError::Misdirected { .. } => "misdirected",
        LoginError::Useless(_) => "useless",
        LoginError::Secret { .. } => "secret",
        LoginError::Unavailable {
            repeatable: true, ..
        } => "unavailable",
        LoginError::Unavailable { .. } => "unavailable for good",
        LoginError::Throttled { .. } => "throttled",
        LoginError::Busy { .. } => "busy",
        LoginError::Unreadable { .. } => "unreadable",
    }
}

/// What an answer to a login means by its status alone; `trouble` is what the vendor's own is called.
pub(super) fn assert_logins_fail_by_status(
    failure: impl Fn(u16, &str) -> &'static str,
    trouble: &str,
) {
    for (status, body, expected) in [
        (400, "", "refused"),
        (401, "", "refused"),
        (403, "", "refused"),
        (403, "<html>blocked</html>", "misdirected"),
        (418, "", "misdirected"),
        (404, "", "misdirected"),
        (405, "", "misdirected"),
        (501, "", "misdirected"),
        (302, "", "misdirected"),
        (429, "", "throttled"),
        (408, "", trouble),
        (500, "", trouble),
        (502, "", trouble),
        (503, "", trouble),
        (504, "", trouble),
        (200, "", "unreadable"),
        (200, "<html>please log in</html>", "unreadable"),
    ] {
        assert_eq!(failure(status, body), expected, "{body} in {status}");
    }
}

/// A conflict is about existence only where something is made.
pub(super) fn assert_a_conflict_is_about_what_is_made<V: Vendor>() {
    let judged = |meta| verdict(&V::judge(meta, reply(409, &[], "")));
    assert_eq!(judged(&CREATE), "AlreadyExists");
    for meta in [&READ, &CHANGE, &ADD] {
        assert_eq!(judged(meta), "Conflict");
    }
}

/// A vendor that names a time is heard, where it says that it did nothing.
pub(super) fn assert_a_time_is_heard<V: Vendor>() {
    let answer = |status, value: &str| V::judge(&ADD, reply(status, &[("retry-after", value)], ""));
    let judged = |status, value: &str| verdict(&answer(status, value));
    assert_eq!(judged(429, "7"), "throttled Some(7s)");
    assert_eq!(judged(503, "7"), "busy 7s");
    assert_eq!(judged(503, "0"), "busy 0ns");
    for nonsense in ["", "soon", "-1", "1.5"] {
        assert_eq!(judged(429, nonsense), "throttled None", "{nonsense:?}");
        assert_eq!(judged(503, nonsense), "bare 503", "{nonsense:?}");
    }
    for other in [502, 504, 408] {
        assert_eq!(judged(other, "7"), format!("bare {other}"));
    }
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(judged(429, past), "throttled Some(0ns)");
    assert_eq!(judged(503, past), "busy 0ns");
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(60));
    for status in [429, 503] {
        let error = answer(status, &date).err().expect("a no");
        let wait = error.told_to_wait().as_secs();
        assert!((55..=60).contains(&wait), "HTTP {status}: {wait}");
    }
}

#[test]
#[should_panic(expected = "list its operation")]
fn an_rpc_without_an_operation_is_missed() {
    assert_promises("AgentSettings", &[("CreateAgentSettings", Replay::Once)]);
}

#[test]
#[should_panic(expected = "CreateAgentSettings: idempotency_level and META.replay differ")]
fn a_broken_promise_is_seen() {
    assert_promises("AgentSettings", &[("CreateAgentSettings", Replay::Safe)]);
}
