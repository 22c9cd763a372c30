//! What is kept, and for how long.

use bytes::Bytes;
use http::{Request, Response};

use super::{BODY_KEPT, Entry, Journal, MOST_BYTES, MOST_ENTRIES};
use crate::sandbox::http::Operation;

fn entry(body: usize) -> Entry {
    let request = Request::post("/path?query")
        .body(Bytes::from(vec![b'x'; body]))
        .unwrap();
    Entry::arrived("aicc", Operation::call("create"), 1, &request, None)
}

#[test]
fn an_answer_finds_its_entry() {
    let journal = Journal::default();
    let (first, second) = (journal.record(entry(3)), journal.record(entry(0)));
    let yes = Response::new(Bytes::from_static(b"yes"));
    journal.amend(first, |entry| entry.answered(&yes));
    let entries = journal.entries();
    assert_eq!(
        (entries[0].status, &entries[0].response_body[..]),
        (Some(200), &b"yes"[..])
    );
    assert_eq!((entries[1].sequence, entries[1].status), (second, None));
    assert_eq!(entries[0].target, "/path?query");
    assert_eq!(
        (
            journal.for_vendor("aicc").len(),
            journal.for_vendor("genesys").len()
        ),
        (2, 0)
    );
}

#[test]
fn an_answer_after_a_clearing_touches_nothing() {
    let journal = Journal::default();
    let before = journal.record(entry(0));
    journal.clear();
    journal.record(entry(0));
    journal.amend(before, |entry| entry.applied = true);
    assert!(!journal.entries()[0].applied);
    assert_eq!(journal.count("aicc", "create"), 1);
}

#[test]
fn the_oldest_go_first_and_still_count() {
    let journal = Journal::default();
    let oldest = journal.record(entry(0));
    for _ in 0..MOST_ENTRIES {
        journal.record(entry(0));
    }
    journal.amend(oldest, |_| unreachable!("it was dropped"));
    let ring = journal.lock();
    assert_eq!(
        (ring.entries.len(), ring.entries[0].sequence),
        (MOST_ENTRIES, oldest + 1)
    );
    drop(ring);
    assert_eq!(journal.count("aicc", "create"), MOST_ENTRIES as u64 + 1);
}

#[test]
fn of_a_long_body_only_the_beginning_stays() {
    let journal = Journal::default();
    journal.record(entry(BODY_KEPT + 1));
    assert_eq!(journal.entries()[0].request_body.len(), BODY_KEPT);
    let ring = journal.lock();
    assert!(ring.bytes > BODY_KEPT && ring.bytes < MOST_BYTES);
}
