//! When a session is read to see whether a write is in place.

use std::time::Duration;

use tokio::time::Instant;

/// How long a notification is waited for before the session is read.
pub(super) const BEFORE_READING: Duration = Duration::from_secs(1);

/// Between two reads, at first and at most.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The last read begins so long before the deadline, to be of the state at its end.
const LAST_READ: Duration = Duration::from_millis(250);

/// When the session is read next.
pub(super) struct Schedule {
    pub(super) next: Instant,
    pause: Duration,
    last: Instant,
}

impl Schedule {
    pub(super) fn new(deadline: Instant, next: Instant) -> Self {
        Schedule {
            next,
            pause: FIRST_PAUSE,
            last: deadline - LAST_READ,
        }
    }

    pub(super) fn now(&mut self) {
        self.next = Instant::now();
    }

    /// Rarer with each read, and one shortly before the end.
    pub(super) fn advance(&mut self) {
        let now = Instant::now();
        let next = now + self.pause;
        self.next = match now < self.last {
            true => next.min(self.last),
            false => next,
        };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
