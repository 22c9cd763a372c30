//! Reads of an account's sessions, shared by all who need one at the same time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::PATIENCE;
use super::feed::Seq;
use super::hub::Hub;
use super::link::Link;
use crate::pb::SmsSession;
use crate::upstream::error::{Error, Failure};
use crate::upstream::operation::{Replay, Vendor as _};
use crate::vendors::genesys::Genesys;

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The sessions of an account as they were read.
#[derive(Debug)]
pub(in crate::vendors::genesys) struct Snapshot {
    pub(in crate::vendors::genesys) receive_time: SystemTime,
    pub(in crate::vendors::genesys) sessions: Vec<SmsSession>,
}

/// A read under way. Clones wait for the same one.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    /// Every event up to here had arrived when the read began.
    begun: Seq,
    course: watch::Receiver<Course>,
}

/// How a read stands.
#[derive(Debug)]
enum Course {
    /// And how it failed last.
    UnderWay(Option<Box<Failure>>),
    Landed(Landing),
}

type Landing = Result<Arc<Snapshot>, Box<Failure>>;

impl Hub {
    /// A read that was begun when the event of this number had arrived, and while the vendor
    /// would have told of anything later. Both go on for others when patience has an end.
    /// `begins` is told the number from which on this read tells nothing.
    pub(super) async fn snapshot(
        &self,
        at_least: Seq,
        patience: Duration,
        begins: impl Fn(Seq),
    ) -> Landing {
        let until = Instant::now() + patience;
        loop {
            if timeout_at(until, self.until_subscribed()).await.is_err() {
                let unanswered = Error::TimedOut { after: patience };
                let error = self.trouble().unwrap_or(unanswered);
                return Err(Box::new(failure(error)));
            }
            let flight = self.flight();
            let late_enough = flight.begun >= at_least;
            if late_enough {
                begins(flight.begun);
            }
            let landing = flight.landing(until).await;
            if late_enough || !flight.has_landed() {
                return landing;
            }
        }
    }
}

impl Flight {
    /// In a task of its own: who waits may leave without harm to the others.
    pub(super) fn take_off(link: Arc<dyn Link>, begun: Seq) -> Self {
        let (steer, course) = watch::channel(Course::UnderWay(None));
        tokio::spawn(async move {
            let read = read(&*link, |failure| {
                steer.send_replace(Course::UnderWay(Some(failure)));
            });
            let landing = read.await.map(|sessions| {
                Arc::new(Snapshot {
                    receive_time: SystemTime::now(),
                    sessions,
                })
            });
            steer.send_replace(Course::Landed(landing));
        });
        Flight { begun, course }
    }

    /// Or was abandoned, which only a defect can cause.
    pub(super) fn has_landed(&self) -> bool {
        matches!(*self.course.borrow(), Course::Landed(_)) || self.course.has_changed().is_err()
    }

    /// How it ended; or how it failed last, when it has not by then, or will not.
    async fn landing(&self, until: Instant) -> Landing {
        let mut course = self.course.clone();
        let _ = timeout_at(until, course.wait_for(|course| course.is_settled(until))).await;
        let known = course.wait_for(|course| !matches!(course, Course::UnderWay(None)));
        match known.await.as_deref() {
            Ok(Course::Landed(landing)) => landing.clone(),
            Ok(Course::UnderWay(Some(failure))) => Err(failure.clone()),
            Ok(Course::UnderWay(None)) | Err(_) => Err(Box::new(failure(Error::Lost {
                cause: "the gateway failed while it read the sessions".to_owned(),
            }))),
        }
    }
}

impl Course {
    /// Whether nothing else comes before then.
    fn is_settled(&self, until: Instant) -> bool {
        match self {
            Course::Landed(_) => true,
            Course::UnderWay(None) => false,
            Course::UnderWay(Some(failure)) => {
                Instant::now() + failure.error.told_to_wait() >= until
            }
        }
    }
}

/// Reads until it succeeds, as long as time may help, and tells of each failure that it bears.
async fn read(
    link: &dyn Link,
    bear: impl Fn(Box<Failure>),
) -> Result<Vec<SmsSession>, Box<Failure>> {
    let began = Instant::now();
    let mut longest = Duration::from_millis(200);
    loop {
        let failure = match link.sessions().await {
            Ok(sessions) => return Ok(sessions),
            Err(failure) => Box::new(failure),
        };
        let told = failure.error.told_to_wait();
        if !failure.error.may_pass() || began.elapsed() + told >= PATIENCE {
            return Err(failure);
        }
        bear(failure);
        let pause = rand::rng().random_range(longest / 2..=longest);
        longest = (longest * 2).min(LONGEST_PAUSE);
        sleep(told + pause).await;
    }
}

