//! Reads of an account's sessions, shared by all who need one at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::PATIENCE;
use super::feed::Seq;
use super::hub::Hub;
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

/// A read under way, as often as it has to be tried, and who waits for it.
#[derive(Debug)]
pub(super) struct Flight {
    /// Every event up to here had arrived when its newest attempt began.
    pub(super) begun: Seq,
    /// The consumers, by their numbers.
    pub(super) readers: BTreeSet<u64>,
    course: watch::Receiver<Course>,
}

/// How a read stands.
#[derive(Debug)]
pub(super) enum Course {
    UnderWay,
    /// It failed, and is tried again then at the earliest.
    Failed(Box<Failure>, Instant),
    /// And what the attempt that ended it had as `begun`.
    Landed(Seq, Landing),
}

pub(super) type Landing = Result<Arc<Snapshot>, Box<Failure>>;

impl Hub {
    /// A read that was begun when the event of this number had arrived, and while the vendor
    /// would have told of anything later; for this consumer, whose queue goes along with it. Both go
    /// on for others when patience has an end.
    pub(super) async fn snapshot(
        self: &Arc<Self>,
        consumer: u64,
        at_least: Seq,
        patience: Duration,
    ) -> Landing {
        let until = Instant::now() + patience;
        loop {
            if timeout_at(until, self.until_subscribed()).await.is_err() {
                let unanswered = Error::TimedOut { after: patience };
                let error = self.trouble().unwrap_or(unanswered);
                return Err(Box::new(failure(error)));
            }
            let course = self.board(consumer);
            match landed(course, until).await {
                // Too early, and for others only.
                (Some(begun), _) if begun < at_least => {}
                (_, landing) => return landing,
            }
        }
    }
}

impl Flight {
    /// In a task of its own: who waits may leave without harm to the others.
    pub(super) fn take_off(hub: Arc<Hub>, begun: Seq) -> Self {
        let (steer, course) = watch::channel(Course::UnderWay);
        tokio::spawn(async move {
            let (begun, read) = read(&hub, |failure, again| {
                steer.send_replace(Course::Failed(failure, again));
            })
            .await;
            let landing = read.map(|sessions| {
                Arc::new(Snapshot {
                    receive_time: SystemTime::now(),
                    sessions,
                })
            });
            steer.send_replace(Course::Landed(begun, landing));
        });
        Flight {
            begun,
            readers: BTreeSet::new(),
            course,
        }
    }

    /// Or was abandoned, which only a defect can cause.
    pub(super) fn has_landed(&self) -> bool {
        matches!(*self.course.borrow(), Course::Landed(..)) || self.course.has_changed().is_err()
    }

    pub(super) fn course(&self) -> watch::Receiver<Course> {
        self.course.clone()
    }
}

/// How it ended, and when it had begun; or how it failed last, when it has not ended by then, or will not.
async fn landed(mut course: watch::Receiver<Course>, until: Instant) -> (Option<Seq>, Landing) {
    let _ = timeout_at(until, course.wait_for(|course| course.is_settled(until))).await;
    let known = course.wait_for(|course| !matches!(course, Course::UnderWay));
    match known.await.as_deref() {
        Ok(Course::Landed(begun, landing)) => (Some(*begun), landing.clone()),
        Ok(Course::Failed(failure, _)) => (None, Err(failure.clone())),
        Ok(Course::UnderWay) | Err(_) => {
            let cause = "the gateway failed while it read the sessions".to_owned();
            (None, Err(Box::new(failure(Error::Lost { cause }))))
        }
    }
}

impl Course {
    /// Whether nothing else comes before then.
    fn is_settled(&self, until: Instant) -> bool {
        match self {
            Course::Landed(..) => true,
            Course::UnderWay => false,
            Course::Failed(_, again) => *again >= until,
        }
    }
}

/// Reads until it succeeds, as long as time may help, and tells of each failure that it bears, and when
/// it goes on; what came of it, and when that attempt had begun.
async fn read(
    hub: &Hub,
    bear: impl Fn(Box<Failure>, Instant),
) -> (Seq, Result<Vec<SmsSession>, Box<Failure>>) {
    let until = Instant::now() + PATIENCE;
    let mut longest = Duration::from_millis(200);
    loop {
        let begun = hub.begin_read();
        let failure = match hub.link.sessions().await {
            Ok(sessions) => return (begun, Ok(sessions)),
            Err(failure) => Box::new(failure),
        };
        let again = Instant::now() + failure.error.told_to_wait();
        if !failure.error.may_pass() || again >= until {
            return (begun, Err(failure));
        }
        bear(failure.clone(), again);
        let pause = rand::rng().random_range(longest / 2..=longest);
        longest = (longest * 2).min(LONGEST_PAUSE);
        sleep_until(again + pause).await;
        // What is read before the vendor tells of anything later would have to be read again.
        if timeout_at(until, hub.until_subscribed()).await.is_err() {
            return (begun, Err(failure));
        }
    }
}

/// What a watcher is told when its notifications cannot go on.
pub(super) fn failure(error: Error) -> Failure {
    Failure::unsent(Genesys::NAME, "WatchSessions", Replay::Safe, error)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
