use super::*;
use crate::telemetry::testing::Spans;
use crate::upstream::limit::LimitLayer;
use crate::upstream::observer::Blind;
use crate::upstream::operation::Replay;
use crate::upstream::testing::{
    bare, busy, call, login_busy, lost, throttled, unavailable, vendor,
};
use proptest::prelude::*;
use tower::ServiceExt;

const MINUTE: Duration = Duration::from_secs(60);

fn breaker() -> Arc<Breaker> {
    let observer: Arc<dyn Observer> = Arc::new(Blind);
    let settings = settings::Breaker {
        enabled: true,
        window: Duration::from_secs(10),
        min_calls: 4,
        failure_percent: 50,
        open: Duration::from_secs(10),
    };
    BreakerLayer::new("vendor", &settings, &observer).0.unwrap()
}

fn tell(breaker: &Breaker, failed: bool) {
    breaker.admit().expect("closed").tell(Some(failed));
}

fn refused(breaker: &Breaker) -> Option<Duration> {
    match breaker.admit() {
        Err(Error::CircuitOpen { retry_after }) => Some(retry_after),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

async fn opened() -> Arc<Breaker> {
    let breaker = breaker();
    for _ in 0..4 {
        tell(&breaker, true);
    }
    breaker
}

#[tokio::test(start_paused = true)]
async fn it_is_open_for_its_rest_and_not_until_somebody_calls() {
    assert_eq!(BreakerLayer::default().now(), BreakerState::Closed);
    let breaker = breaker();
    let layer = BreakerLayer(Some(Arc::clone(&breaker)));
    assert_eq!(layer.now(), BreakerState::Closed);
    for _ in 0..4 {
        tell(&breaker, true);
    }
    assert_eq!(layer.now(), BreakerState::Open);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(layer.now(), BreakerState::HalfOpen);
    let probe = breaker.admit().expect("a probe");
    assert!(refused(&breaker).is_some());
    assert_eq!(layer.now(), BreakerState::Open);
    probe.tell(Some(true));
    assert_eq!(layer.now(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn opens_at_the_rate_and_not_below_the_least_number() {
    let breaker = breaker();
    for _ in 0..3 {
        tell(&breaker, true);
    }
    assert_eq!(refused(&breaker), None);
    tell(&breaker, false);
    assert_eq!(refused(&breaker), Some(Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn old_failures_are_forgotten() {
    let breaker = breaker();
    for _ in 0..3 {
        tell(&breaker, true);
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    for _ in 0..3 {
        tell(&breaker, true);
    }
    assert_eq!(refused(&breaker), None);
}

/// However short it is configured: the lock is held while it moves.
#[tokio::test(start_paused = true)]
async fn a_window_shorter_than_its_slots_moves_all_the_same() {
    let length = Duration::from_nanos(3);
    let begun = Instant::now();
    let mut window = Window::new(begun);
    for (nanos, all) in [(0, 1), (1, 2), (2, 3), (6, 1), (7, 2)] {
        let now = begun + Duration::from_nanos(nanos);
        assert_eq!(window.count(true, now, length).all, all, "{nanos}");
    }
}

/// A day of a busy gateway.
#[test]
fn a_long_window_counts_as_many_as_come() {
    let settings = settings::Breaker {
        failure_percent: 50,
        ..settings::Breaker::default()
    };
    let most = 10_000_000_000;
    assert!(!settings.is_too_much(most, most / 2 - 1));
    assert!(settings.is_too_much(most, most / 2));
}

#[tokio::test(start_paused = true)]
async fn one_probe_decides() {
    let breaker = opened().await;
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(refused(&breaker), Some(Duration::from_secs(6)));
    tokio::time::advance(Duration::from_secs(6)).await;
    let probe = breaker.admit().expect("a probe");
    let soon = Some(Duration::from_secs(1));
    assert_eq!(refused(&breaker), soon, "only one at a time");
    probe.tell(Some(true));
    assert_eq!(refused(&breaker), Some(Duration::from_secs(10)));
    tokio::time::advance(Duration::from_secs(10)).await;
    breaker.admit().expect("a probe").tell(Some(false));
    for _ in 0..3 {
        tell(&breaker, true);
    }
    assert_eq!(refused(&breaker), None, "the window began anew");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_says_nothing_makes_room_for_the_next() {
    let breaker = opened().await;
    tokio::time::advance(Duration::from_secs(10)).await;
    drop(breaker.admit().expect("a probe"));
    breaker.admit().expect("another").tell(None);
    breaker.admit().expect("a third").tell(Some(false));
    assert_eq!(refused(&breaker), None);
}

/// One that finds the vendor's login refusing it ends at once, as does the next: a line for each
/// call would be all that the log holds.
#[tokio::test(start_paused = true)]
async fn the_log_tells_what_was_found_out_and_no_probe_that_says_nothing() {
    let log = Spans::capture_at("warn");
    let breaker = opened().await;
    tokio::time::advance(Duration::from_secs(10)).await;
    for _ in 0..1000 {
        drop(breaker.admit().expect("a probe"));
    }
    breaker.admit().expect("a probe").tell(Some(true));
    tokio::time::advance(Duration::from_secs(10)).await;
    breaker.admit().expect("a probe").tell(Some(false));
    let lines = log.lines();
    let told: Vec<_> = lines.iter().map(|line| line["state"].as_str()).collect();
    assert_eq!(told, [Some("Open"), Some("Open"), Some("Closed")]);
}

#[tokio::test(start_paused = true)]
async fn what_began_before_it_opened_is_old_news() {
    let breaker = breaker();
    let slow = [(); 2].map(|()| breaker.admit().expect("closed"));
    for _ in 0..4 {
        tell(&breaker, true);
    }
    let [slow, slower] = slow;
    slow.tell(Some(false));
    assert!(refused(&breaker).is_some());
    tokio::time::advance(Duration::from_secs(10)).await;
    let _probe = breaker.admit().expect("a probe");
    slower.tell(Some(false));
    assert!(refused(&breaker).is_some(), "it is for the probe to tell");
}

/// Those that hung while the vendor was ill end when it may be well again.
#[tokio::test(start_paused = true)]
async fn what_began_before_it_opened_is_old_news_when_it_is_closed_again() {
    let breaker = breaker();
    let layer = BreakerLayer(Some(Arc::clone(&breaker)));
    let slow = [(); 8].map(|()| breaker.admit().expect("closed"));
    let began = Instant::now();
    for _ in 0..4 {
        tell(&breaker, true);
    }
    tokio::time::advance(Duration::from_secs(10)).await;
    breaker.admit().expect("a probe").tell(Some(false));
    for pass in slow {
        pass.tell(Some(true));
        layer.login_ended::<()>(began, &Err(unavailable(false)));
    }
    assert_eq!(layer.now(), BreakerState::Closed);
    for _ in 0..4 {
        tell(&breaker, true);
    }
    assert_eq!(layer.now(), BreakerState::Open);
}

/// The queue of a vendor that hangs is long when its circuit opens.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_is_told_that_the_circuit_has_opened() {
    let observer: Arc<dyn Observer> = Arc::new(Blind);
    let settings = settings::Breaker {
        enabled: true,
        min_calls: 1,
        ..settings::Breaker::default()
    };
    let breaker = BreakerLayer::new("vendor", &settings, &observer);
    let limit = settings::Limit {
        in_flight: 1,
        queue: 10,
    };
    let limit = LimitLayer::new("vendor", &limit, breaker.clone(), &observer);
    let (vendor, attempts) = vendor(|_, _| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Err(lost())
    });
    let service = breaker.layer(limit.layer(vendor));
    let calls = (0..4).map(|_| service.clone().oneshot(call(Replay::Safe, MINUTE)));
    let results = futures_util::future::join_all(calls).await;
    assert_eq!(attempts.count(), 1);
    for result in &results[1..] {
        assert!(matches!(result, Err(Error::CircuitOpen { .. })));
    }
    // The probe has to wait for a place as well.
    tokio::time::advance(settings.open).await;
    let _ = service.oneshot(call(Replay::Safe, MINUTE)).await;
    assert_eq!(attempts.count(), 2);
}

#[test]
fn only_unavailability_counts() {
    let gone = || "gone".to_owned();
    let answer = crate::upstream::error::Answer {
        status: http::StatusCode::OK,
        code: None,
        text: String::new(),
    };
    let table = [
        (Error::NeverSent { cause: gone() }, Some(true)),
        (Error::Lost { cause: gone() }, Some(true)),
        (
            Error::TimedOut {
                after: Duration::ZERO,
            },
            Some(true),
        ),
        (bare(502), Some(true)),
        (busy(Duration::ZERO), Some(true)),
        (throttled(None), Some(false)),
        (Error::CredentialRefused(answer), Some(false)),
        (
            Error::Unreadable {
                status: None,
                cause: gone(),
            },
            Some(false),
        ),
        (Error::Deadline, None),
        (Error::GivenUp, None),
        (Error::QueueFull, None),
        (
            Error::CircuitOpen {
                retry_after: Duration::ZERO,
            },
            None,
        ),
        // The login tells of itself, and it is one, whoever waits for it.
        (Error::Login(unavailable(true)), None),
        (Error::Login(login_busy(Duration::ZERO)), None),
        (Error::Login(LoginError::Secret { cause: gone() }), None),
    ];
    for (error, expected) in table {
        let label = error.label();
        assert_eq!(failed(&Err(error)), expected, "{label}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_cannot_log_in_leaves_the_vendor_alone_for_as_long_again() {
    for (error, rest) in [
        (unavailable(true), Some(Duration::from_secs(10))),
        // This says nothing of the vendor, so that another may find out.
        (
            LoginError::Secret {
                cause: String::new(),
            },
            None,
        ),
    ] {
        let breaker = opened().await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        breaker
            .admit()
            .expect("a probe")
            .ended(&Err(Error::Login(error)));
        assert_eq!(refused(&breaker), rest);
    }
}

/// However many wait for a login that fails, it is one request.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_login_in_vain_counts_for_nothing() {
    let breaker = breaker();
    for _ in 0..10 {
        let pass = breaker.admit().expect("closed");
        pass.ended(&Err(Error::Login(unavailable(true))));
    }
    assert_eq!(refused(&breaker), None);
}

#[tokio::test(start_paused = true)]
async fn who_waited_goes_on_once_the_rest_is_over() {
    let layer = BreakerLayer(Some(opened().await));
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert!(matches!(layer.rests(), Err(Error::CircuitOpen { .. })));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(layer.rests().is_ok());
}

#[tokio::test(start_paused = true)]
async fn logins_count_where_they_fail() {
    let breaker = breaker();
    let layer = BreakerLayer(Some(Arc::clone(&breaker)));
    for _ in 0..10 {
        layer.login_ended(Instant::now(), &Ok(()));
        let cause = String::new();
        layer.login_ended::<()>(Instant::now(), &Err(LoginError::Secret { cause }));
    }
    for _ in 0..3 {
        layer.login_ended::<()>(Instant::now(), &Err(unavailable(false)));
    }
    assert_eq!(refused(&breaker), None);
    layer.login_ended::<()>(Instant::now(), &Err(unavailable(false)));
    assert!(refused(&breaker).is_some());
}

proptest! {
    /// Against a plain list of what was told when.
    #[test]
    fn the_window_counts_what_a_list_would(steps in prop::collection::vec((0u64..3_000, any::<bool>()), 1..100)) {
        let start = Instant::now();
        let length = Duration::from_secs(10);
        let mut window = Window::new(start);
        let mut told: Vec<(Duration, bool)> = Vec::new();
        let mut now = Duration::ZERO;
        for (step, failed) in steps {
            now += Duration::from_millis(step);
            told.push((now, failed));
            let count = window.count(failed, start + now, length);
            let within = |bound: Duration| {
                let recent = told.iter().filter(move |(at, _)| *at + bound > now);
                recent.count() as u64
            };
            // Slots make the edge coarse by one step, never more.
            prop_assert!(count.all <= within(length));
            prop_assert!(count.all >= within(length - length / SLOTS as u32));
            prop_assert!(count.failed <= count.all);
        }
    }
}
