//! Every request as it arrived and as it was answered, in the order of arrival.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};

use super::http::{Kind, Operation};

/// What a load test may leave behind before the oldest entries go: by number, and by the memory they hold.
const MOST_ENTRIES: usize = 20_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Of a longer body only this much is kept: the tail of an oversized one tells nothing.
const BODY_KEPT: usize = 64 * 1024;
/// A rough price of an entry beside its bodies, header maps included.
const ENTRY_COST: usize = 2048;

/// One request. It holds secrets as they were sent; the control endpoint shows it censored.
#[derive(Debug, Clone)]
pub struct Entry {
    pub sequence: u64,
    pub vendor: &'static str,
    pub operation: &'static str,
    pub is_login: bool,
    /// Sent to the notification endpoint.
    pub is_notification: bool,
    /// Unique per TCP connection.
    pub connection: u64,
    pub method: Method,
    /// Path and query as sent.
    pub target: String,
    pub request_headers: HeaderMap,
    pub request_body: Bytes,
    /// Absent when no answer went out, or not yet.
    pub status: Option<u16>,
    pub response_headers: HeaderMap,
    /// What the answer was meant to be; a cut body is kept whole here.
    pub response_body: Bytes,
    /// Whether the vendor's records changed.
    pub applied: bool,
    /// The kind of the fault that befell it.
    pub fault: Option<&'static str>,
}

#[derive(Debug, Default)]
pub struct Journal {
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    next: u64,
    /// Apart from the entries, so that counts stay right when the oldest of them have gone.
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

impl Entry {
    pub(super) fn arrived(
        vendor: &'static str,
        operation: Operation,
        connection: u64,
        request: &Request<Bytes>,
        fault: Option<&'static str>,
    ) -> Self {
        Self {
            sequence: 0,
            vendor,
            operation: operation.name,
            is_login: operation.kind == Kind::Login,
            is_notification: operation.kind == Kind::Notification,
            connection,
            method: request.method().clone(),
            target: request
                .uri()
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            request_headers: request.headers().clone(),
            request_body: kept(request.body()),
            status: None,
            response_headers: HeaderMap::new(),
            response_body: Bytes::new(),
            applied: false,
            fault,
        }
    }

    pub(super) fn answered(&mut self, response: &Response<Bytes>) {
        self.status = Some(response.status().as_u16());
        self.response_headers = response.headers().clone();
        self.response_body = kept(response.body());
    }

    fn cost(&self) -> usize {
        ENTRY_COST + self.target.len() + self.request_body.len() + self.response_body.len()
    }
}

impl Journal {
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().entries.iter().cloned().collect()
    }

    pub fn for_vendor(&self, vendor: &str) -> Vec<Entry> {
        self.lock()
            .entries
            .iter()
            .filter(|entry| entry.vendor == vendor)
            .cloned()
            .collect()
    }

    /// How many requests arrived since the last clearing, those included whose entries were dropped.
    pub fn count(&self, vendor: &str, operation: &str) -> u64 {
        let ring = self.lock();
        ring.counts.get(&(vendor, operation)).copied().unwrap_or(0)
    }

    pub fn clear(&self) {
        let mut ring = self.lock();
        // The numbering goes on: an answer still under way must not be written to a new entry.
        *ring = Ring {
            next: ring.next,
            ..Ring::default()
        };
    }

    pub(super) fn record(&self, mut entry: Entry) -> u64 {
        let mut ring = self.lock();
        entry.sequence = ring.next;
        ring.next += 1;
        *ring
            .counts
            .entry((entry.vendor, entry.operation))
            .or_default() += 1;
        ring.bytes += entry.cost();
        ring.entries.push_back(entry);
        ring.shrink();
        ring.next - 1
    }

    /// Does nothing once the entry has been cleared or dropped.
    pub(super) fn amend(&self, sequence: u64, change: impl FnOnce(&mut Entry)) {
        let mut ring = self.lock();
        let first = ring
            .entries
            .front()
            .map_or(ring.next, |entry| entry.sequence);
        let index = sequence
            .checked_sub(first)
            .and_then(|index| usize::try_from(index).ok());
        let Some(entry) = index.and_then(|index| ring.entries.get_mut(index)) else {
            return;
        };
        let before = entry.cost();
        change(entry);
        let after = entry.cost();
        ring.bytes = ring.bytes + after - before;
        ring.shrink();
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().expect("no holder of this lock panics")
    }
}

impl Ring {
    fn shrink(&mut self) {
        while self.entries.len() > MOST_ENTRIES || self.bytes > MOST_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.cost();
        }
    }
}

/// A copy of the beginning when the whole is too long: a slice would keep all of it alive.
fn kept(body: &Bytes) -> Bytes {
    match body.get(..BODY_KEPT) {
        Some(beginning) => Bytes::copy_from_slice(beginning),
        None => body.clone(),
    }
}

#[cfg(test)]
mod tests;
