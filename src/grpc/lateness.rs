//! Whether calls wait long for the processor, and go on doing so.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A call is late that has waited for more of its caller's time than this when it begins.
const SHARE: u32 = 10;

/// And for longer than this, whatever its caller asks for. As long as the periods of Kubernetes, in
/// which a process whose share of the processor is used up waits for the next one.
const LATE: Duration = Duration::from_millis(100);

/// How long calls have to be late again and again before it counts: a burst is over by then. And
/// how long none has to be for the next one to be the first again.
const LASTING: Duration = Duration::from_secs(2);

/// Told of each call that begins. Times are counted in microseconds.
#[derive(Debug)]
pub(super) struct Lateness {
    start: Instant,
    /// Of the call that began last.
    waited: AtomicU64,
    late: AtomicBool,
    /// The first late one of those that were never far apart, and the last one.
    first: AtomicU64,
    last: AtomicU64,
}

impl Lateness {
    pub(super) fn new() -> Self {
        Lateness {
            start: Instant::now(),
            waited: AtomicU64::new(0),
            late: AtomicBool::new(false),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }

    /// A call begins that has waited since then, and whose caller gave it so much time.
    pub(super) fn begins(&self, since: Instant, time: Duration) {
        let waited = since.elapsed();
        self.waited.store(micros(waited), Ordering::Relaxed);
        let late = waited > LATE.max(time / SHARE);
        self.late.store(late, Ordering::Relaxed);
        if late {
            let now = self.now();
            // In this order, so that who asks meanwhile sees no long time.
            if now.saturating_sub(self.last.load(Ordering::Relaxed)) > micros(LASTING) {
                self.first.store(now, Ordering::Relaxed);
            }
            self.last.store(now, Ordering::Relaxed);
        }
    }

    /// Of the call that began last.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited.load(Ordering::Relaxed))
    }

    /// Whether calls are late, and have been for a while.
    pub(super) fn lasts(&self) -> bool {
        let ago = |time: &AtomicU64| self.now().saturating_sub(time.load(Ordering::Relaxed));
        self.late.load(Ordering::Relaxed)
            && ago(&self.first) >= micros(LASTING)
            && ago(&self.last) <= micros(LASTING)
    }

    /// Late enough for "never" to be zero.
    fn now(&self) -> u64 {
        micros(self.start.elapsed() + 2 * LASTING)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, sleep};

    const SECOND: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_millis(101);

    /// Calls that begin after such a wait, one every 100 ms or so, for so long.
    async fn late_for(lateness: &Lateness, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            late(lateness).await;
        }
    }

    async fn late(lateness: &Lateness) {
        let arrived = Instant::now();
        advance(LONG).await;
        lateness.begins(arrived, SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_does_not_count_also_at_the_start() {
        let lateness = Lateness::new();
        assert!(!lateness.lasts());
        late_for(&lateness, LASTING).await;
        assert!(!lateness.lasts());
        assert_eq!(lateness.waited(), LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_counts_until_a_call_is_in_time() {
        let lateness = Lateness::new();
        late_for(&lateness, LASTING + LONG).await;
        assert!(lateness.lasts());
        lateness.begins(Instant::now(), SECOND);
        assert!(!lateness.lasts());
        // The same trouble as before, so it counts at once.
        sleep(LASTING / 2).await;
        late(&lateness).await;
        assert!(lateness.lasts());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_is_forgotten() {
        let lateness = Lateness::new();
        late_for(&lateness, LASTING + LONG).await;
        assert!(lateness.lasts());
        sleep(LASTING + LONG).await;
        assert!(!lateness.lasts(), "nobody has begun since");
        late(&lateness).await;
        assert!(!lateness.lasts(), "the first of a new time");
    }

    #[tokio::test(start_paused = true)]
    async fn how_long_is_long_depends_on_the_callers_time() {
        for (waited, time, late) in [
            (100, 1, false),
            (101, 1, true),
            // No caller makes the gateway refuse others by giving it no time.
            (100, 0, false),
            (999, 10, false),
            (1001, 10, true),
        ] {
            let (lateness, begun) = (Lateness::new(), Instant::now());
            while begun.elapsed() < 3 * LASTING {
                let arrived = Instant::now();
                advance(Duration::from_millis(waited)).await;
                lateness.begins(arrived, time * SECOND);
            }
            assert_eq!(lateness.lasts(), late, "{waited} ms of {time} s");
        }
    }
}
