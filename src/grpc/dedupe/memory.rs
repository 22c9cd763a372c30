//! Writes remembered in this process's memory: another replica, or a restart, knows nothing of
//! them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::metrics::Meter;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::store::{Claim, Turn};
use super::write::{Key, Outcome, SOON, Write, reused, unavailable};
use crate::upstream::client::Ticket;
use crate::upstream::progress::Progress;

pub(super) struct Memory {
    window: Duration,
    max_entries: usize,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    runs: HashMap<Key, Run>,
    /// In order of arrival, which is the order of expiry.
    arrivals: VecDeque<(Instant, Key)>,
    /// It was said that there is no room, and there was none since.
    complained: bool,
}

/// A write that was begun, and perhaps has ended.
#[derive(Clone)]
struct Run {
    fingerprint: Vec<u8>,
    result: watch::Receiver<Option<Outcome>>,
    progress: Progress,
}

enum Found {
    Known(Run),
    New(Turn),
}

impl Memory {
    pub(super) fn new(window: Duration, max_entries: usize, meter: &Meter) -> Self {
        let known = Arc::<Mutex<Known>>::default();
        let read = Arc::clone(&known);
        meter
            .u64_observable_gauge("switchboard_dedupe_entries")
            .with_description("Writes that are remembered by their request_id.")
            .with_callback(move |gauge| {
                let mut known = lock(&read);
                known.forget(Instant::now(), window);
                let entries = known.runs.len();
                drop(known);
                gauge.observe(entries as u64, &[]);
            })
            .build();
        Memory {
            window,
            max_entries,
            known,
        }
    }

    pub(super) async fn claim(&self, write: &Write, ticket: &Ticket) -> Result<Claim, Status> {
        let mut run = match self.find_or_add(write, ticket)? {
            Found::New(turn) => return Ok(Claim::First(turn)),
            Found::Known(run) => run,
        };
        let ended = run.result.wait_for(Option::is_some);
        match timeout_at(ticket.deadline, ended).await {
            Ok(Ok(outcome)) => match outcome.as_ref() {
                Some(outcome) => Ok(Claim::Again(outcome.clone())),
                None => unreachable!("waited for one"),
            },
            Ok(Err(_)) => Ok(Claim::Again(Err(write
                .asked
                .abandoned_after(&run.progress)))),
            Err(_) => Err(write.asked.late_beside(&run.progress)),
        }
    }

    pub(super) fn replace(&self, write: &Write, response: Bytes) {
        // The window may have ended meanwhile, and what is there be another write.
        if let Some(run) = self.known().runs.get_mut(&write.key)
            && run.fingerprint == write.fingerprint
        {
            run.result = watch::channel(Some(Ok(response))).1;
        }
    }

    fn find_or_add(&self, write: &Write, ticket: &Ticket) -> Result<Found, Status> {
        let now = Instant::now();
        let mut known = self.known();
        known.forget(now, self.window);
        let taken = known.runs.len();
        let Known {
            runs,
            arrivals,
            complained,
        } = &mut *known;
        match runs.entry(write.key.clone()) {
            Entry::Occupied(run) if run.get().fingerprint != write.fingerprint => Err(reused()),
            Entry::Occupied(run) => Ok(Found::Known(run.get().clone())),
            // Forgetting an older one early would break the promise made to its caller.
            Entry::Vacant(_) if taken >= self.max_entries => {
                if !mem::replace(complained, true) {
                    tracing::warn!(
                        max_entries = self.max_entries,
                        "no more request_ids can be remembered: calls with new ones are refused"
                    );
                }
                let oldest = arrivals.front().map(|(until, _)| *until);
                let wait = oldest.map_or(SOON, |until| until - now);
                Err(unavailable("no more request_ids can be remembered", wait))
            }
            Entry::Vacant(entry) => {
                // A place that comes free and is taken at once is not worth another complaint.
                if taken < self.max_entries - self.max_entries / 10 {
                    *complained = false;
                }
                let (tell, result) = watch::channel(None);
                arrivals.push_back((now + self.window, entry.key().clone()));
                entry.insert(Run {
                    fingerprint: write.fingerprint.clone(),
                    result,
                    progress: ticket.progress.clone(),
                });
                Ok(Found::New(Turn::Memory(tell)))
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// Those whose window is over, and that run no more.
    fn forget(&mut self, now: Instant, window: Duration) {
        while let Some((until, _)) = self.arrivals.front()
            && *until <= now
            && let Some((_, key)) = self.arrivals.pop_front()
        {
            if self.runs.get(&key).is_some_and(Run::goes_on) {
                self.arrivals.push_back((now + window, key));
            } else {
                self.runs.remove(&key);
            }
        }
    }
}

impl Run {
    /// While there is somebody to tell how it ended, who goes once that is told, or without a word.
    fn goes_on(&self) -> bool {
        self.result.has_changed().is_ok()
    }
}
