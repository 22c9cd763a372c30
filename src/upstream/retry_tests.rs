//! The retry table, and the policy at work in tower's own retry service, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use tower::retry::RetryLayer;
use tower::{Layer, ServiceExt};

use super::*;
use crate::upstream::error::{LoginError, Refusal};
use crate::upstream::observer::Blind;
use crate::upstream::testing::{
    REFUSALS, REPLAYS, Witness, answer, bare, busy, call, credential_refused, login_busy,
    login_throttled, lost, never_sent, refused, server, throttled, unavailable, vendor, yes,
};
use crate::upstream::trace::AttemptSpanLayer;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn policy(settings: &settings::Retry) -> Policy {
    Policy::new("vendor", settings, Arc::new(Blind))
}

/// Sends one call to a vendor that fails so each time; returns how many attempts were made.
async fn attempts(settings: &settings::Retry, call: Call, error: &Error) -> usize {
    let (error, expected) = (error.clone(), error.label());
    let (vendor, attempts) = vendor(move |_, _| std::future::ready(Err(error.clone())));
    let service = RetryLayer::new(policy(settings)).layer(vendor);
    let told = service.oneshot(call).await.err().expect("no yes was given");
    assert_eq!(
        told.label(),
        expected,
        "the last failure comes through unchanged"
    );
    attempts.count()
}

/// The contract's table "what may be sent again, and when", cell by cell.
#[test]
fn the_table() {
    use Replay::{Idempotent, Once, Safe};
    use Verdict::{Repeat, RepeatThrottled, Replay as Cured, Stop};
    let five = Duration::from_secs(5);
    let table = [
        (Kind::NeverSent, [Repeat(None), Repeat(None), Repeat(None)]),
        (Kind::CredentialRefused, [Cured, Cured, Cured]),
        (
            Kind::ToldToWait(None),
            [RepeatThrottled, RepeatThrottled, RepeatThrottled],
        ),
        (
            Kind::ToldToWait(Some(five)),
            [Repeat(Some(five)), Repeat(Some(five)), Repeat(Some(five))],
        ),
        (Kind::Ambiguous, [Repeat(None), Repeat(None), Stop]),
        (Kind::Final, [Stop, Stop, Stop]),
    ];
    for (kind, row) in table {
        for (replay, expected) in [Safe, Idempotent, Once].into_iter().zip(row) {
            assert_eq!(verdict(kind, replay), expected, "{kind:?} x {replay:?}");
        }
    }
}

/// Every error with the attempts that it allows for Safe, Idempotent and Once, of three.
fn allowances() -> Vec<(Error, [usize; 3])> {
    let mut all = vec![
        (never_sent(), [3, 3, 3]),
        (lost(), [3, 3, 1]),
        (Error::Abandoned, [3, 3, 1]),
        (Error::TimedOut { after: SECOND }, [3, 3, 1]),
        (throttled(None), [3, 3, 3]),
        (throttled(Some(SECOND)), [3, 3, 3]),
        (busy(SECOND), [3, 3, 3]),
        (credential_refused(), [2, 2, 2]),
        (
            Error::Unreadable {
                status: Some(StatusCode::OK),
                cause: "not JSON".into(),
            },
            [1, 1, 1],
        ),
        (Error::Deadline, [1, 1, 1]),
        (Error::GivenUp, [1, 1, 1]),
        (Error::QueueFull, [1, 1, 1]),
        (
            Error::CircuitOpen {
                retry_after: Duration::from_secs(1),
            },
            [1, 1, 1],
        ),
        (
            Error::Unbuildable {
                cause: String::new(),
            },
            [1, 1, 1],
        ),
        (Error::Login(unavailable(true)), [3, 3, 3]),
        (Error::Login(unavailable(false)), [1, 1, 1]),
        (Error::Login(login_throttled(None)), [3, 3, 3]),
        (Error::Login(login_busy(SECOND)), [3, 3, 3]),
        (
            Error::Login(LoginError::Misdirected {
                meaning: Refusal::Blocked,
                answer: answer(403),
            }),
            [1, 1, 1],
        ),
        (
            Error::NotDone {
                cause: String::new(),
            },
            [1, 1, 1],
        ),
        (Error::Unconfirmed { accepted: true }, [1, 1, 1]),
        (Error::Login(LoginError::Refused(answer(401))), [1, 1, 1]),
        (Error::Login(LoginError::Useless(answer(401))), [1, 1, 1]),
        (
            Error::Login(LoginError::Secret {
                cause: String::new(),
            }),
            [1, 1, 1],
        ),
        (
            Error::Login(LoginError::Unreadable {
                cause: String::new(),
            }),
            [1, 1, 1],
        ),
    ];
    all.extend([408, 502, 503, 504].map(|status| (bare(status), [3, 3, 1])));
    all.extend(REFUSALS.map(|meaning| (refused(meaning), [1, 1, 1])));
    all
}

