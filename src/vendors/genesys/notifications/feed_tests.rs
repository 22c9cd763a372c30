//! Every event in order, or word that some were missed.

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::upstream::error::Error;
use crate::vendors::genesys::notifications::event;
use crate::vendors::genesys::notifications::snapshot::failure;

fn about(session: &str, reference: u64) -> Arc<Event> {
    let json = format!(
        r#"{{"notificationType":"PropertiesUpdated","referenceId":{reference},"smssession":{{"id":"{session}","userData":{{}}}}}}"#
    );
    let event = event::read("/x", serde_json::from_str(&json).unwrap());
    Arc::new(event.unwrap().unwrap())
}

/// A queue whose consumer has read its first snapshot at 0.
fn queue(filter: &[&str]) -> Queue {
    let ids = filter.iter().map(|id| (*id).to_owned()).collect();
    let filter = match filter {
        [] => Filter::All,
        _ => Filter::Sessions(ids),
    };
    let queue = Queue::new(filter, 0);
    queue.catch_up(0);
    queue
}

fn next(queue: &Queue) -> Option<Item> {
    queue.next().now_or_never()
}

fn reference(item: Option<Item>) -> i64 {
    match item {
        Some(Item::Event(event)) => event.notification.reference_id.unwrap(),
        other => panic!("no event: {other:?}"),
    }
}

#[test]
fn a_new_consumer_has_missed_everything() {
    let queue = Queue::new(Filter::All, 7);
    assert!(matches!(next(&queue), Some(Item::Missed(7))));
    assert!(next(&queue).is_none());
}

#[test]
fn events_come_in_order() {
    let queue = queue(&[]);
    for seq in 1..=3 {
        assert!(!queue.offer(seq, &about("a", seq)));
    }
    for seq in 1..=3 {
        assert_eq!(reference(next(&queue)), seq);
    }
    assert!(next(&queue).is_none());
}

#[test]
fn others_sessions_take_no_room() {
    let queue = queue(&["a"]);
    for seq in 1..=1000 {
        assert!(!queue.offer(seq, &about("b", seq)));
    }
    queue.offer(1001, &about("a", 1001));
    assert_eq!(reference(next(&queue)), 1001);
}

fn read(json: &str) -> Arc<Event> {
    let event = event::read("/v2/me/smssessions", serde_json::from_str(json).unwrap());
    Arc::new(event.unwrap().unwrap())
}

