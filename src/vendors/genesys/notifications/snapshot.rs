//! Reads of an account's sessions, shared by all who need one at the same time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::Rng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::feed::Seq;
use super::hub::Hub;
use super::link::Link;
use crate::pb::SmsSession;
use crate::upstream::error::{Error, Failure};
use crate::upstream::operation::{Replay, Vendor as _};
use crate::vendors::genesys::Genesys;

/// How long reading is tried: as long as the session itself is (see [`super::session`]).
const PATIENCE: Duration = Duration::from_secs(60);

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The sessions of an account as they were read.
#[derive(Debug)]
pub(in crate::vendors::genesys) struct Snapshot {
    /// Every event up to here had arrived when the read began.
    pub(super) begun: Seq,
    pub(in crate::vendors::genesys) receive_time: SystemTime,
    pub(in crate::vendors::genesys) sessions: Vec<SmsSession>,
}

/// A read under way. Clones wait for the same one.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    begun: Seq,
    landed: watch::Receiver<Option<Landing>>,
}

type Landing = Result<Arc<Snapshot>, Box<Failure>>;

impl Hub {
    /// A read that was begun when the event of this number had arrived, and while the vendor
    /// would have told of anything later.
    pub(super) async fn snapshot(&self, at_least: Seq) -> Landing {
        loop {
            self.until_subscribed().await;
            let flight = self.flight();
            let begun = flight.begun;
            let landing = flight.landing().await;
            if begun >= at_least {
                return landing;
            }
        }
    }
}

impl Flight {
    /// In a task of its own: who waits may leave without harm to the others.
    pub(super) fn take_off(link: Arc<dyn Link>, begun: Seq) -> Self {
        let (land, landed) = watch::channel(None);
        tokio::spawn(async move {
            let read = read(&*link).await;
            land.send_replace(Some(read.map_err(Box::new).map(|sessions| {
                Arc::new(Snapshot {
                    begun,
                    receive_time: SystemTime::now(),
                    sessions,
                })
            })));
        });
        Flight { begun, landed }
    }

    /// Or was abandoned, which only a defect can cause.
    pub(super) fn has_landed(&self) -> bool {
        self.landed.borrow().is_some() || self.landed.has_changed().is_err()
    }

    async fn landing(mut self) -> Landing {
        let landed = self.landed.wait_for(Option::is_some).await;
        match landed.as_deref() {
            Ok(Some(landing)) => landing.clone(),
            Ok(None) | Err(_) => Err(Box::new(failure(Error::Lost {
                cause: "the gateway failed while it read the sessions".to_owned(),
            }))),
        }
    }
}

/// Reads until it succeeds, as long as time may help.
async fn read(link: &dyn Link) -> Result<Vec<SmsSession>, Failure> {
    let began = Instant::now();
    let mut longest = Duration::from_millis(200);
    loop {
        let failure = match link.sessions().await {
            Ok(sessions) => return Ok(sessions),
            Err(failure) => failure,
        };
        let told = failure.error.told_to_wait();
        if !failure.error.may_pass() || began.elapsed() + told >= PATIENCE {
            return Err(failure);
        }
        let pause = rand::rng().random_range(longest / 2..=longest);
        longest = (longest * 2).min(LONGEST_PAUSE);
        sleep(told + pause).await;
    }
}

/// What a watcher is told when its notifications cannot go on.
pub(super) fn failure(error: Error) -> Failure {
    Failure {
        vendor: Genesys::NAME,
        operation: "WatchSessions",
        replay: Replay::Safe,
        error,
        sent: 0,
        in_doubt: false,
        was_in_doubt: false,
        budget_spent: false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use serde_json::Value;

    use super::*;
    use crate::upstream::operation::Meta;
    use crate::upstream::testing::{busy, lost, throttled};

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
    async fn read_after(errors: Vec<Error>) -> (Result<Vec<SmsSession>, Failure>, Duration) {
        let start = Instant::now();
        let read = read(&Failing(Mutex::new(errors))).await;
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
}
