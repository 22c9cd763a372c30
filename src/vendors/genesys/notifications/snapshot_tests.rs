//! Reads that fail and are made again: who is told what, when, and what they make up for. Time is paused.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use opentelemetry::global;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::*;
use crate::lifecycle::Lifecycle;
use crate::upstream::error::Refusal;
use crate::upstream::operation::Meta;
use crate::upstream::testing::{answer, busy, lost, throttled};
use crate::vendors::genesys::notifications::PATIENCE_AT_FIRST;
use crate::vendors::genesys::notifications::event;
use crate::vendors::genesys::notifications::feed::{Filter, Item};
use crate::vendors::genesys::notifications::hub::Consumer;
use crate::vendors::genesys::notifications::link::Link;
use crate::vendors::genesys::notifications::meters::Meters;

/// Somebody who waits for a read, and gets no events.
const NOBODY: u64 = 0;

/// Has no sessions, but fails with these before, the last first.
#[derive(Default)]
struct Failing {
    errors: Mutex<Vec<Error>>,
    /// How long it takes for a read.
    takes: Duration,
    reads: Arc<AtomicUsize>,
}

impl Link for Failing {
    fn post(
        &self,
        _: &'static Meta,
        _: &Value,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Error>> {
        // Whether it is subscribed is for the test to say.
        Box::pin(std::future::pending())
    }

    fn sessions(&self) -> BoxFuture<'static, Result<Vec<SmsSession>, Failure>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let next = self.errors.lock().unwrap().pop();
        let takes = self.takes;
        Box::pin(async move {
            if !takes.is_zero() {
                sleep(takes).await;
            }
            next.map_or(Ok(Vec::new()), |error| Err(failure(error)))
        })
    }
}

fn failing(errors: Vec<Error>) -> Failing {
    Failing {
        errors: Mutex::new(errors),
        ..Failing::default()
    }
}

fn always_lost() -> Failing {
    failing((0..100).map(|_| lost()).collect())
}

/// An account that is subscribed.
fn hub(link: Failing) -> Arc<Hub> {
    let hub = Hub::new(
        "default".to_owned(),
        ["/v2/me/*".to_owned()].into(),
        Arc::new(link),
        Meters::new(&global::meter("test")),
        Lifecycle::default(),
        Arc::new(Semaphore::new(1)),
    );
    hub.subscribed();
    Arc::new(hub)
}

/// Somebody who watches, and is to read; and from which number on.
async fn watcher(hub: &Arc<Hub>) -> (Consumer, Seq) {
    let watcher = hub.consume(Filter::All);
    // The session begins.
    tokio::task::yield_now().await;
    hub.subscribed();
    let Item::Missed(missed) = watcher.next().await else {
        panic!("nothing is missed");
    };
    (watcher, missed)
}

