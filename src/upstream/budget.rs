//! What the retries of one vendor may cost: a share of its calls, and some a second whatever the traffic.
//!
//! tower's `TpsBudget` is meant to do the same, but allows twice as many a second
//! (docs/adr/0026-own-retry-budget.md).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// How many whole seconds count, beside the one that has begun.
const WINDOW: u64 = 10;

/// Of a retry. A call earns as many as there are percent.
const COST: i64 = 100;

pub(super) struct RetryBudget {
    earned_by_call: i64,
    /// What is there whatever the traffic.
    floor: i64,
    began: Instant,
    ledger: Mutex<Ledger>,
}

/// What was earned, less what was spent.
#[derive(Default)]
struct Ledger {
    /// Since the budget began.
    second: u64,
    by_second: [i64; WINDOW as usize + 1],
    sum: i64,
}

impl RetryBudget {
    pub(super) fn new(percent: u32, floor_per_second: u32) -> Self {
        RetryBudget {
            earned_by_call: percent.into(),
            floor: i64::from(floor_per_second) * WINDOW as i64 * COST,
            began: Instant::now(),
            ledger: Mutex::default(),
        }
    }

    /// A call was made.
    pub(super) fn earn(&self) {
        self.ledger().book(self.earned_by_call);
    }

    /// Whether it pays for a retry now; if so, it has.
    pub(super) fn spend(&self) -> bool {
        let mut ledger = self.ledger();
        let pays = self.floor + ledger.sum >= COST;
        if pays {
            ledger.book(-COST);
        }
        pays
    }

    /// How many retries it would pay for now.
    pub(super) fn left(&self) -> i64 {
        // Below nothing when what had been earned is forgotten before what was spent of it.
        (self.floor + self.ledger().sum).max(0) / COST
    }

    /// Without what is too old.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.turn_to(self.began.elapsed().as_secs());
        ledger
    }
}

impl Ledger {
    fn turn_to(&mut self, second: u64) {
        if second <= self.second {
            return;
        }
        let first = (self.second + 1).max(second.saturating_sub(WINDOW));
        for second in first..=second {
            let page = &mut self.by_second[page(second)];
            self.sum -= std::mem::take(page);
        }
        self.second = second;
    }

    fn book(&mut self, amount: i64) {
        self.by_second[page(self.second)] += amount;
        self.sum += amount;
    }
}

fn page(second: u64) -> usize {
    (second % (WINDOW + 1)) as usize
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
