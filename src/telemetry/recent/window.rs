//! The last minutes of one vendor: counts and latencies in buckets of some seconds.
//!
//! Its size is fixed, whatever the traffic; time comes in from outside, counted from the start.

use std::time::Duration;

/// How long one bucket counts.
pub const BUCKET: Duration = Duration::from_secs(15);

/// How many buckets there are: a quarter of an hour, the one under way included.
pub const BUCKETS: usize = 60;

/// Latencies are sorted into ranges, each so many to a doubling: no quantile is off by more than
/// a fifth.
const RANGES_PER_DOUBLING: f64 = 4.0;

/// Where the second range begins, in milliseconds; the first holds all that is shorter.
const SHORTEST_MS: f64 = 1.0;

/// They end above a minute, longer than any attempt is meant to take.
const RANGES: usize = 65;

/// How an attempt ended, as far as it says something about the vendor's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// The vendor said no to what was asked, which a healthy one does.
    Refused,
    Failed,
    /// Nobody waited for it any longer.
    Cancelled,
}

/// Attempts by how they ended, and how long those took that did by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub ok: u32,
    pub refused: u32,
    pub failed: u32,
    pub cancelled: u32,
    ranges: [u32; RANGES],
}

/// The counts of the last [`BUCKETS`] times [`BUCKET`].
#[derive(Debug)]
pub struct Window {
    /// Each at its number modulo their number; one that is not of this round counts for nothing.
    ring: Box<[(u64, Counts)]>,
}

impl Default for Counts {
    fn default() -> Self {
        Counts {
            ok: 0,
            refused: 0,
            failed: 0,
            cancelled: 0,
            ranges: [0; RANGES],
        }
    }
}

impl Counts {
    fn add(&mut self, outcome: Outcome, took: Duration) {
        let count = match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Refused => &mut self.refused,
            Outcome::Failed => &mut self.failed,
            Outcome::Cancelled => &mut self.cancelled,
        };
        *count = count.saturating_add(1);
        if outcome == Outcome::Cancelled {
            return;
        }
        let range = &mut self.ranges[range(took)];
        *range = range.saturating_add(1);
    }

    fn merge(&mut self, other: &Counts) {
        self.ok = self.ok.saturating_add(other.ok);
        self.refused = self.refused.saturating_add(other.refused);
        self.failed = self.failed.saturating_add(other.failed);
        self.cancelled = self.cancelled.saturating_add(other.cancelled);
        for (mine, theirs) in self.ranges.iter_mut().zip(&other.ranges) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.ended() + u64::from(self.cancelled)
    }

    /// Those that were not cancelled, which say nothing of the vendor.
    fn ended(&self) -> u64 {
        u64::from(self.ok) + u64::from(self.refused) + u64::from(self.failed)
    }

    /// The share of them that were accepted; none where there were none.
    #[must_use]
    pub fn success(&self) -> Option<f64> {
        let ended = self.ended();
        (ended > 0).then(|| f64::from(self.ok) / ended as f64)
    }

    /// How long the one took that is at this share of them by length, from 0 to 1, in
    /// milliseconds; none where there were none.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let all: u64 = self.ranges.iter().copied().map(u64::from).sum();
        let rank = ((share * all as f64).ceil() as u64).clamp(1, all.max(1));
        let mut below = 0;
        for (range, count) in self.ranges.iter().enumerate() {
            let count = u64::from(*count);
            if below + count >= rank {
                let into = (rank - below) as f64 / count as f64;
                return Some(within(range, into));
            }
            below += count;
        }
        None
    }
}

/// Below the shortest it is the first, beyond the longest the last.
fn range(took: Duration) -> usize {
    let ms = took.as_secs_f64() * 1e3;
    if ms < SHORTEST_MS {
        return 0;
    }
    let range = ((ms / SHORTEST_MS).log2() * RANGES_PER_DOUBLING).floor() as usize;
    RANGES.min(range + 2) - 1
}

/// The length that is so far into a range, from 0 to 1, in milliseconds.
fn within(range: usize, into: f64) -> f64 {
    if range == 0 {
        return SHORTEST_MS * into;
    }
    SHORTEST_MS * ((range as f64 - 1.0 + into) / RANGES_PER_DOUBLING).exp2()
}

impl Default for Window {
    fn default() -> Self {
        Window {
            ring: vec![(0, Counts::default()); BUCKETS].into(),
        }
    }
}

impl Window {
    pub fn add(&mut self, now: Duration, outcome: Outcome, took: Duration) {
        let number = number(now);
        let (held, counts) = &mut self.ring[place(number)];
        if *held != number {
            (*held, *counts) = (number, Counts::default());
        }
        counts.add(outcome, took);
    }

    /// From the oldest bucket to the one under way. Those from before the start are empty.
    #[must_use]
    pub fn buckets(&self, now: Duration) -> Vec<Counts> {
        let last = number(now);
        let first = (last + 1).checked_sub(BUCKETS as u64);
        let before = BUCKETS - (last + 1).min(BUCKETS as u64) as usize;
        let held = (first.unwrap_or(0)..=last).map(|number| {
            let (held, counts) = self.ring[place(number)];
            if held == number {
                counts
            } else {
                Counts::default()
            }
        });
        std::iter::repeat_n(Counts::default(), before)
            .chain(held)
            .collect()
    }
}

/// The counts of several buckets as one.
#[must_use]
pub fn sum(buckets: &[Counts]) -> Counts {
    let mut all = Counts::default();
    buckets.iter().for_each(|counts| all.merge(counts));
    all
}

fn number(now: Duration) -> u64 {
    now.as_secs() / BUCKET.as_secs()
}

fn place(number: u64) -> usize {
    (number % BUCKETS as u64) as usize
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