fn publish(hub: &Hub, reference: i64) {
    let json = format!(r#"{{"referenceId":{reference},"smssession":{{"id":"a"}}}}"#);
    let event = event::read("/x", serde_json::from_str(&json).unwrap());
    hub.publish(event.unwrap().unwrap());
}

/// What the watcher is owed now.
fn owed(watcher: &Consumer) -> Vec<Option<i64>> {
    std::iter::from_fn(|| watcher.next().now_or_never())
        .map(|item| match item {
            Item::Event(event) => event.notification.reference_id,
            Item::Missed(_) => None,
            Item::Ended(failure) => panic!("{failure:?}"),
        })
        .collect()
}

/// What reading comes to, and after what time.
async fn read_after(errors: Vec<Error>) -> (Result<Vec<SmsSession>, Box<Failure>>, Duration) {
    let start = Instant::now();
    let (_, read) = read(&hub(failing(errors)), |_, _| {}).await;
    (read, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_kept_where_there_is_the_patience() {
    let wait = Duration::from_secs(20);
    for error in [busy(wait), throttled(Some(wait))] {
        let (read, took) = read_after(vec![lost(), error]).await;
        assert!(read.is_ok());
        assert!(took >= wait && took < wait + 2 * LONGEST_PAUSE, "{took:?}");
    }
    let (read, took) = read_after(vec![busy(PATIENCE)]).await;
    assert!(matches!(read.unwrap_err().error, Error::Busy { .. }));
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_has_just_come_is_told_of_failing_reads_before_who_was_there() {
    let hub = hub(always_lost());
    let start = Instant::now();
    let waited = async |patience| {
        assert!(hub.snapshot(NOBODY, 0, patience).await.is_err());
        start.elapsed()
    };
    let (new, old) = tokio::join!(waited(PATIENCE_AT_FIRST), waited(PATIENCE));
    assert_eq!((new, old), (PATIENCE_AT_FIRST, PATIENCE));
}

#[tokio::test(start_paused = true)]
async fn who_has_just_come_is_told_at_once_of_a_wait_that_is_too_long() {
    let hub = hub(failing(vec![busy(2 * PATIENCE_AT_FIRST)]));
    let start = Instant::now();
    let read = hub.snapshot(NOBODY, 0, PATIENCE_AT_FIRST).await;
    assert!(matches!(read.unwrap_err().error, Error::Busy { .. }));
    assert_eq!(start.elapsed(), Duration::ZERO);
    // It goes on, for who has the patience.
    assert!(hub.snapshot(NOBODY, 0, PATIENCE).await.is_ok());
}

/// Most of it is over by then, or all of it.
#[tokio::test(start_paused = true)]
async fn who_comes_at_the_end_of_a_long_wait_is_not_told_of_its_whole_length() {
    let wait = 2 * PATIENCE_AT_FIRST;
    let takes = Duration::from_secs(5);
    let hub = hub(Failing {
        takes,
        ..failing(vec![busy(wait)])
    });
    let earlier = hub.snapshot(NOBODY, 0, PATIENCE);
    let later = async |after| {
        sleep(after).await;
        hub.snapshot(NOBODY, 0, PATIENCE_AT_FIRST).await
    };
    let before_its_end = takes + wait - Duration::from_secs(1);
    let while_it_is_read = takes + wait + Duration::from_secs(1);
    let (earlier, before, meanwhile) =
        tokio::join!(earlier, later(before_its_end), later(while_it_is_read));
    assert!(earlier.is_ok());
    assert!(before.is_ok(), "{before:?}");
    assert!(meanwhile.is_ok(), "{meanwhile:?}");
}

/// It may not tell what was missed since.
#[tokio::test(start_paused = true)]
async fn a_read_that_was_begun_too_early_makes_up_for_nothing() {
    let hub = hub(Failing {
        takes: Duration::from_secs(1),
        ..Failing::default()
    });
    let (_other, missed) = watcher(&hub).await;
    let earlier = hub.snapshot(NOBODY, missed, PATIENCE);
    let later = async {
        sleep(Duration::from_millis(500)).await;
        hub.miss();
        hub.snapshot(NOBODY, missed + 1, PATIENCE).await
    };
    let (earlier, later) = tokio::join!(earlier, later);
    assert!(later.unwrap().receive_time > earlier.unwrap().receive_time);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_read_that_fails_keeps_nobody_longer() {
    let hub = hub(Failing {
        takes: Duration::from_secs(1),
        ..always_lost()
    });
    let start = Instant::now();
    let earlier = hub.snapshot(NOBODY, 0, PATIENCE);
    let later = async {
        tokio::task::yield_now().await;
        hub.miss();
        let read = hub.snapshot(NOBODY, 2, PATIENCE_AT_FIRST).await;
        (read.is_err(), start.elapsed())
    };
    let (_, later) = tokio::join!(earlier, later);
    assert_eq!(later, (true, PATIENCE_AT_FIRST));
}

/// However many gaps an outage makes, they are one to whoever could not read until it was over.
#[tokio::test(start_paused = true)]
async fn what_is_read_at_last_tells_all_that_was_missed_meanwhile() {
    let hub = hub(Failing {
        takes: Duration::from_secs(1),
        ..failing(vec![lost(), lost()])
    });
    let (watcher, missed) = watcher(&hub).await;
    let outage = async {
        for reference in 0..2 {
            sleep(Duration::from_millis(500)).await;
            publish(&hub, reference);
            hub.gap();
            publish(&hub, reference + 10);
        }
    };
    let (read, ()) = tokio::join!(watcher.snapshot(missed, PATIENCE), outage);
    read.unwrap();
    assert_eq!(owed(&watcher), []);
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_it_is_read_at_last_is_told_after_it() {
    let link = Failing {
        takes: Duration::from_secs(1),
        ..failing(vec![lost(), lost()])
    };
    let reads = Arc::clone(&link.reads);
    let hub = hub(link);
    let (watcher, missed) = watcher(&hub).await;
    let meanwhile = async {
        for attempt in 1..=3 {
            while reads.load(Ordering::Relaxed) < attempt {
                sleep(Duration::from_millis(1)).await;
            }
            publish(&hub, attempt as i64);
            if attempt < 3 {
                hub.gap();
            }
        }
    };
    let (read, ()) = tokio::join!(watcher.snapshot(missed, PATIENCE), meanwhile);
    read.unwrap();
    assert_eq!(owed(&watcher), [Some(3)]);
}

/// It would have to be read again, as soon as the vendor tells of what comes after it.
#[tokio::test(start_paused = true)]
async fn no_read_is_made_again_while_nothing_would_be_told_after_it() {
    let link = failing(vec![lost()]);
    let reads = Arc::clone(&link.reads);
    let hub = hub(link);
    let (watcher, missed) = watcher(&hub).await;
    let outage = async {
        sleep(Duration::from_millis(1)).await;
        hub.unsubscribed();
        hub.gap();
        sleep(PATIENCE / 2).await;
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        hub.subscribed();
    };
    let (read, ()) = tokio::join!(watcher.snapshot(missed, PATIENCE), outage);
    read.unwrap();
    assert_eq!(owed(&watcher), []);
}

/// Also of an attempt that is not the first, and to whoever joins it when it is under way.
#[tokio::test(start_paused = true)]
async fn who_joins_a_read_is_not_told_what_came_before_it_either() {
    let link = Failing {
        takes: Duration::from_secs(1),
        ..failing(vec![lost()])
    };
    let reads = Arc::clone(&link.reads);
    let hub = hub(link);
    let (first, missed) = watcher(&hub).await;
    let (second, missed_too) = watcher(&hub).await;
    let joining = async {
        sleep(Duration::from_millis(500)).await;
        publish(&hub, 1);
        hub.gap();
        while reads.load(Ordering::Relaxed) < 2 {
            sleep(Duration::from_millis(1)).await;
        }
        publish(&hub, 2);
        second.snapshot(missed_too, PATIENCE).await
    };
    let (read, joined) = tokio::join!(first.snapshot(missed, PATIENCE), joining);
    let (read, joined) = (read.unwrap(), joined.unwrap());
    assert_eq!(read.receive_time, joined.receive_time);
    assert_eq!(owed(&first), [Some(2)]);
    // What came after the gap and before it joined was not kept for it.
    assert_eq!(owed(&second), [None]);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_denied_is_told_at_once_and_not_made_again() {
    let denied = Error::Refused {
        meaning: Refusal::Denied,
        answer: answer(403),
    };
    let (read, took) = read_after(vec![denied]).await;
    assert!(matches!(read.unwrap_err().error, Error::Refused { .. }));
    assert_eq!(took, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_read_is_told_when_the_notifications_end() {
    let hub = hub(Failing {
        takes: PATIENCE,
        ..Failing::default()
    });
    let (watcher, missed) = watcher(&hub).await;
    let start = Instant::now();
    let ending = async {
        sleep(Duration::from_secs(1)).await;
        hub.fail(&failure(lost()));
    };
    let (read, ()) = tokio::join!(watcher.snapshot(missed, PATIENCE), ending);
    assert!(read.is_err());
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}
