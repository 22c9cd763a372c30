//! The calls of one connection: those that are not answered yet, and whether there were many.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

use super::jittered;

/// Calls at one time that make a connection a large one: HTTP/2's tables grow with them, to some two
/// kilobytes each, and shrink only when the connection ends.
const MANY: usize = 32;

/// How long there have not been that many, and how few calls there are, when a large connection is
/// of no more use. Closer to each other the two would have connections of steady callers replaced.
const QUIET: Duration = Duration::from_secs(10);
const FEW: usize = 8;

/// What a caller has to read the last answers and to close, once all are there. One that reads
/// none keeps its connection's tasks waiting, so those say nothing of what is still to be done.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Counts the calls of one connection; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    unanswered: TaskTracker,
    streams: TaskTracker,
    /// Holds a permit when there have been many since it was looked at.
    many: Arc<Notify>,
}

impl Default for Calls {
    fn default() -> Self {
        let unanswered = TaskTracker::new();
        // Only then can they be waited for; more may be begun all the same.
        unanswered.close();
        Calls {
            unanswered,
            streams: TaskTracker::new(),
            many: Arc::default(),
        }
    }
}

impl Calls {
    /// Counts a call until its answer is there.
    pub(super) fn count<F: Future>(&self, answer: F) -> TrackedFuture<F> {
        let answer = self.unanswered.track_future(answer);
        if self.unanswered.len() >= MANY {
            self.many.notify_one();
        }
        answer
    }

    pub(super) fn any_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Counts streams for as long as they are open, which is longer than until they are answered.
    pub(super) fn streams(&self) -> TaskTracker {
        self.streams.clone()
    }

    /// Until there were many calls, have not been for a while, and there are few. The connection
    /// may end then, and its tables with it: calls in flight finish, and no stream is open.
    pub(super) async fn outgrown(&self) {
        self.many.notified().await;
        loop {
            tokio::time::sleep(jittered(QUIET)).await;
            let many = self.many.notified().now_or_never().is_some();
            if !many && self.unanswered.len() <= FEW && self.streams.is_empty() {
                return;
            }
        }
    }

    /// Until none has been left for a while: who asked for more before it saw the GOAWAY has
    /// been heard by then, and who still holds the connection open is not going to let go.
    pub(super) async fn over(&self) {
        loop {
            self.unanswered.wait().await;
            tokio::time::sleep(LAST_WORDS).await;
            if self.unanswered.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    async fn over(seconds: &[u64]) -> u64 {
        let (calls, start) = (Calls::default(), Instant::now());
        for second in seconds {
            tokio::spawn(calls.count(sleep(Duration::from_secs(*second))));
        }
        calls.over().await;
        start.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_call_counts() {
        assert_eq!(over(&[]).await, 5);
        assert_eq!(over(&[3, 20, 7]).await, 25);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_comes_late_is_waited_for() {
        let (calls, start) = (Calls::default(), Instant::now());
        let later = async {
            sleep(Duration::from_secs(4)).await;
            calls.count(sleep(Duration::from_secs(10))).await;
        };
        tokio::join!(calls.over(), later);
        assert_eq!(start.elapsed().as_secs(), 4 + 10 + 5);
    }

    /// So many at one time, which take so long.
    fn ask(calls: &Calls, number: usize, seconds: u64) {
        for _ in 0..number {
            tokio::spawn(calls.count(sleep(Duration::from_secs(seconds))));
        }
    }

    async fn outgrown_by(calls: &Calls, second: u64) -> bool {
        let outgrown = calls.outgrown();
        let second = Duration::from_secs(second);
        tokio::time::timeout(second, outgrown).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_had_many_calls_keeps_its_connection() {
        let calls = Calls::default();
        for _ in 0..100 {
            ask(&calls, MANY - 1, 1);
            assert!(!outgrown_by(&calls, 2).await);
        }
        ask(&calls, MANY, 1);
        assert!(outgrown_by(&calls, 60).await);
    }

    #[tokio::test(start_paused = true)]
    async fn many_calls_again_put_its_end_off() {
        let calls = Calls::default();
        ask(&calls, MANY, 1);
        let again = async {
            for _ in 0..20 {
                sleep(Duration::from_secs(5)).await;
                ask(&calls, MANY, 1);
            }
        };
        tokio::select! {
            () = again => {}
            () = calls.outgrown() => panic!("while there are many again and again"),
        }
        assert!(outgrown_by(&calls, 60).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nor_does_it_end_while_there_are_more_than_a_few() {
        let calls = Calls::default();
        ask(&calls, MANY - FEW, 1);
        ask(&calls, FEW + 1, 100);
        assert!(!outgrown_by(&calls, 99).await);
        ask(&calls, MANY - FEW, 1);
        ask(&calls, FEW, 100);
        assert!(outgrown_by(&calls, 60).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_open_is_not_cut() {
        let calls = Calls::default();
        let stream = calls.streams().token();
        ask(&calls, MANY, 1);
        assert!(!outgrown_by(&calls, 600).await);
        ask(&calls, MANY, 1);
        drop(stream);
        assert!(outgrown_by(&calls, 60).await);
    }
}
