//! The client that the server knows since a handshake: what it has been told, and has acknowledged.

use std::collections::VecDeque;

use super::super::bayeux::Ack;
use super::super::event::Event;

/// Among how many events a repeated one is known.
const REMEMBERED: usize = 128;

pub(super) struct Client {
    pub(super) id: String,
    /// The server counts batches, and repeats the one that was not acknowledged.
    pub(super) counts: bool,
    /// The last one that was read.
    pub(super) batch: Option<i64>,
    seen: VecDeque<u64>,
}

impl Client {
    pub(super) fn new(id: String, ack: Option<Ack>) -> Self {
        Client {
            id,
            counts: ack == Some(Ack::Offered(true)),
            batch: None,
            seen: VecDeque::new(),
        }
    }

    pub(super) fn is_new(&mut self, event: &Event) -> bool {
        let Some(print) = event.fingerprint else {
            return true;
        };
        if self.seen.contains(&print) {
            return false;
        }
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(print);
        true
    }

    pub(super) fn read_up_to(&mut self, ack: Option<Ack>) {
        if let Some(Ack::Batch(batch)) = ack
            && self.counts
        {
            self.batch = Some(batch);
        }
    }
}