#[tokio::test(start_paused = true)]
async fn as_many_attempts_as_the_failure_allows() {
    for (error, allowed) in allowances() {
        for (replay, allowed) in REPLAYS.into_iter().zip(allowed) {
            let made = attempts(&settings::Retry::default(), call(replay, MINUTE), &error).await;
            assert_eq!(made, allowed, "{error:?} x {replay:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_attempt_and_a_repeating_caller_leave_only_the_replay() {
    let single = settings::Retry {
        attempts: 1,
        ..Default::default()
    };
    for (error, _) in allowances() {
        let expected = match error {
            Error::CredentialRefused(_) => 2,
            _ => 1,
        };
        for replay in REPLAYS {
            let made = attempts(&single, call(replay, MINUTE), &error).await;
            assert_eq!(made, expected, "attempts: 1, {error:?} x {replay:?}");
            let mut repeated = call(replay, MINUTE);
            repeated.caller_repeats = true;
            let made = attempts(&settings::Retry::default(), repeated, &error).await;
            assert_eq!(made, expected, "caller repeats, {error:?} x {replay:?}");
        }
    }
}

/// Runs a call against failures in this order, then a yes; returns attempts and result.
async fn course(replay: Replay, failures: Vec<Error>) -> (usize, Result<Reply, Error>) {
    let (vendor, attempts) = vendor(move |number, _| {
        let result = failures.get(number).cloned().map_or_else(yes, Err);
        std::future::ready(result)
    });
    let service = RetryLayer::new(policy(&settings::Retry::default())).layer(vendor);
    let result = service.oneshot(call(replay, MINUTE)).await;
    (attempts.count(), result)
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_replayed_once_and_cost_no_attempt() {
    use Replay::{Idempotent, Once, Safe};
    let no = credential_refused;
    let busy = || busy(SECOND);
    // Replay, failures in order, attempts, whether it ends well.
    let table = [
        (Once, vec![no()], 2, true),
        (Once, vec![no(), no()], 2, false),
        (Once, vec![no(), lost()], 2, false),
        (Once, vec![never_sent(), no(), busy()], 4, true),
        (Once, vec![busy(), no(), busy(), no()], 4, false),
        (Safe, vec![no(), lost(), lost()], 4, true),
        (Idempotent, vec![lost(), no(), lost(), lost()], 4, false),
        (Idempotent, vec![lost(), no(), lost()], 4, true),
        (Idempotent, vec![lost(), no(), no()], 3, false),
    ];
    for (replay, failures, expected, well) in table {
        let told = format!("{failures:?} x {replay:?}");
        let (made, result) = course(replay, failures).await;
        assert_eq!((made, result.is_ok()), (expected, well), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_made_at_once() {
    let before = tokio::time::Instant::now();
    let (made, result) = course(Replay::Once, vec![credential_refused()]).await;
    assert!(made == 2 && result.is_ok());
    assert!(before.elapsed() < Duration::from_millis(2));
}

/// The gaps between the attempts of a call that fails so each time.
async fn gaps(settings: &settings::Retry, within: Duration, error: Error) -> Vec<Duration> {
    let (vendor, attempts) = vendor(move |_, _| std::future::ready(Err(error.clone())));
    let service = RetryLayer::new(policy(settings)).layer(vendor);
    let _ = service.oneshot(call(Replay::Safe, within)).await;
    attempts.gaps()
}

/// Timers are exact to the millisecond, so that much is allowed for.
fn within(wait: Duration, least: Duration, most: Duration) -> bool {
    wait >= least && wait <= most + Duration::from_millis(2)
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_names_a_time_gets_it_and_up_to_five_seconds_more() {
    let five = SECOND * 5;
    let mut waits = Vec::new();
    for _ in 0..100 {
        for error in [
            throttled(Some(five)),
            busy(five),
            Error::Login(login_throttled(Some(five))),
        ] {
            waits.extend(gaps(&settings::Retry::default(), MINUTE, error).await);
        }
    }
    assert_eq!(waits.len(), 600);
    assert!(waits.iter().all(|wait| within(*wait, five, five * 2)));
    let (shortest, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(
        *longest - *shortest > SECOND * 3,
        "not spread: {shortest:?} to {longest:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_does_not_fit_is_not_begun() {
    let ten = SECOND * 10;
    for error in [throttled(Some(ten)), busy(ten)] {
        let before = tokio::time::Instant::now();
        let call = call(Replay::Safe, ten);
        assert_eq!(attempts(&settings::Retry::default(), call, &error).await, 1);
        assert_eq!(before.elapsed(), Duration::ZERO, "slept in vain");
    }
    // Nor is one that the vendor did not name: half a second and more.
    let before = tokio::time::Instant::now();
    let brief = call(Replay::Safe, Duration::from_millis(400));
    let made = attempts(&settings::Retry::default(), brief, &throttled(None)).await;
    assert_eq!((made, before.elapsed()), (1, Duration::ZERO));
    // One that just fits is waited for, and its spread stays within the deadline.
    for _ in 0..50 {
        let error = busy(ten);
        let waits = gaps(&settings::Retry::default(), SECOND * 11, error).await;
        assert!(waits.len() == 1 && within(waits[0], ten, SECOND * 11));
    }
    // The vendor's own unit has no end; arithmetic must survive it.
    let endless = busy(Duration::from_secs(u64::MAX));
    let call = call(Replay::Safe, ten);
    assert_eq!(
        attempts(&settings::Retry::default(), call, &endless).await,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_repeated_without_time_to_finish() {
    for left in [0, 1, 4] {
        let call = call(Replay::Safe, Duration::from_millis(left));
        assert_eq!(
            attempts(&settings::Retry::default(), call, &lost()).await,
            1
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waits_double_up_to_the_cap_with_jitter() {
    let settings = settings::Retry {
        attempts: 8,
        ..Default::default()
    };
    let mut longest = [Duration::ZERO; 7];
    for _ in 0..100 {
        let waits = gaps(&settings, MINUTE, lost()).await;
        assert_eq!(waits.len(), 7);
        for (repeat, wait) in waits.into_iter().enumerate() {
            let ceiling = (settings.base * (1 << repeat)).min(settings.cap);
            assert!(within(wait, Duration::ZERO, ceiling), "{repeat}: {wait:?}");
            longest[repeat] = longest[repeat].max(wait);
        }
    }
    assert!(longest[5] > SECOND, "no growth: {longest:?}");
}

/// A 429 without a time is waited for on a scale of seconds, not of 50 ms.
#[tokio::test(start_paused = true)]
async fn a_throttled_vendor_is_left_alone_for_longer() {
    let settings = settings::Retry {
        attempts: 6,
        ..Default::default()
    };
    let half = SECOND / 2;
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let error = throttled(None);
        for (repeat, wait) in gaps(&settings, MINUTE, error).await.into_iter().enumerate() {
            let ceiling = (SECOND * (1 << repeat)).min(settings.cap);
            assert!(within(wait, half, ceiling), "{repeat}: {wait:?}");
            longest = longest.max(wait);
        }
    }
    assert!(longest > SECOND, "no growth: {longest:?}");
}

/// 200 calls a second to a vendor that is down, for long.
#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied() {
    let (vendor, attempts) = vendor(|_, _| std::future::ready(Err(lost())));
    let service = RetryLayer::new(policy(&settings::Retry::default())).layer(vendor);
    let mut calls = Vec::new();
    let mut progress = Vec::new();
    let seconds = 30;
    for _ in 0..200 * seconds {
        let call = call(Replay::Safe, MINUTE);
        progress.push(call.progress.clone());
        calls.push(tokio::spawn(service.clone().oneshot(call)));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sent = calls.len();
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    let extra = attempts.count() - sent;
    // A fifth, and ten a second, of which there are ten seconds' at once.
    let most = sent / 5 + 10 * (seconds + 10);
    assert!(extra <= most, "{extra} of {sent}");
    assert!(
        extra * 100 >= sent * 20,
        "the budget is not used: {extra} of {sent}"
    );
    // Those who got less than three attempts know why.
    let told = progress.iter().filter(|it| it.budget_spent()).count();
    assert!(told > sent / 2, "{told} of {sent}");
}

fn budget(percent: u32, floor: u32) -> settings::Retry {
    settings::Retry {
        budget_percent: percent,
        budget_floor: floor,
        ..Default::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_is_told() {
    let call = call(Replay::Safe, MINUTE);
    let progress = call.progress.clone();
    assert_eq!(attempts(&budget(0, 0), call, &lost()).await, 1);
    assert!(progress.budget_spent());
}

#[tokio::test(start_paused = true)]
async fn who_would_not_have_been_repeated_spends_no_budget_and_hears_nothing_of_it() {
    for (replay, error) in [
        (Replay::Once, lost()),
        (Replay::Safe, refused(Refusal::State)),
        (Replay::Safe, Error::QueueFull),
    ] {
        let call = call(replay, MINUTE);
        let progress = call.progress.clone();
        assert_eq!(attempts(&budget(0, 0), call, &error).await, 1);
        assert!(!progress.budget_spent(), "{error:?}");
    }
}

/// Else a vendor's outage would also be an outage of every token that runs out meanwhile.
#[tokio::test(start_paused = true)]
async fn a_replay_needs_no_budget() {
    let call = call(Replay::Once, MINUTE);
    let progress = call.progress.clone();
    let made = attempts(&budget(0, 0), call, &credential_refused()).await;
    assert_eq!(made, 2);
    assert!(!progress.budget_spent());
}

#[tokio::test(start_paused = true)]
async fn calls_that_go_well_earn_repeats_for_those_that_do_not() {
    let down = Arc::new(AtomicUsize::new(0));
    let is_down = Arc::clone(&down);
    let (vendor, attempts) = vendor(move |_, _| {
        let down = is_down.load(Ordering::Relaxed) == 1;
        std::future::ready(if down { Err(lost()) } else { yes() })
    });
    let service = RetryLayer::new(policy(&budget(20, 0))).layer(vendor);
    // One of its own is earned by the failing call itself: five make one repeat.
    for _ in 0..4 {
        let went = service.clone().oneshot(call(Replay::Safe, MINUTE)).await;
        assert!(went.is_ok());
    }
    down.store(1, Ordering::Relaxed);
    let _ = service.clone().oneshot(call(Replay::Safe, MINUTE)).await;
    assert_eq!(attempts.count(), 4 + 2);
}

/// They are no load of the vendor's that repeats could be a share of: what they earn while a circuit
/// is open would be spent at once when it closes, on a vendor that is barely up.
#[tokio::test(start_paused = true)]
async fn calls_that_the_gateway_refuses_earn_nothing() {
    let retry_after = SECOND;
    for (error, earned) in [
        (Error::CircuitOpen { retry_after }, 0),
        (Error::QueueFull, 0),
        (refused(Refusal::State), 2),
    ] {
        let policy = policy(&budget(20, 0));
        let (vendor, _) = vendor({
            let error = error.clone();
            move |_, _| std::future::ready(Err(error.clone()))
        });
        let service = RetryLayer::new(policy.clone()).layer(vendor);
        for _ in 0..10 {
            let _ = service.clone().oneshot(call(Replay::Safe, MINUTE)).await;
        }
        assert_eq!(policy.budget_left(), earned, "{error:?}");
    }
}

/// A call earns once, however often it is sent.
#[tokio::test(start_paused = true)]
async fn a_replay_earns_nothing() {
    let policy = policy(&budget(50, 0));
    for _ in 0..2 {
        let (vendor, attempts) = vendor(|number, _| {
            let refused = number == 0;
            std::future::ready(if refused {
                Err(credential_refused())
            } else {
                yes()
            })
        });
        let service = RetryLayer::new(policy.clone()).layer(vendor);
        assert!(service.oneshot(call(Replay::Safe, MINUTE)).await.is_ok());
        assert_eq!(attempts.count(), 2);
    }
    assert_eq!(policy.budget_left(), 1, "two calls earn one");
}

/// A vendor's calls share its budget, whatever account they are of.
#[tokio::test(start_paused = true)]
async fn clones_share_the_budget() {
    let policy = policy(&budget(0, 1));
    let mut made = 0;
    for _ in 0..10 {
        let (vendor, attempts) = vendor(|_, _| std::future::ready(Err(lost())));
        let service = RetryLayer::new(policy.clone()).layer(vendor);
        let _ = service.oneshot(call(Replay::Safe, MINUTE)).await;
        made += attempts.count();
    }
    // Ten calls, and one repeat a second counted over ten seconds.
    assert_eq!(made, 10 + 10);
}

#[tokio::test(start_paused = true)]
async fn every_repeat_is_counted_with_its_reason() {
    let witness = Arc::new(Witness::default());
    let policy = Policy::new(
        "vendor",
        &settings::Retry::default(),
        Arc::clone(&witness) as _,
    );
    let (vendor, _) = vendor(|number, _| {
        std::future::ready(Err(match number {
            0 => never_sent(),
            1 => credential_refused(),
            _ => lost(),
        }))
    });
    let attempts = AttemptSpanLayer::new("vendor", server(), Arc::clone(&witness) as _);
    let service = RetryLayer::new(policy).layer(attempts.layer(vendor));
    let _ = service.oneshot(call(Replay::Safe, MINUTE)).await;
    assert_eq!(
        *witness.retries.lock().unwrap(),
        ["never_sent", "credential_refused", "lost"].map(|reason| ("vendor", reason))
    );
}
