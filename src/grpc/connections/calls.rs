//! The calls of one connection that are not answered yet.

use std::time::Duration;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

/// What a caller has to read the last answers and to close, once all are there. One that reads
/// none keeps its connection's tasks waiting, so those say nothing of what is still to be done.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Counts the calls of one connection; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Calls(TaskTracker);

impl Default for Calls {
    fn default() -> Self {
        let tasks = TaskTracker::new();
        // Only then can they be waited for; more may be begun all the same.
        tasks.close();
        Calls(tasks)
    }
}

impl Calls {
    /// Counts a call until its answer is there.
    pub(super) fn count<F: Future>(&self, answer: F) -> TrackedFuture<F> {
        self.0.track_future(answer)
    }

    /// Until none has been left for a while: who asked for more before it saw the GOAWAY has
    /// been heard by then, and who still holds the connection open is not going to let go.
    pub(super) async fn over(&self) {
        loop {
            self.0.wait().await;
            tokio::time::sleep(LAST_WORDS).await;
            if self.0.is_empty() {
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
}