/// What names no session cannot be told to be about the ones that somebody watches; an error may be
/// about somebody's write.
#[test]
fn what_names_no_session_goes_to_who_may_have_use_for_it() {
    let ids = || [String::from("a")].into();
    let table = [
        (Filter::All, true, true),
        (Filter::Sessions(ids()), false, false),
        (Filter::WritesTo("a".to_owned()), true, false),
    ];
    for (filter, gets_errors, gets_others) in table {
        let told = format!("{filter:?}");
        let queue = Queue::new(filter, 0);
        queue.catch_up(0);
        queue.offer(1, &read(r#"{"notificationType":"NewMessages"}"#));
        assert_eq!(next(&queue).is_some(), gets_others, "{told}");
        queue.offer(2, &read(r#"{"notificationType":"Error","referenceId":83}"#));
        assert_eq!(next(&queue).is_some(), gets_errors, "{told}");
        queue.offer(3, &about("a", 3));
        assert_eq!(reference(next(&queue)), 3, "{told}");
        queue.offer(4, &about("b", 4));
        assert_eq!(next(&queue).is_some(), gets_others, "{told}");
    }
}

#[test]
fn who_is_too_slow_gets_what_it_had_and_then_word_of_the_rest() {
    let queue = queue(&[]);
    let most = MOST_EVENTS as u64;
    let dropped: Vec<_> = (1..=most + 10)
        .filter(|seq| queue.offer(*seq, &about("a", *seq)))
        .collect();
    assert_eq!(dropped, [most + 1], "told once");
    for seq in 1..=most {
        assert_eq!(reference(next(&queue)), i64::try_from(seq).unwrap());
    }
    let Some(Item::Missed(missed)) = next(&queue) else {
        panic!("silence")
    };
    assert_eq!(missed, most + 10);
}

/// Offers it until it does not fit; how often it did, and the number of the last.
fn fill(queue: &Queue, event: &Arc<Event>, after: Seq) -> (usize, Seq) {
    let offers = after + 1..;
    let fitted = offers.take_while(|seq| !queue.offer(*seq, event)).count();
    (fitted, after + fitted as u64 + 1)
}

/// However few they are: user data may be large.
#[test]
fn what_waits_is_bounded_by_its_weight_too() {
    let text = "x".repeat(100_000);
    let event = read(&format!(
        r#"{{"notificationType":"PropertiesUpdated","smssession":{{"id":"a","userData":{{"T":"{text}"}}}}}}"#
    ));
    let queue = queue(&[]);
    let (fitted, last) = fill(&queue, &event, 0);
    assert_eq!(fitted, MOST_BYTES / event.size + 1, "one goes beyond it");
    for _ in 0..fitted {
        assert!(matches!(next(&queue), Some(Item::Event(_))));
    }
    assert!(matches!(next(&queue), Some(Item::Missed(_))));
    let (again, last) = fill(&queue, &event, last);
    assert_eq!(again, fitted, "what was told weighs nothing any more");
    queue.catch_up(last);
    let (again, _) = fill(&queue, &event, last);
    assert_eq!(again, fitted, "nor does what a read has told");
}

#[test]
fn what_comes_during_the_read_is_told_and_what_the_read_has_told_is_not() {
    let queue = queue(&[]);
    queue.miss(1);
    assert!(matches!(next(&queue), Some(Item::Missed(1))));
    queue.offer(2, &about("a", 2));
    queue.offer(3, &about("a", 3));
    queue.catch_up(2);
    assert_eq!(reference(next(&queue)), 3);
}

#[test]
fn a_gap_during_the_read_asks_for_another_unless_the_read_was_later() {
    let queue = queue(&[]);
    queue.miss(1);
    assert!(matches!(next(&queue), Some(Item::Missed(1))));
    queue.miss(5);
    queue.catch_up(4);
    assert!(matches!(next(&queue), Some(Item::Missed(5))));
    queue.miss(6);
    queue.catch_up(6);
    assert!(next(&queue).is_none());
}

#[test]
fn the_end_comes_after_what_was_told_before_it() {
    let queue = queue(&[]);
    queue.offer(1, &about("a", 1));
    queue.end(failure(Error::Deadline));
    assert!(queue.ended().now_or_never().is_some());
    assert_eq!(reference(next(&queue)), 1);
    assert!(matches!(next(&queue), Some(Item::Ended(_))));
    assert!(matches!(next(&queue), Some(Item::Ended(_))), "for good");
}

#[tokio::test]
async fn a_waiting_consumer_is_woken() {
    let queue = Arc::new(queue(&[]));
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { reference(Some(queue.next().await)) }
    });
    tokio::task::yield_now().await;
    queue.offer(1, &about("a", 1));
    assert_eq!(waiting.await.unwrap(), 1);
}

#[derive(Debug, Clone)]
enum Act {
    Offer,
    Miss,
    Read,
    Take,
}

proptest! {
    /// A consumer that reads whenever it is told to has, at the end, either been told of an event
    /// or has read after it.
    #[test]
    fn nothing_is_lost_in_silence(acts in prop::collection::vec(
        prop_oneof![4 => Just(Act::Offer), 1 => Just(Act::Miss), 1 => Just(Act::Read), 2 => Just(Act::Take)],
        0..800,
    )) {
        let queue = queue(&[]);
        let (mut seq, mut known, mut asked) = (0u64, 0u64, None::<Seq>);
        let take = |known: &mut u64, asked: &mut Option<Seq>| match next(&queue) {
            Some(Item::Event(event)) => {
                let told = u64::try_from(event.notification.reference_id.unwrap()).unwrap();
                assert!(told > *known, "told twice, or out of order");
                *known = told;
                true
            }
            Some(Item::Missed(missed)) => { *asked = Some(missed); true }
            Some(Item::Ended(_)) | None => false,
        };
        for act in acts {
            match act {
                Act::Offer => { seq += 1; queue.offer(seq, &about("a", seq)); }
                Act::Miss => { seq += 1; queue.miss(seq); }
                Act::Read => if asked.take().is_some() { queue.catch_up(seq); known = seq; },
                Act::Take => if asked.is_none() { take(&mut known, &mut asked); },
            }
        }
        loop {
            if asked.take().is_some() { queue.catch_up(seq); known = seq; }
            if !take(&mut known, &mut asked) { break; }
        }
        // The last number may be that of a miss, which only a read reaches.
        prop_assert!(known == seq || seq == 0, "known {known} of {seq}");
    }
}

#[test]
fn an_update_without_user_data_has_a_read_follow_for_who_is_told_of_it() {
    let json =
        r#"{"notificationType":"PropertiesUpdated","referenceId":1,"smssession":{"id":"a"}}"#;
    let event = event::read("/x", serde_json::from_str(json).unwrap());
    let event = Arc::new(event.unwrap().unwrap());
    let (watching, other) = (queue(&["a"]), queue(&["b"]));
    for queue in [&watching, &other] {
        assert!(!queue.offer(1, &event));
    }
    assert_eq!(reference(next(&watching)), 1);
    assert!(matches!(next(&watching), Some(Item::Missed(1))));
    assert!(next(&other).is_none());
}
