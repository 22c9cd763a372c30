//! The client that the server knows since a handshake: what it has been told, and has acknowledged.

use std::collections::VecDeque;

use super::super::bayeux::Ack;
use super::super::event::Event;

/// Among how many events a repeated one is known.
const REMEMBERED: usize = 128;

pub(super) struct Client {
    pub(super) id: String,
    /// Where the server counts batches, and repeats what was not acknowledged: the last one that was
    /// read. There are servers that repeat nothing to who has never acknowledged, so it begins before the
    /// first.
    pub(super) batch: Option<i64>,
    seen: VecDeque<u64>,
}

impl Client {
    pub(super) fn new(id: String, ack: Option<Ack>) -> Self {
        let batch = match ack {
            Some(Ack::Offered(true)) => Some(0),
            Some(Ack::OfferedFrom {
                enabled: true,
                batch,
            }) => Some(batch),
            _ => None,
        };
        Client {
            id,
            batch,
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
        if let (Some(read), Some(Ack::Batch(batch))) = (&mut self.batch, ack) {
            *read = batch;
        }
    }
}
