//! Both bounds on time, alone and with the retries between them, in paused time.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::{Instant, sleep};
use tower::retry::RetryLayer;
use tower::{ServiceBuilder, ServiceExt};

use super::*;
use crate::upstream::error::{Failure, Refusal};
use crate::upstream::observer::Blind;
use crate::upstream::operation::Replay;
use crate::upstream::progress::Progress;
use crate::upstream::retry::Policy;
use crate::upstream::settings;
use crate::upstream::testing::{
    Attempts, REPLAYS, bare, busy, call, credential_refused, lost, never_sent, refused, throttled,
    vendor, yes,
};

const SECOND: Duration = Duration::from_secs(1);
const ATTEMPT: Duration = Duration::from_secs(5);
const FOREVER: Duration = Duration::from_secs(86_400);

/// One attempt at a vendor that never answers, having read the request or not.
async fn hang(sent: bool, within: Duration) -> (Error, Progress, Duration) {
    let (vendor, _) = vendor(move |_, call: Call| async move {
        if sent {
            call.progress.mark_sent();
        }
        sleep(FOREVER).await;
        yes()
    });
    let service = AttemptTimeoutLayer::new(ATTEMPT).layer(vendor);
    let call = call(Replay::Once, within);
    let progress = call.progress.clone();
    let start = Instant::now();
    let error = service.oneshot(call).await.err().expect("no answer");
    (error, progress, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_sent_times_out_in_doubt() {
    let (error, progress, took) = hang(true, ATTEMPT * 2).await;
    assert!(matches!(error, Error::TimedOut { after } if after == ATTEMPT));
    assert!(progress.in_doubt());
    assert_eq!((took, progress.sent()), (ATTEMPT, 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_not_sent_was_never_sent() {
    let (error, progress, took) = hang(false, ATTEMPT * 2).await;
    assert!(matches!(error, Error::NeverSent { .. }), "{error:?}");
    assert!(!progress.in_doubt());
    assert_eq!((took, progress.sent()), (ATTEMPT, 0));
}

/// A request that waits somewhere below, and would go out after its attempt has ended: by its own time,
/// by the deadline, or because nobody waits for it any more.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_has_ended_is_not_sent_any_more() {
    let ends = [
        (ATTEMPT * 2, FOREVER),
        (SECOND, FOREVER),
        (ATTEMPT * 2, SECOND),
    ];
    for (within, patience) in ends {
        let (kept, mut waiting) = tokio::sync::mpsc::unbounded_channel();
        let (vendor, _) = vendor(move |_, call: Call| {
            let _ = kept.send(call.progress.leave(call.deadline).unwrap());
            async {
                sleep(FOREVER).await;
                yes()
            }
        });
        let service = AttemptTimeoutLayer::new(ATTEMPT).layer(vendor);
        let call = call(Replay::Once, within);
        let progress = call.progress.clone();
        let _ = tokio::time::timeout(patience, service.oneshot(call)).await;
        let late = waiting.recv().await.unwrap();
        let next = progress.leave(Instant::now() + SECOND).unwrap();
        assert!(!late.take());
        assert_eq!((progress.sent(), progress.in_doubt()), (0, false));
        assert!(next.take(), "another attempt is another one");
        assert_eq!((progress.sent(), progress.in_doubt()), (1, true));
    }
}

/// Over HTTP/2 it may wait for a stream, and get that of one whose time is over in the same moment.
#[tokio::test(start_paused = true)]
async fn a_request_is_not_sent_when_its_attempt_is_as_good_as_over() {
    let moment = Duration::from_millis(1);
    for (within, limit) in [(ATTEMPT * 2, ATTEMPT), (SECOND, SECOND)] {
        for (left, sent) in [(SHORTEST_ATTEMPT, true), (SHORTEST_ATTEMPT - moment, false)] {
            let (vendor, _) = vendor(move |_, call: Call| async move {
                let leave = call.progress.leave(call.deadline).unwrap();
                sleep(limit - left).await;
                match leave.take() {
                    true => yes(),
                    false => Err(never_sent()),
                }
            });
            let service = AttemptTimeoutLayer::new(ATTEMPT).layer(vendor);
            let call = call(Replay::Once, within);
            let progress = call.progress.clone();
            let result = service.oneshot(call).await;
            assert_eq!((result.is_ok(), progress.sent()), (sent, u32::from(sent)));
            let told = result.err().map(|error| error.label());
            // Repeated where there is time for that.
            let by = if within > ATTEMPT {
                "never_sent"
            } else {
                "deadline"
            };
            assert_eq!(told, (!sent).then_some(by));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_deadline_was_the_limit_it_is_the_error() {
    for sent in [false, true] {
        for left in [SECOND, ATTEMPT] {
            let (error, progress, took) = hang(sent, left).await;
            assert!(matches!(error, Error::Deadline), "{error:?}");
            assert_eq!(progress.in_doubt(), sent);
            assert_eq!(took, left);
        }
    }
}

/// How an attempt ends is how much doubt it leaves, once the request was sent.
#[tokio::test(start_paused = true)]
async fn an_answer_that_means_something_settles_the_doubt() {
    let bare = bare(502);
    let unreadable = Error::Unreadable {
        status: Some(StatusCode::OK),
        cause: "not JSON".into(),
    };
    let table = [
        (yes(), false),
        (Err(refused(Refusal::State)), false),
        (Err(credential_refused()), false),
        (Err(throttled(None)), false),
        (Err(busy(SECOND)), false),
        (Err(unreadable), false),
        (Err(never_sent()), false),
        (Err(lost()), true),
        (Err(bare), true),
    ];
    for (result, doubt) in table {
        let told = format!("{:?}", result.as_ref().err());
        let (vendor, _) = vendor(move |_, call: Call| {
            call.progress.mark_sent();
            ready(result.clone())
        });
        let service = AttemptTimeoutLayer::new(ATTEMPT).layer(vendor);
        let call = call(Replay::Idempotent, ATTEMPT * 2);
        let progress = call.progress.clone();
        let _ = service.oneshot(call).await;
        assert_eq!(progress.in_doubt(), doubt, "{told}");
        assert!(!progress.was_in_doubt(), "there was no attempt before");
    }
}

/// Who gave no answer may still be at it, whatever later attempts come to.
#[tokio::test(start_paused = true)]
async fn an_attempt_without_an_answer_is_remembered() {
    let table = [
        (Some(lost()), false),
        (Some(bare(502)), false),
        (Some(bare(504)), true),
        // It hangs.
        (None, true),
    ];
    for (first, unanswered) in table {
        let told = format!("{first:?}");
        let (vendor, _) = vendor(move |number, call: Call| {
            let first = first.clone();
            call.progress.mark_sent();
            async move {
                match first {
                    _ if number > 0 => Err(lost()),
                    Some(error) => Err(error),
                    None => std::future::pending().await,
                }
            }
        });
        let call = call(Replay::Idempotent, ATTEMPT * 4);
        let progress = call.progress.clone();
        assert!(stack(vendor).oneshot(call).await.is_err());
        progress.forget_doubt();
        assert_eq!(progress.was_unanswered(), unanswered, "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_doubt_of_before_is_remembered_and_not_mistaken_for_one_of_now() {
    let (vendor, _) = vendor(|number, call: Call| {
        call.progress.mark_sent();
        let results = [Err(lost()), Err(refused(Refusal::NotFound))];
        ready(results[number].clone())
    });
    let service = stack(vendor);
    let call = call(Replay::Idempotent, ATTEMPT * 2);
    let progress = call.progress.clone();
    assert!(service.oneshot(call).await.is_err());
    assert!(progress.was_in_doubt());
    assert!(!progress.in_doubt());
    assert_eq!(progress.sent(), 2);
}

/// What cannot finish must not go out: a write that does, and is cut at once, is a needless
/// doubt.
#[tokio::test(start_paused = true)]
async fn an_attempt_is_not_begun_without_time_to_finish() {
    for (left, begun) in [(0, 0), (1, 0), (4, 0), (5, 1)] {
        let (vendor, attempts) = vendor(|_, call: Call| {
            call.progress.mark_sent();
            ready(yes())
        });
        let service = AttemptTimeoutLayer::new(ATTEMPT).layer(vendor);
        let call = call(Replay::Once, Duration::from_millis(left));
        let progress = call.progress.clone();
        let late = matches!(service.oneshot(call).await, Err(Error::Deadline));
        assert_eq!(late, begun == 0, "{left}");
        assert_eq!((attempts.count(), progress.sent()), (begun as usize, begun));
        assert!(!progress.in_doubt());
    }
}

/// Both bounds with the retries between them, as the vendor stack has them.
fn stack<S>(vendor: S) -> impl Service<Call, Response = Reply, Error = Error>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let settings = settings::Retry::default();
    ServiceBuilder::new()
        .layer(DeadlineLayer)
        .layer(RetryLayer::new(Policy::new(
            "vendor",
            &settings,
            Arc::new(Blind),
        )))
        .layer(AttemptTimeoutLayer::new(ATTEMPT))
        .service(vendor)
}

/// A call through the stack to a vendor that reads each request and never answers.
async fn unanswered(replay: Replay, within: Duration) -> (Failure, Attempts, Duration) {
    let (vendor, attempts) = vendor(|_, call: Call| async move {
        call.progress.mark_sent();
        sleep(FOREVER).await;
        yes()
    });
    let call = call(replay, within);
    let progress = call.progress.clone();
    let start = Instant::now();
    let error = stack(vendor).oneshot(call).await.err().expect("no answer");
    let failure = Failure::unsent("vendor", "test", replay, error).after(&progress);
    (failure, attempts, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_all_attempts_together() {
    for replay in [Replay::Safe, Replay::Idempotent] {
        let (failure, attempts, took) = unanswered(replay, SECOND * 8).await;
        assert!(matches!(failure.error, Error::Deadline));
        assert!(!failure.outcome_unknown());
        assert_eq!((attempts.count(), failure.sent), (2, 2));
        assert_eq!(took, SECOND * 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_must_not_happen_twice_is_in_doubt_after_one_attempt() {
    let (failure, attempts, took) = unanswered(Replay::Once, SECOND * 8).await;
    assert!(matches!(failure.error, Error::TimedOut { .. }));
    assert!(failure.outcome_unknown());
    assert_eq!((attempts.count(), took), (1, ATTEMPT));

    let (failure, attempts, took) = unanswered(Replay::Once, SECOND * 3).await;
    assert!(matches!(failure.error, Error::Deadline));
    assert!(failure.outcome_unknown());
    assert_eq!((attempts.count(), took), (1, SECOND * 3));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_never_went_out_is_not_in_doubt() {
    let (vendor, attempts) = vendor(|_, _| async {
        sleep(FOREVER).await;
        yes()
    });
    let call = call(Replay::Once, SECOND * 8);
    let progress = call.progress.clone();
    let error = stack(vendor).oneshot(call).await.err().expect("no answer");
    assert!(matches!(error, Error::Deadline));
    assert!(!progress.in_doubt());
    assert_eq!((attempts.count(), progress.sent()), (2, 0));
}

/// Whatever the layers below it do: sleep, wait for a place, for a token, for nothing at all.
#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_call_to_the_millisecond() {
    for replay in REPLAYS {
        let (vendor, _) = vendor(|_, _| async {
            sleep(FOREVER).await;
            yes()
        });
        let start = Instant::now();
        let call = call(replay, SECOND * 2);
        let progress = call.progress.clone();
        let error = DeadlineLayer.layer(vendor).oneshot(call).await;
        assert!(matches!(error, Err(Error::Deadline)));
        assert_eq!(start.elapsed(), SECOND * 2);
        assert!(!progress.in_doubt(), "nothing was sent");
    }
}

/// A sleep between attempts is cut too, should one ever be longer than the time that is left.
#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_a_sleeping_retry() {
    #[derive(Clone)]
    struct Sleepy;
    impl tower::retry::Policy<Call, Reply, Error> for Sleepy {
        type Future = BoxFuture<'static, ()>;
        fn retry(&mut self, _: &mut Call, _: &mut Result<Reply, Error>) -> Option<Self::Future> {
            Some(Box::pin(sleep(FOREVER)))
        }
        fn clone_request(&mut self, call: &Call) -> Option<Call> {
            Some(call.clone())
        }
    }
    let (vendor, attempts) = vendor(|_, _| ready(Err(never_sent())));
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer)
        .layer(RetryLayer::new(Sleepy))
        .service(vendor);
    let start = Instant::now();
    let result = service.oneshot(call(Replay::Safe, SECOND)).await;
    assert!(matches!(result, Err(Error::Deadline)));
    assert_eq!((attempts.count(), start.elapsed()), (1, SECOND));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_passes_both() {
    let (vendor, _) = vendor(|_, _| async {
        sleep(SECOND * 4).await;
        yes()
    });
    assert!(
        stack(vendor)
            .oneshot(call(Replay::Once, ATTEMPT))
            .await
            .is_ok()
    );
}
