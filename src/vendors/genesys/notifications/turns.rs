//! One at a time per session, in the order of arrival.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as Queue, OwnedMutexGuard};

/// A queue per session, kept as long as somebody is in it.
#[derive(Debug, Default)]
pub(super) struct Turns(Arc<Mutex<Lines>>);

type Lines = HashMap<String, Arc<Queue<()>>>;

/// It is this one's turn until it goes.
#[derive(Debug)]
pub(super) struct Turn {
    /// Given up before the line is left, which is closed when nobody else stands in it: fields go in
    /// their order.
    _place: OwnedMutexGuard<()>,
    _line: Line,
}

/// Somebody in a line, be it waiting or at its head.
#[derive(Debug)]
struct Line {
    lines: Arc<Mutex<Lines>>,
    session: String,
    queue: Option<Arc<Queue<()>>>,
}

impl Turns {
    pub(super) async fn wait(&self, session: &str) -> Turn {
        let queue = Arc::clone(lock(&self.0).entry(session.to_owned()).or_default());
        let line = Line {
            lines: Arc::clone(&self.0),
            session: session.to_owned(),
            queue: Some(Arc::clone(&queue)),
        };
        // Serves in order of arrival.
        let place = queue.lock_owned().await;
        Turn {
            _place: place,
            _line: line,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut lines = lock(&self.lines);
        self.queue = None;
        let deserted = lines
            .get(&self.session)
            .is_some_and(|queue| Arc::strong_count(queue) == 1);
        if deserted {
            lines.remove(&self.session);
        }
    }
}

fn lock(lines: &Mutex<Lines>) -> MutexGuard<'_, Lines> {
    // Nothing panics while holding it.
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::poll;

    #[tokio::test]
    async fn first_come_first_served_and_nothing_is_left_behind() {
        let turns = Turns::default();
        let first = turns.wait("a").await;
        let other = turns.wait("b").await;
        let mut second = Box::pin(turns.wait("a"));
        let mut third = Box::pin(turns.wait("a"));
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut third).is_pending());
        drop((first, other));
        assert!(poll!(&mut third).is_pending());
        let mut last = Box::pin(turns.wait("a"));
        assert!(
            poll!(&mut last).is_pending(),
            "no new line beside the old one"
        );
        let second = second.await;
        drop(third);
        drop(second);
        drop(last.await);
        assert!(lock(&turns.0).is_empty());
    }
}
