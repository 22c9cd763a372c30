//! A write that a caller repeats under the same `request_id` is done once: the repeat gets the
//! first one's result, also while the first still runs.
//!
//! Kept in this process's memory: another replica, or a restart, knows nothing of it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use opentelemetry::metrics::{Counter, Meter};
use prost::Message;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tonic::{Code, Response, Status};
use tracing::Instrument;

use super::details::Rejection;
use super::status;
use super::validate::Violations;
use crate::pb::ErrorReason;
use crate::upstream::client::{Client, Ticket};
use crate::upstream::error::{Error, Failure};
use crate::upstream::operation::{Meta, Operation, Progress, Vendor};

const LONGEST_ID: usize = 64;

/// Remembers the writes of the last while.
#[derive(Clone)]
pub struct Dedupe(Arc<Memory>);

struct Memory {
    window: Duration,
    max_entries: usize,
    tasks: TaskTracker,
    hits: Counter<u64>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    writes: HashMap<Key, Write>,
    /// In order of arrival, which is the order of expiry.
    arrivals: VecDeque<(Instant, Key)>,
}

/// What makes two calls the same. Callers have no identities yet, so all are one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    vendor: &'static str,
    account: String,
    operation: &'static str,
    request_id: String,
}

#[derive(Clone)]
struct Write {
    /// Of the whole message: another body under the same id is a mistake of the caller.
    fingerprint: Vec<u8>,
    result: watch::Receiver<Option<Outcome>>,
    progress: Progress,
}

/// The encoded response, or the error, as the first call got it.
type Outcome = Result<Bytes, Status>;

/// By what a repeat of a call is known; taken before the message goes its way.
pub struct Identity {
    request_id: String,
    fingerprint: Vec<u8>,
}

impl Identity {
    pub fn of(request_id: &str, message: &impl Message) -> Self {
        let asked = !request_id.is_empty();
        let fingerprint = asked.then(|| digest(&SHA256, &message.encode_to_vec()));
        Identity {
            request_id: request_id.to_owned(),
            fingerprint: fingerprint.map_or_else(Vec::new, |print| print.as_ref().to_vec()),
        }
    }
}

/// The write that is asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    vendor: &'static str,
    meta: &'static Meta,
}

/// At most 64 printable ASCII characters; none at all asks for nothing.
pub fn check_id(request_id: &str, violations: &mut Violations) {
    let printable = request_id.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    violations.check(
        printable && request_id.len() <= LONGEST_ID,
        "request_id",
        "must be at most 64 printable ASCII characters",
    );
}

impl Dedupe {
    pub fn new(window: Duration, max_entries: usize, tasks: TaskTracker, meter: &Meter) -> Self {
        let hits = meter
            .u64_counter("switchboard_dedupe_hits")
            .with_description("Writes answered with the result of an earlier one.");
        Dedupe(Arc::new(Memory {
            window,
            max_entries,
            tasks,
            hits: hits.build(),
            known: Mutex::default(),
        }))
    }

    /// Sends a checked write to its vendor, once however often its `request_id` comes.
    pub async fn send<O, T>(
        &self,
        client: &Client<O::Vendor>,
        identity: Identity,
        operation: O,
        ticket: Ticket,
    ) -> Result<Response<T>, Status>
    where
        O: Operation + Sync,
        T: Message + Default + From<O::Output>,
    {
        let asked = Asked {
            vendor: O::Vendor::NAME,
            meta: const { &O::META },
        };
        let client = client.clone();
        let shared = ticket.clone();
        let work = async move { Ok(client.call(operation, ticket).await?.into()) };
        let answer = self.run(asked, identity, &shared, work).await?;
        Ok(Response::new(answer))
    }

