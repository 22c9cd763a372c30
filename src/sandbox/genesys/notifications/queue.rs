//! The events that wait for a client, or for its acknowledgement.

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Queue {
    queued: Vec<Queued>,
}

#[derive(Debug)]
struct Queued {
    event: Value,
    due: Instant,
    /// In which batch it was first sent; kept until that one is acknowledged.
    sent_in: Option<u64>,
    undelivered: Option<Undelivered>,
}

/// Dropped with the first delivery: when all are, the receiving end knows.
pub(super) type Undelivered = mpsc::Sender<()>;

impl Queue {
    pub(super) fn push(&mut self, event: Value, due: Instant, undelivered: Option<Undelivered>) {
        self.queued.push(Queued {
            event,
            due,
            sent_in: None,
            undelivered,
        });
    }

    pub(super) fn acknowledge(&mut self, acknowledged: i64) {
        self.queued.retain(|queued| match queued.sent_in {
            Some(batch) => i64::try_from(batch).is_ok_and(|batch| batch > acknowledged),
            None => true,
        });
    }

    pub(super) fn has_unacknowledged(&self) -> bool {
        self.queued.iter().any(|queued| queued.sent_in.is_some())
    }

    /// When the next event that was never sent is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let unsent = self.queued.iter().filter(|queued| queued.sent_in.is_none());
        unsent.map(|queued| queued.due).min()
    }

    /// What is due. With acknowledgement it stays, and comes again until it is acknowledged.
    pub(super) fn take(&mut self, batch: u64, ack: bool) -> Vec<Value> {
        let now = Instant::now();
        let mut taken = Vec::new();
        for queued in self.queued.iter_mut().filter(|queued| queued.due <= now) {
            taken.push(queued.event.clone());
            queued.sent_in.get_or_insert(batch);
            queued.undelivered = None;
        }
        if !ack {
            self.queued.retain(|queued| queued.sent_in.is_none());
        }
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.queued.len()
    }
}
