//! Calls begin a few at a time, in the order of their arrival, so that those under way get on.

use std::future::poll_fn;
use std::num::NonZero;
use std::task::{Context, Poll};
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

/// How many calls of each worker thread begin in one round: between two looks of the runtime at a
/// task that is always ready. Enough to keep a core busy; with all that have arrived hundreds are
/// under way after a pause, and each costs more (docs/adr/0024-calls-begin-a-few-at-a-time.md).
const OF_A_WORKER: usize = 8;

/// Calls on the way from their arrival to their beginning. The others wait behind them.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Turns {
    /// For as many workers as the runtime has: one for each CPU that the process may use.
    pub(super) fn new() -> Self {
        Self::of(available_parallelism().map_or(1, NonZero::get))
    }

    fn of(workers: usize) -> Self {
        Turns(Semaphore::new(workers * OF_A_WORKER))
    }

    /// Until it is this call's turn, which is never at the first try: the task of a connection tries
    /// each call once, and one that has work to do is to do it in a task of its own.
    pub(super) async fn next(&self) {
        // Served in order of arrival, and never closed.
        let _place = self.0.acquire().await;
        round().await;
    }
}

/// Until all other tasks that are ready have been looked at.
async fn round() {
    let mut over = false;
    poll_fn(|cx| poll_round(&mut over, cx)).await;
}

/// The same for who is polled: ready where the round is `over`, which it is at the next poll.
pub(super) fn poll_round(over: &mut bool, cx: &Context<'_>) -> Poll<()> {
    if std::mem::replace(over, true) {
        return Poll::Ready(());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_few_begin_in_a_round_and_in_order() {
        const CALLS: usize = 10 * OF_A_WORKER + 1;
        let turns = Arc::new(Turns::of(1));
        let begun = Arc::new(Mutex::new(Vec::new()));
        for call in 0..CALLS {
            let (turns, begun) = (Arc::clone(&turns), Arc::clone(&begun));
            tokio::spawn(async move {
                turns.next().await;
                begun.lock().unwrap().push(call);
            });
        }
        // In a task of its own: the test's is not one that rounds are made of.
        let order = tokio::spawn(async move {
            let mut before = 0;
            while before < CALLS {
                round().await;
                let now = begun.lock().unwrap().len();
                assert!(now - before <= OF_A_WORKER, "{before}, and then {now}");
                before = now;
            }
            std::mem::take(&mut *begun.lock().unwrap())
        });
        assert_eq!(order.await.unwrap(), Vec::from_iter(0..CALLS));
    }

    #[tokio::test]
    async fn workers_add_up() {
        let turns = Turns::of(3);
        let mut all: Vec<_> = (0..3 * OF_A_WORKER + 1)
            .map(|_| Box::pin(turns.next()))
            .collect();
        for call in &mut all {
            assert!(poll!(call).is_pending(), "at the first try");
        }
        let mut begun = 0;
        for call in &mut all {
            begun += usize::from(poll!(call).is_ready());
        }
        assert_eq!(begun, 3 * OF_A_WORKER);
    }

    #[tokio::test]
    async fn who_leaves_makes_room() {
        let turns = Turns::of(1);
        let mut ahead: Vec<_> = (0..2 * OF_A_WORKER)
            .map(|_| Box::pin(turns.next()))
            .collect();
        for call in &mut ahead {
            assert!(poll!(call).is_pending());
        }
        drop(ahead);
        let mut call = Box::pin(turns.next());
        assert!(poll!(&mut call).is_pending());
        assert!(poll!(&mut call).is_ready());
    }
}
