//! When a session is read to see whether a write is in place.

use std::time::Duration;

use tokio::time::Instant;

/// What is kept of the time that is left for reading: this part of it, and no more than that.
const SHARE_FOR_READING: u32 = 4;
const MOST_FOR_READING: Duration = Duration::from_secs(3);

/// How long a notification is waited for before the session is read.
pub(super) const BEFORE_READING: Duration = Duration::from_secs(1);

/// Between two reads, at first and at most.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The last read begins so long before the deadline, to be of the state at its end.
const LAST_READ: Duration = Duration::from_millis(250);

/// What is kept of so much time: the write itself has to end before.
pub(super) fn for_reading(left: Duration) -> Duration {
    (left / SHARE_FOR_READING).min(MOST_FOR_READING)
}

/// When the session is read next.
pub(super) struct Schedule {
    pub(super) next: Instant,
    pause: Duration,
    last: Instant,
}

impl Schedule {
    pub(super) fn new(deadline: Instant, next: Instant) -> Self {
        let last = deadline - LAST_READ;
        Schedule {
            next: next.min(last),
            pause: FIRST_PAUSE,
            last,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_time_but_no_more_than_three_seconds_is_for_reading() {
        for (left, expected) in [(0, 0), (2_000, 500), (12_000, 3_000), (30_000, 3_000)] {
            let kept = for_reading(Duration::from_millis(left));
            assert_eq!(kept, Duration::from_millis(expected), "of {left} ms");
        }
    }

    /// However short the time, a notification that does not come leaves some of it for a read.
    #[tokio::test(start_paused = true)]
    async fn there_is_a_read_before_the_deadline() {
        let start = Instant::now();
        for (left, expected) in [
            (Duration::from_secs(5), BEFORE_READING),
            (Duration::from_secs(1), Duration::from_secs(1) - LAST_READ),
            (LAST_READ, Duration::ZERO),
        ] {
            let schedule = Schedule::new(start + left, start + BEFORE_READING);
            assert_eq!(schedule.next - start, expected, "{left:?}");
        }
        // Too late for all that: at once.
        let schedule = Schedule::new(start + LAST_READ / 2, start + BEFORE_READING);
        assert!(schedule.next <= start);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_get_rarer_and_the_last_one_is_of_the_state_at_the_end() {
        let start = Instant::now();
        let deadline = start + Duration::from_secs(5);
        let mut schedule = Schedule::new(deadline, start);
        let mut reads = Vec::new();
        while schedule.next < deadline {
            tokio::time::sleep_until(schedule.next).await;
            reads.push(start.elapsed().as_millis());
            schedule.advance();
        }
        assert_eq!(reads, [0, 100, 300, 700, 1500, 2500, 3500, 4500, 4750]);
    }
}
