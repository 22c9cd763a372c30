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
}

/// Attempts by how they ended, and how long they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub ok: u32,
    pub refused: u32,
    pub failed: u32,
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
        };
        *count = count.saturating_add(1);
        let range = &mut self.ranges[range(took)];
        *range = range.saturating_add(1);
    }

    fn merge(&mut self, other: &Counts) {
        self.ok = self.ok.saturating_add(other.ok);
        self.refused = self.refused.saturating_add(other.refused);
        self.failed = self.failed.saturating_add(other.failed);
        for (mine, theirs) in self.ranges.iter_mut().zip(&other.ranges) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    #[must_use]
    pub fn attempts(&self) -> u64 {
        u64::from(self.ok) + u64::from(self.refused) + u64::from(self.failed)
    }

    /// The share of attempts that were accepted; none where there were none.
    #[must_use]
    pub fn success(&self) -> Option<f64> {
        let attempts = self.attempts();
        (attempts > 0).then(|| f64::from(self.ok) / attempts as f64)
    }

    /// How long the attempt took that is at this share of them by length, from 0 to 1, in
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn shape(window: &Window, now: u64) -> Vec<u64> {
        let buckets = window.buckets(at(now));
        assert_eq!(buckets.len(), BUCKETS);
        buckets.iter().map(Counts::attempts).collect()
    }

    #[test]
    fn an_attempt_is_in_its_bucket_and_leaves_with_it() {
        let mut window = Window::default();
        window.add(at(0), Outcome::Ok, MS);
        window.add(at(14), Outcome::Failed, MS);
        window.add(at(15), Outcome::Refused, MS);
        // (now, buckets that are not empty: which from the newest, how many)
        let table: [(u64, &[(usize, u64)]); 6] = [
            (0, &[(0, 2)]),
            (15, &[(0, 1), (1, 2)]),
            (44, &[(1, 1), (2, 2)]),
            (59 * 15, &[(58, 1), (59, 2)]),
            (60 * 15, &[(59, 1)]),
            (61 * 15, &[]),
        ];
        for (now, expected) in table {
            let found: Vec<_> = (shape(&window, now).into_iter().rev().enumerate())
                .filter(|(_, attempts)| *attempts > 0)
                .collect();
            assert_eq!(found, expected, "at {now} s");
        }
    }

    #[test]
    fn a_new_round_begins_from_nothing() {
        let mut window = Window::default();
        window.add(at(1), Outcome::Failed, MS);
        window.add(at(900), Outcome::Ok, MS);
        let last = window.buckets(at(901))[BUCKETS - 1];
        assert_eq!((last.ok, last.refused, last.failed), (1, 0, 0));
    }

    #[test]
    fn success_is_the_share_of_what_was_accepted() {
        let mut counts = Counts::default();
        assert_eq!((counts.success(), counts.quantile_ms(0.5)), (None, None));
        for outcome in [Outcome::Ok, Outcome::Refused, Outcome::Failed, Outcome::Ok] {
            counts.add(outcome, MS);
        }
        assert_eq!(counts.success(), Some(0.5));
        assert_eq!((counts.refused, counts.failed), (1, 1));
    }

    #[test]
    fn the_longest_and_the_shortest_have_a_range() {
        let mut counts = Counts::default();
        counts.add(Outcome::Ok, Duration::ZERO);
        assert!(counts.quantile_ms(0.5).unwrap() <= 1.0);
        counts.add(Outcome::Ok, Duration::MAX);
        assert!(counts.quantile_ms(1.0).unwrap() > 60_000.0);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_fifth(
            mut micros in prop::collection::vec(1_000_u64..60_000_000, 1..200),
            share in 0.0_f64..=1.0,
        ) {
            let mut counts = Counts::default();
            for took in &micros {
                counts.add(Outcome::Ok, Duration::from_micros(*took));
            }
            micros.sort_unstable();
            let rank = (share * micros.len() as f64).ceil().max(1.0) as usize;
            let exact = micros[rank - 1] as f64 / 1e3;
            let told = counts.quantile_ms(share).unwrap();
            prop_assert!((0.8..=1.2).contains(&(told / exact)), "{told} for {exact}");
        }

        #[test]
        fn nothing_is_counted_twice_and_nothing_lost(
            mut attempts in prop::collection::vec((0_u64..2_000, 0_u8..3), 0..300),
        ) {
            attempts.sort_unstable();
            let mut window = Window::default();
            let outcome = |kind| [Outcome::Ok, Outcome::Refused, Outcome::Failed][usize::from(kind)];
            for (secs, kind) in &attempts {
                window.add(at(*secs), outcome(*kind), MS);
            }
            let now = attempts.last().map_or(0, |(secs, _)| *secs);
            let all = sum(&window.buckets(at(now)));
            let first = (now / 15 + 1).saturating_sub(60) * 15;
            let held = attempts.iter().filter(|(secs, _)| *secs >= first);
            let of = |kind| held.clone().filter(|(_, it)| *it == kind).count() as u32;
            prop_assert_eq!((all.ok, all.refused, all.failed), (of(0), of(1), of(2)));
        }
    }
}