    /// Does the write, or answers with what it gave before.
    async fn run<T: Message + Default>(
        &self,
        asked: Asked,
        identity: Identity,
        ticket: &Ticket,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<T, Status> {
        if identity.request_id.is_empty() {
            return work.await;
        }
        let key = Key {
            vendor: asked.vendor,
            account: ticket.account.clone(),
            operation: asked.meta.name,
            request_id: identity.request_id,
        };
        let (write, first) = self.0.find_or_add(key, identity.fingerprint, ticket)?;
        match first {
            Some(tell) => self.0.begin(tell, work),
            None => self.0.hits.add(1, &[]),
        }
        let encoded = write.outcome(asked, ticket).await?;
        T::decode(encoded).map_err(|_| status::defect("a kept response cannot be read"))
    }
}

type Tell = watch::Sender<Option<Outcome>>;

impl Memory {
    /// The write of this key, and for the first to come the means to tell its outcome.
    fn find_or_add(
        &self,
        key: Key,
        fingerprint: Vec<u8>,
        ticket: &Ticket,
    ) -> Result<(Write, Option<Tell>), Status> {
        let now = Instant::now();
        let mut known = self.known();
        known.forget(now);
        let full = known.writes.len() >= self.max_entries;
        let Known { writes, arrivals } = &mut *known;
        match writes.entry(key) {
            Entry::Occupied(entry) if entry.get().fingerprint != fingerprint => Err(reused()),
            Entry::Occupied(entry) => Ok((entry.get().clone(), None)),
            // Forgetting an older one early would break the promise made to its caller.
            Entry::Vacant(_) if full => Err(unavailable()),
            Entry::Vacant(entry) => {
                let (tell, result) = watch::channel(None);
                arrivals.push_back((now + self.window, entry.key().clone()));
                let write = entry.insert(Write {
                    fingerprint,
                    result,
                    progress: ticket.progress.clone(),
                });
                Ok((write.clone(), Some(tell)))
            }
        }
    }

    /// Runs to its end whoever still waits: a repeat may come for the result.
    fn begin<T: Message>(
        &self,
        tell: Tell,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) {
        let task = async move {
            let outcome = work.await.map(|response| response.encode_to_vec().into());
            tell.send_replace(Some(outcome));
        };
        self.tasks.spawn(task.in_current_span());
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, now: Instant) {
        while let Some((until, _)) = self.arrivals.front()
            && *until <= now
        {
            if let Some((_, key)) = self.arrivals.pop_front() {
                self.writes.remove(&key);
            }
        }
    }
}

impl Write {
    /// Waits for the outcome, but not beyond the deadline of the one who asks.
    async fn outcome(mut self, asked: Asked, ticket: &Ticket) -> Outcome {
        let landed = timeout_at(ticket.deadline, self.result.wait_for(Option::is_some)).await;
        let error = match landed {
            Ok(Ok(outcome)) => match outcome.as_ref() {
                Some(outcome) => return outcome.clone(),
                None => unreachable!("waited for one"),
            },
            Ok(Err(_)) => Error::Lost {
                cause: "the gateway failed while it waited for the answer".to_owned(),
            },
            Err(_) => Error::Deadline,
        };
        Err(Status::from(Failure {
            vendor: asked.vendor,
            operation: asked.meta.name,
            replay: asked.meta.replay,
            error,
            sent: self.progress.sent(),
            in_doubt: self.progress.in_doubt(),
            was_in_doubt: self.progress.was_in_doubt(),
            budget_spent: false,
        }))
    }
}

fn reused() -> Status {
    Rejection::new(
        Code::InvalidArgument,
        ErrorReason::RequestIdReused,
        "this request_id was used before with another request",
    )
    .fact("attempts", &0)
    .into_status()
}

fn unavailable() -> Status {
    Rejection::new(
        Code::Unavailable,
        ErrorReason::DedupeUnavailable,
        "no more request_ids can be remembered now; without one the call is possible",
    )
    .fact("attempts", &0)
    .retry_after(Some(Duration::from_secs(1)))
    .into_status()
}

#[cfg(test)]
#[path = "dedupe_tests.rs"]
mod tests;
