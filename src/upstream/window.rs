//! What was counted in the last seconds, in slots that are reused in turn.

use std::time::Duration;

use tokio::time::Instant;

pub(super) struct Window<T, const SLOTS: usize> {
    slots: [T; SLOTS],
    newest: usize,
    /// When the newest one began.
    since: Instant,
}

impl<T: Copy + Default, const SLOTS: usize> Window<T, SLOTS> {
    pub(super) fn new(now: Instant) -> Self {
        Window {
            slots: [T::default(); SLOTS],
            newest: 0,
            since: now,
        }
    }

    /// Forgets what is too old for a window of this length, which moves in steps of its slots.
    pub(super) fn turn_to(&mut self, now: Instant, length: Duration) {
        // Never nothing: the window would move by it for ever, and with the lock held.
        let step = (length / SLOTS as u32).max(Duration::from_nanos(1));
        let mut late = now.saturating_duration_since(self.since);
        if late >= length {
            *self = Window::new(now);
            late = Duration::ZERO;
        }
        while late >= step {
            self.newest = (self.newest + 1) % SLOTS;
            self.slots[self.newest] = T::default();
            self.since += step;
            late -= step;
        }
    }

    /// What is counted now.
    pub(super) fn newest(&mut self) -> &mut T {
        &mut self.slots[self.newest]
    }

    pub(super) fn slots(&self) -> &[T; SLOTS] {
        &self.slots
    }
}
