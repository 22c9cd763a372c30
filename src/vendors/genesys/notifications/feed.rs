//! What consumers of one account are owed: every event in order, or word that some were missed.
//!
//! Events are numbered as they arrive. A queue that overflows, and every queue when events may
//! have been lost on the way from the vendor, keeps no more of them and remembers up to which
//! number it missed some; a read that was begun after that number makes it whole again.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::Event;
use crate::upstream::error::Failure;

/// The number of an event, or of a moment between two.
pub(in crate::vendors::genesys) type Seq = u64;

/// A consumer that is further behind than this has missed something.
const MOST_EVENTS: usize = 256;
const MOST_BYTES: usize = 1024 * 1024;

/// What a consumer asked for.
#[derive(Debug)]
pub(in crate::vendors::genesys) enum Filter {
    All,
    Sessions(HashSet<String>),
    /// One session, and the errors that name none: they may be about a write to it.
    WritesTo(String),
}

impl Filter {
    fn names(&self, session_id: &str) -> bool {
        match self {
            Filter::All => true,
            Filter::Sessions(ids) => ids.contains(session_id),
            Filter::WritesTo(id) => id == session_id,
        }
    }

    fn passes(&self, event: &Event) -> bool {
        match (event.session(), self) {
            (Some(session), filter) => filter.names(&session.id),
            (None, Filter::All) => true,
            (None, Filter::Sessions(_)) => false,
            (None, Filter::WritesTo(_)) => event.is_error(),
        }
    }
}

/// What a consumer gets next.
#[derive(Debug)]
pub(in crate::vendors::genesys) enum Item {
    Event(Arc<Event>),
    /// Something up to this number was missed.
    Missed(Seq),
    /// There will be no more.
    Ended(Box<Failure>),
}

/// One consumer's share.
#[derive(Debug)]
pub(super) struct Queue {
    filter: Filter,
    pending: Mutex<Pending>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    events: VecDeque<(Seq, Arc<Event>)>,
    bytes: usize,
    missed: Option<Seq>,
    ended: Option<Box<Failure>>,
}

impl Queue {
    /// It has missed all that was before `now`.
    pub(super) fn new(filter: Filter, now: Seq) -> Self {
        let pending = Pending {
            missed: Some(now),
            ..Pending::default()
        };
        Queue {
            filter,
            pending: Mutex::new(pending),
            ready: Notify::new(),
        }
    }

    /// Takes an event in, never waiting; whether it had to be dropped for want of room.
    pub(super) fn offer(&self, seq: Seq, event: &Arc<Event>) -> bool {
        if !self.filter.passes(event) {
            return false;
        }
        let mut pending = self.pending();
        let behind = pending.missed.is_some();
        let full = pending.events.len() >= MOST_EVENTS || pending.bytes > MOST_BYTES;
        if behind || full {
            pending.missed = Some(seq);
        } else {
            pending.bytes += event.size;
            pending.events.push_back((seq, Arc::clone(event)));
            // It is told, and what it leaves open is read.
            pending.missed = event.needs_a_read().then_some(seq);
        }
        drop(pending);
        self.ready.notify_one();
        full && !behind
    }

    /// Events may have been lost before this number.
    pub(super) fn miss(&self, seq: Seq) {
        self.pending().missed = Some(seq);
        self.ready.notify_one();
    }

    pub(super) fn end(&self, failure: Failure) {
        self.pending().ended.get_or_insert(Box::new(failure));
        self.ready.notify_one();
    }

    /// What is next in order. Nothing is lost when it is not waited for to its end.
    pub(super) async fn next(&self) -> Item {
        loop {
            if let Some(item) = self.pending().take() {
                return item;
            }
            self.ready.notified().await;
        }
    }

    /// Waits for the end alone, leaving all else in its place.
    pub(super) async fn ended(&self) -> Box<Failure> {
        loop {
            if let Some(failure) = self.pending().ended.clone() {
                return failure;
            }
            self.ready.notified().await;
        }
    }

    /// A read that was begun at this number has told everything before.
    pub(super) fn catch_up(&self, read: Seq) {
        let mut pending = self.pending();
        while let Some((seq, event)) = pending.events.front()
            && *seq <= read
        {
            pending.bytes -= event.size;
            pending.events.pop_front();
        }
        if pending.missed.is_some_and(|missed| missed <= read) {
            pending.missed = None;
        }
    }

    pub(super) fn wants(&self, session_id: &str) -> bool {
        self.filter.names(session_id)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Nothing panics while holding it.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// Events first: they came before whatever was missed.
    fn take(&mut self) -> Option<Item> {
        if let Some((_, event)) = self.events.pop_front() {
            self.bytes -= event.size;
            return Some(Item::Event(event));
        }
        if let Some(failure) = &self.ended {
            return Some(Item::Ended(failure.clone()));
        }
        self.missed.take().map(Item::Missed)
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
