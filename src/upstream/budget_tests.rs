use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What it pays for at once.
fn spent(budget: &RetryBudget) -> usize {
    std::iter::from_fn(|| budget.spend().then_some(())).count()
}

#[tokio::test(start_paused = true)]
async fn it_tells_how_many_retries_it_would_pay_for() {
    let budget = RetryBudget::new(20, 10);
    // Ten a second, over ten seconds.
    assert_eq!(budget.left(), 100);
    assert!(budget.spend());
    assert_eq!(budget.left(), 99);
    (0..10).for_each(|_| budget.earn());
    assert_eq!(budget.left(), 101);
    assert_eq!(spent(&budget), 101);
}

/// Every percentage is what it says, also those that are not one in a whole number.
#[tokio::test(start_paused = true)]
async fn a_percentage_is_taken_at_its_word() {
    for percent in 0..=100 {
        let budget = RetryBudget::new(percent, 0);
        (0..100).for_each(|_| budget.earn());
        assert_eq!(spent(&budget), percent as usize);
    }
}

/// Asked all the time, too, as it is while a vendor is out.
#[tokio::test(start_paused = true)]
async fn the_floor_is_by_the_second() {
    for pause in [1, 7, 90, 333, 1000, 1001, 2500] {
        let budget = RetryBudget::new(0, 10);
        let begun = Instant::now();
        let mut retries = 0;
        while begun.elapsed() < 300 * SECOND {
            retries += spent(&budget);
            advance(Duration::from_millis(pause)).await;
        }
        // What is for ten seconds is there at once, and again when the second in which it was spent is
        // ten seconds past.
        assert!(retries <= 10 * 310, "every {pause} ms: {retries}");
        assert!(retries >= 8 * 300, "every {pause} ms: {retries}");
    }
}

/// Also when nobody asks meanwhile, as after an outage that callers gave up on.
#[tokio::test(start_paused = true)]
async fn what_was_spent_counts_for_ten_seconds() {
    for percent in [0, 20, 33, 100] {
        let budget = RetryBudget::new(percent, 10);
        advance(SECOND / 2).await;
        assert_eq!(spent(&budget), 100);
        assert_eq!(budget.left(), 0, "{percent} %");
        advance(10 * SECOND).await;
        assert_eq!(budget.left(), 0, "{percent} %");
        advance(SECOND).await;
        assert_eq!(budget.left(), 100, "{percent} %");
        assert_eq!(spent(&budget), 100);
        advance(1000 * SECOND).await;
        assert_eq!(spent(&budget), 100);
    }
}

/// What calls had earned is forgotten before what was spent of it.
#[tokio::test(start_paused = true)]
async fn in_debt_it_pays_for_nothing() {
    let budget = RetryBudget::new(100, 0);
    (0..5).for_each(|_| budget.earn());
    advance(6 * SECOND).await;
    assert_eq!(spent(&budget), 5);
    advance(7 * SECOND).await;
    assert_eq!(budget.left(), 0);
    budget.earn();
    assert!(!budget.spend());
}

proptest! {
    /// Never more in any ten seconds than they, and the calls in them, allow.
    #[test]
    fn no_ten_seconds_cost_more(
        percent in 0..=100_u32,
        floor in 0..5_u32,
        steps in prop::collection::vec((0..3000_u64, any::<bool>()), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let budget = RetryBudget::new(percent, floor);
            let (mut calls, mut retries) = (0_u64, VecDeque::new());
            for (pause, call) in steps {
                advance(Duration::from_millis(pause)).await;
                if call {
                    budget.earn();
                    calls += 1;
                } else if budget.spend() {
                    retries.push_back(Instant::now());
                }
                while retries.front().is_some_and(|it| it.elapsed() > 10 * SECOND) {
                    retries.pop_front();
                }
                let most = u64::from(floor) * 10 + calls * u64::from(percent) / 100;
                prop_assert!(retries.len() as u64 <= most, "{} of {most}", retries.len());
            }
            Ok(())
        })?;
    }
}
