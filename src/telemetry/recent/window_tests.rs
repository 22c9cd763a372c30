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
fn what_nobody_waited_for_says_nothing_of_the_vendor() {
    let mut counts = Counts::default();
    counts.add(Outcome::Cancelled, 1000 * MS);
    assert_eq!((counts.success(), counts.quantile_ms(0.5)), (None, None));
    counts.add(Outcome::Ok, MS);
    let both = sum(&[counts, counts]);
    assert_eq!(both.success(), Some(1.0));
    assert!(both.quantile_ms(1.0).unwrap() < 2.0);
    assert_eq!((both.cancelled, both.attempts()), (2, 4));
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