/// What a watcher is told when its notifications cannot go on.
pub(super) fn failure(error: Error) -> Failure {
    Failure::unsent(Genesys::NAME, "WatchSessions", Replay::Safe, error)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Mutex;

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use opentelemetry::global;
    use serde_json::Value;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::lifecycle::Lifecycle;
    use crate::upstream::operation::Meta;
    use crate::upstream::testing::{busy, lost, throttled};
    use crate::vendors::genesys::notifications::PATIENCE_AT_FIRST;
    use crate::vendors::genesys::notifications::meters::Meters;

    /// Fails with these, the last first, and then has no sessions.
    struct Failing(Mutex<Vec<Error>>);

    impl Link for Failing {
        fn post(
            &self,
            meta: &'static Meta,
            _: &Value,
            _: Duration,
        ) -> BoxFuture<'static, Result<Bytes, Error>> {
            unreachable!("{}", meta.name)
        }

        fn sessions(&self) -> BoxFuture<'static, Result<Vec<SmsSession>, Failure>> {
            let next = self.0.lock().unwrap().pop();
            Box::pin(async { next.map_or(Ok(Vec::new()), |error| Err(failure(error))) })
        }
    }

    /// What reading comes to, and after what time.
    async fn read_after(errors: Vec<Error>) -> (Result<Vec<SmsSession>, Box<Failure>>, Duration) {
        let start = Instant::now();
        let read = read(&Failing(Mutex::new(errors)), |_| {}).await;
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

    /// An account that is subscribed, and whose reads fail with these.
    fn hub(errors: Vec<Error>) -> Hub {
        let hub = Hub::new(
            "default".to_owned(),
            ["/v2/me/*".to_owned()].into(),
            Arc::new(Failing(Mutex::new(errors))),
            Meters::new(&global::meter("test")),
            Lifecycle::default(),
            Arc::new(Semaphore::new(1)),
        );
        hub.subscribed();
        hub
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_is_told_of_failing_reads_before_who_was_there() {
        let hub = hub((0..100).map(|_| lost()).collect());
        let start = Instant::now();
        let waited = async |patience| {
            assert!(hub.snapshot(0, patience, |_| {}).await.is_err());
            start.elapsed()
        };
        let (new, old) = tokio::join!(waited(PATIENCE_AT_FIRST), waited(PATIENCE));
        assert_eq!((new, old), (PATIENCE_AT_FIRST, PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_is_told_at_once_of_a_wait_that_is_too_long() {
        let hub = hub(vec![busy(2 * PATIENCE_AT_FIRST)]);
        let start = Instant::now();
        let read = hub.snapshot(0, PATIENCE_AT_FIRST, |_| {}).await;
        assert!(matches!(read.unwrap_err().error, Error::Busy { .. }));
        assert_eq!(start.elapsed(), Duration::ZERO);
        // It goes on, for who has the patience.
        assert!(hub.snapshot(0, PATIENCE, |_| {}).await.is_ok());
    }

    /// It may not tell what was missed since.
    #[tokio::test(start_paused = true)]
    async fn a_read_that_was_begun_too_early_makes_up_for_nothing() {
        let hub = hub(Vec::new());
        let earlier = hub.flight();
        hub.miss();
        let missed = earlier.begun + 1;
        let begun = Cell::new(None);
        let read = hub.snapshot(missed, PATIENCE, |seq| begun.set(Some(seq)));
        read.await.unwrap();
        assert!(begun.get().is_some_and(|begun| begun >= missed));
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_read_that_fails_keeps_nobody_longer() {
        let hub = hub((0..100).map(|_| lost()).collect());
        let start = Instant::now();
        let earlier = hub.flight();
        hub.miss();
        let begun = hub
            .snapshot(earlier.begun + 1, PATIENCE_AT_FIRST, |_| {})
            .await;
        assert!(begun.is_err());
        assert_eq!(start.elapsed(), PATIENCE_AT_FIRST);
    }
}
