//! What the retries of one vendor may cost: a share of its calls, and some a second whatever the traffic.
//!
//! tower's `TpsBudget` is meant to do the same, but allows twice as many a second
//! (docs/adr/0026-own-retry-budget.md).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::window;

/// Seconds that count as a whole.
const SECONDS: usize = 10;

/// They, and the one that has begun.
const SLOTS: usize = SECONDS + 1;
const LENGTH: Duration = Duration::from_secs(SLOTS as u64);

/// Of a retry. A call earns as many as there are percent.
const COST: i64 = 100;

/// What was earned, less what was spent.
type Window = window::Window<i64, SLOTS>;

pub(super) struct RetryBudget {
    earned_by_call: i64,
    /// What is there whatever the traffic.
    floor: i64,
    window: Mutex<Window>,
}

impl RetryBudget {
    pub(super) fn new(percent: u32, floor_per_second: u32) -> Self {
        RetryBudget {
            earned_by_call: percent.into(),
            floor: i64::from(floor_per_second) * SECONDS as i64 * COST,
            window: Mutex::new(Window::new(Instant::now())),
        }
    }

    /// A call was made.
    pub(super) fn earn(&self) {
        *self.window().newest() += self.earned_by_call;
    }

    /// Whether it pays for a retry now; if so, it has.
    pub(super) fn spend(&self) -> bool {
        let mut window = self.window();
        let pays = self.balance(&window) >= COST;
        if pays {
            *window.newest() -= COST;
        }
        pays
    }

    /// How many retries it would pay for now.
    pub(super) fn left(&self) -> i64 {
        // Below nothing when what had been earned is forgotten before what was spent of it.
        self.balance(&self.window()).max(0) / COST
    }

    fn balance(&self, window: &Window) -> i64 {
        self.floor + window.slots().iter().sum::<i64>()
    }

    /// Without what is too old.
    fn window(&self) -> MutexGuard<'_, Window> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.turn_to(Instant::now(), LENGTH);
        window
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
