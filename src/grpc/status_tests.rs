//! The contract's error table, every row of it, as callers see it.

use http::StatusCode;
use proptest::prelude::*;
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::upstream::error::{Answer, Kind};
use crate::upstream::testing::{
    REFUSALS, REPLAYS, answer, bare, busy, credential_refused, failure, login_throttled, lost,
    never_sent, refused, throttled, unavailable,
};

const SECOND: Duration = Duration::from_secs(1);

/// What retrying clients are told, as it stands in the metadata.
fn told(status: &Status) -> Option<&str> {
    let value = status.metadata().get("grpc-retry-pushback-ms")?;
    Some(value.to_str().unwrap())
}

fn details(status: &Status) -> ErrorDetails {
    status.check_error_details().expect("details that decode")
}

fn facts(status: &Status) -> std::collections::HashMap<String, String> {
    details(status).error_info().unwrap().metadata.clone()
}

fn login(error: LoginError) -> Error {
    Error::Login(error)
}

fn unreadable() -> Error {
    Error::Unreadable {
        status: Some(StatusCode::OK),
        cause: "not JSON".to_owned(),
    }
}

/// One row: what failed, and what it is for reads and idempotent writes on the one hand, and
/// for writes that must not happen twice on the other.
struct Row {
    error: Error,
    repeatable: (Code, &'static str),
    once: (Code, &'static str),
    /// RetryInfo, for those who may repeat.
    wait: Option<Duration>,
    pushback: Option<&'static str>,
    quota: bool,
}

impl Row {
    fn new(error: Error, code: Code, reason: &'static str) -> Row {
        Row {
            error,
            repeatable: (code, reason),
            once: (code, reason),
            wait: None,
            pushback: None,
            quota: false,
        }
    }

    /// For a write that must not happen twice it means that its outcome is unknown.
    fn in_doubt(self) -> Row {
        let once = (Code::Unknown, "OUTCOME_UNKNOWN");
        Row { once, ..self }
    }

    fn wait(self, wait: Duration) -> Row {
        let wait = Some(wait);
        Row { wait, ..self }
    }

    fn pushback(self, pushback: &'static str) -> Row {
        let pushback = Some(pushback);
        Row { pushback, ..self }
    }

    fn quota(self) -> Row {
        let quota = true;
        Row { quota, ..self }
    }
}

fn table() -> Vec<Row> {
    use Code::{
        Aborted, AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument,
        NotFound, PermissionDenied, ResourceExhausted, Unavailable, Unimplemented, Unknown,
    };
    let half = SECOND / 2;
    let nothing = String::new;
    let unavailable_row = |error| Row::new(error, Unavailable, "VENDOR_UNAVAILABLE").wait(half);
    let throttled_row = |error, wait, pushback| {
        Row::new(error, ResourceExhausted, "VENDOR_THROTTLED")
            .wait(wait)
            .pushback(pushback)
            .quota()
    };
    let mut rows = vec![
        // Connections.
        unavailable_row(never_sent()),
        unavailable_row(lost()).in_doubt(),
        unavailable_row(Error::Abandoned).in_doubt(),
        unavailable_row(Error::TimedOut { after: SECOND }).in_doubt(),
        unavailable_row(Error::NotDone { cause: nothing() }),
        unavailable_row(login(unavailable(true))),
        unavailable_row(login(unavailable(false))),
        // Refused for now.
        throttled_row(throttled(None), SECOND, "1000"),
        throttled_row(throttled(Some(SECOND * 7)), SECOND * 7, "7000"),
        throttled_row(throttled(Some(Duration::ZERO)), Duration::ZERO, "1"),
        throttled_row(login(login_throttled(Some(SECOND * 3))), SECOND * 3, "3000"),
        throttled_row(login(login_throttled(None)), SECOND, "1000"),
        Row::new(busy(SECOND * 120), Unavailable, "VENDOR_UNAVAILABLE")
            .wait(SECOND * 120)
            .pushback("120000"),
        // The gateway's own credentials.
        Row::new(credential_refused(), Internal, "VENDOR_CREDENTIAL_REJECTED"),
        Row::new(
            login(LoginError::Refused(answer(401))),
            Internal,
            "VENDOR_CREDENTIAL_REJECTED",
        ),
        Row::new(
            login(LoginError::Useless(answer(401))),
            Internal,
            "VENDOR_CREDENTIAL_REJECTED",
        ),
        Row::new(
            login(LoginError::Secret { cause: nothing() }),
            Internal,
            "VENDOR_CREDENTIAL_REJECTED",
        ),
        Row::new(
            login(LoginError::Unreadable { cause: nothing() }),
            Internal,
            "VENDOR_PROTOCOL",
        ),
        // The rest.
        Row::new(unreadable(), Internal, "VENDOR_PROTOCOL").in_doubt(),
        Row::new(Error::Deadline, DeadlineExceeded, "DEADLINE"),
        Row::new(Error::GivenUp, DeadlineExceeded, "DEADLINE"),
        Row::new(Error::QueueFull, ResourceExhausted, "OVERLOADED").wait(half),
        Row::new(
            Error::CircuitOpen { retry_after: half },
            Unavailable,
            "CIRCUIT_OPEN",
        )
        .wait(half),
        Row::new(
            Error::Unbuildable { cause: nothing() },
            Internal,
            "GATEWAY_FAILED",
        ),
    ];
    rows.extend([408, 502, 503, 504].map(|status| unavailable_row(bare(status)).in_doubt()));
    rows.extend(REFUSALS.map(|meaning| {
        let (code, reason) = match meaning {
            Refusal::Invalid | Refusal::TooLarge => (InvalidArgument, "VENDOR_REJECTED"),
            Refusal::State => (FailedPrecondition, "VENDOR_REJECTED"),
            Refusal::Denied => (PermissionDenied, "VENDOR_DENIED"),
            Refusal::NotFound => (NotFound, "VENDOR_NOT_FOUND"),
            Refusal::AlreadyExists => (AlreadyExists, "VENDOR_REJECTED"),
            Refusal::Conflict => (Aborted, "VENDOR_REJECTED"),
            Refusal::Misconfigured => (Unimplemented, "VENDOR_MISCONFIGURED"),
            Refusal::Credentials => (Internal, "VENDOR_CREDENTIAL_REJECTED"),
            Refusal::Blocked => (PermissionDenied, "VENDOR_BLOCKED"),
            Refusal::Unfinished => {
                return Row::new(refused(meaning), Unknown, "OUTCOME_UNKNOWN").pushback("-1");
            }
            Refusal::Failed => (Internal, "VENDOR_FAILED"),
        };
        Row::new(refused(meaning), code, reason)
    }));
    rows
}

#[test]
fn the_table() {
    for row in table() {
        for replay in REPLAYS {
            let mut failure = failure(replay, row.error.clone());
            failure.in_doubt = false;
            let status = Status::from(failure);
            let once = replay == Replay::Once;
            let expected = if once { row.once } else { row.repeatable };
            let details = details(&status);
            let info = details.error_info().expect("ErrorInfo on every error");
            let row_name = format!("{:?} x {replay:?}", row.error);
            let seen = (status.code(), info.reason.as_str());
            assert_eq!(seen, expected, "{row_name}");
            assert_eq!(info.domain, "contactcenter.v1", "{row_name}");
            let unknown = expected.1 == "OUTCOME_UNKNOWN";
            let pushback = if unknown { Some("-1") } else { row.pushback };
            assert_eq!(told(&status), pushback, "{row_name}");
            let wait = details.retry_info().and_then(|info| info.retry_delay);
            assert_eq!(wait, row.wait.filter(|_| !unknown), "{row_name}");
            assert_eq!(details.quota_failure().is_some(), row.quota, "{row_name}");
            assert!(details.bad_request().is_none(), "{row_name}");
        }
    }
}

/// Somebody else may have written over it at once.
#[test]
fn of_what_reads_do_not_show_no_more_is_said_than_that() {
    let cause = "the connection broke".to_owned();
    let status = Status::from(failure(Replay::Idempotent, Error::NotDone { cause }));
    let said = status.message();
    assert!(
        said.ends_with("the connection broke; reads did not show it in place"),
        "{said}"
    );
}

/// A deadline is one of the caller's time, and for a write that went out one of its outcome.
#[test]
fn a_deadline_in_doubt() {
    for replay in REPLAYS {
        let mut failure = failure(replay, Error::Deadline);
        failure.in_doubt = true;
        let status = Status::from(failure);
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let unknown = replay == Replay::Once;
        let reason = if unknown {
            "OUTCOME_UNKNOWN"
        } else {
            "DEADLINE"
        };
        assert_eq!(details(&status).error_info().unwrap().reason, reason);
        assert_eq!(told(&status), unknown.then_some("-1"));
        assert!(details(&status).retry_info().is_none());
    }
}

#[test]
fn whoever_met_a_spent_budget_is_told_not_to_come_again() {
    for row in table() {
        for replay in REPLAYS {
            let mut failure = failure(replay, row.error.clone());
            failure.budget_spent = true;
            assert_eq!(told(&Status::from(failure)), Some("-1"), "{:?}", row.error);
        }
    }
}

/// They speak of the caller: of its identity, and of its own hanging up.
#[test]
fn unauthenticated_and_cancelled_are_never_answered() {
    for row in table() {
        for replay in REPLAYS {
            for (in_doubt, budget_spent) in [(false, false), (true, false), (true, true)] {
                let mut failure = failure(replay, row.error.clone());
                failure.in_doubt = in_doubt;
                failure.budget_spent = budget_spent;
                let code = Status::from(failure).code();
                assert!(
                    !matches!(code, Code::Unauthenticated | Code::Cancelled | Code::Ok),
                    "{:?} became {code:?}",
                    row.error
                );
            }
        }
    }
    for own in [overloaded(), behind(), draining(), defect("a test")] {
        assert!(!matches!(
            own.code(),
            Code::Unauthenticated | Code::Cancelled
        ));
    }
}

/// An unknown outcome and a definite one must never be mixed up.
#[test]
fn only_a_write_that_may_have_happened_is_of_unknown_outcome() {
    for row in table() {
        let ambiguous = row.error.kind() == Kind::Ambiguous;
        let unreadable = matches!(row.error, Error::Unreadable { .. });
        let unfinished = row.repeatable.1 == "OUTCOME_UNKNOWN";
        let unknown = row.once.1 == "OUTCOME_UNKNOWN";
        assert_eq!(
            unknown,
            ambiguous || unreadable || unfinished,
            "{:?}",
            row.error
        );
    }
}

#[test]
fn what_is_known_is_in_the_metadata() {
    let mut failure = failure(Replay::Safe, refused(Refusal::State));
    failure.sent = 3;
    let seen = facts(&Status::from(failure));
    let expected = [
        ("vendor", "genesys"),
        ("attempts", "3"),
        ("vendorStatus", "400"),
        ("vendorCode", "20"),
    ];
    assert_eq!(seen.len(), expected.len());
    for (name, value) in expected {
        assert_eq!(seen.get(name).map(String::as_str), Some(value), "{name}");
    }
    let unknown = facts(&Status::from(self::failure(Replay::Once, lost())));
    assert_eq!(unknown["failure"], "lost");
}

#[test]
fn what_is_not_known_is_not_in_the_metadata() {
    let wordless = |status| Answer {
        code: None,
        ..answer(status)
    };
    for (error, status, code) in [
        (never_sent(), None, None),
        (lost(), None, None),
        (Error::Deadline, None, None),
        (Error::GivenUp, None, None),
        (throttled(None), Some("429"), Some("20")),
        (busy(SECOND), Some("503"), Some("20")),
        (bare(504), Some("504"), Some("20")),
        (Error::Bare(wordless(504)), Some("504"), None),
        (unreadable(), Some("200"), None),
        (login(unavailable(true)), Some("503"), None),
        (login(login_throttled(None)), Some("429"), Some("20")),
        (
            login(LoginError::Useless(answer(401))),
            Some("401"),
            Some("20"),
        ),
    ] {
        let mut failure = failure(Replay::Safe, error);
        failure.sent = 0;
        let seen = facts(&Status::from(failure.clone()));
        let shown = seen.get("vendorStatus").map(String::as_str);
        assert_eq!(shown, status, "{:?}", failure.error);
        let shown = seen.get("vendorCode").map(String::as_str);
        assert_eq!(shown, code, "{:?}", failure.error);
        assert_eq!(seen["attempts"], "0");
    }
}

#[test]
fn the_quota_names_whose_it_is() {
    let status = Status::from(failure(Replay::Safe, throttled(None)));
    let details = details(&status);
    let violation = &details.quota_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "genesys/Test");
}

#[test]
fn the_message_says_what_people_need() {
    let message = |replay, error| Status::from(failure(replay, error)).message().to_owned();
    assert_eq!(
        message(Replay::Safe, refused(Refusal::State)),
        "genesys Test: the vendor refused the request: HTTP 400, code 20: no"
    );
    let unknown = message(Replay::Once, lost());
    assert!(unknown.ends_with("read before repeating"), "{unknown}");
    let nothing = message(Replay::Once, never_sent());
    assert!(nothing.ends_with("nothing was done"), "{nothing}");
    assert!(!message(Replay::Idempotent, lost()).contains("nothing was done"));
    let operator = message(Replay::Safe, credential_refused());
    assert!(operator.ends_with("operator has to act"), "{operator}");
}

/// The no is to a repeat: only then, and only of what may be repeated.
#[test]
fn a_refusal_tells_of_an_attempt_before_it_that_may_have_done_it() {
    for (error, replay, was_in_doubt, told) in [
        (refused(Refusal::State), Replay::Idempotent, true, true),
        (refused(Refusal::State), Replay::Idempotent, false, false),
        (refused(Refusal::State), Replay::Safe, true, false),
        (throttled(None), Replay::Idempotent, true, false),
    ] {
        let failure = Failure {
            was_in_doubt,
            ..failure(replay, error)
        };
        let message = Status::from(failure).message().to_owned();
        assert_eq!(message.ends_with("may have done it"), told, "{message}");
    }
}

/// A vendor's words take up to nine bytes for each character as they travel.
#[test]
fn long_words_of_a_vendor_cost_no_advice() {
    let answer = Answer {
        text: "号".repeat(200),
        ..answer(504)
    };
    let status = Status::from(failure(Replay::Once, Error::Bare(answer)));
    assert!(status.message().contains("号"));
    assert!(
        status.message().ends_with("read before repeating"),
        "{}",
        status.message()
    );
}

#[test]
fn the_gateways_own_errors() {
    for full in [overloaded(), behind()] {
        assert_eq!(full.code(), Code::ResourceExhausted);
        assert_eq!(details(&full).error_info().unwrap().reason, "OVERLOADED");
        assert!(details(&full).retry_info().is_some());
        assert_eq!(facts(&full)["attempts"], "0");
    }

    let leaving = draining();
    assert_eq!(leaving.code(), Code::Unavailable);
    assert_eq!(
        details(&leaving).error_info().unwrap().reason,
        "GATEWAY_DRAINING"
    );
    assert_eq!(told(&leaving), Some("1"));

    let ours = defect("a test");
    assert_eq!(ours.code(), Code::Internal);
    assert_eq!(
        details(&ours).error_info().unwrap().reason,
        "GATEWAY_FAILED"
    );
}

/// Callers decide by the reason, so none may be sent that the proto does not document.
#[test]
fn every_reason_is_documented() {
    for row in table() {
        for (_, reason) in [row.repeatable, row.once] {
            let name = format!("ERROR_REASON_{reason}");
            assert!(Reason::from_str_name(&name).is_some(), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn messages_are_short_and_times_are_readable_whatever_the_vendor_says(
        text in ".{0,4000}",
        code in proptest::option::of(".{0,400}"),
        http in 100u16..1000,
        wait: u64,
    ) {
        let answer = Answer { status: StatusCode::from_u16(http).unwrap(), code, text };
        for error in [
            Error::CredentialRefused(answer.clone()),
            Error::Refused { meaning: Refusal::State, answer: answer.clone() },
            Error::Lost { cause: answer.text.clone() },
            Error::Login(LoginError::Refused(answer.clone())),
            Error::Busy { retry_after: Duration::from_secs(wait), answer: answer.clone() },
            Error::Throttled { retry_after: Some(Duration::from_secs(wait)), answer: answer.clone() },
            Error::Bare(answer.clone()),
        ] {
            for replay in REPLAYS {
                let status = Status::from(failure(replay, error.clone()));
                prop_assert!(status.message().len() <= 1024);
                let headers = status.into_http::<tonic::body::Body>();
                let size: usize = headers
                    .headers()
                    .iter()
                    .map(|(name, value)| name.as_str().len() + value.len() + 32)
                    .sum();
                prop_assert!(size <= 4096 - 256, "{size}");
            }
        }
    }
}
