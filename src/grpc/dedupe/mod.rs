//! A write that a caller repeats under the same `request_id` is done once: the repeat gets the
//! first one's result, also while the first still runs.
//!
//! | the first one | a repeat |
//! |---|---|
//! | had another body | is refused: `REQUEST_ID_REUSED` |
//! | runs | waits for its result; at its own deadline it is told `OUTCOME_UNKNOWN`, or `DEADLINE` of a write that may be done twice |
//! | has ended | gets what that got; [`Dedupe::run`] settles it for who wants more |
//! | is gone without a word | is told `OUTCOME_UNKNOWN`; of what may be done twice that it failed in memory, while with Redis it is done again |
//! | was cut before it was sent | does the write, with Redis |
//! | is forgotten, as its window is over | does the write |
//! | cannot be looked up, or there is no room to remember it | is refused: `DEDUPE_UNAVAILABLE`; `DEADLINE` if that was over first |

mod memory;
mod redis;
mod store;
mod write;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use opentelemetry::metrics::{Counter, Meter};
use opentelemetry::trace::FutureExt as _;
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tokio_util::task::TaskTracker;
use tonic::{Response, Status};

use self::memory::Memory;
use self::redis::Redis;
use self::store::{Claim, Store, Turn};
pub use self::write::Asked;
use self::write::{Outcome, Write};
use super::inbound::{Addressed, Opened, account_name};
use super::status;
use super::validate::Violations;
use crate::upstream::client::{Client, Ticket};
use crate::upstream::operation::Operation;
use crate::upstream::outlive::log_unheard;
use crate::upstream::progress::Progress;
use crate::upstream::secret::Secret;

const LONGEST_ID: usize = 64;

/// Remembers the writes of the last while.
#[derive(Clone)]
pub struct Dedupe(Arc<Parts>);

struct Parts {
    store: Store,
    tasks: TaskTracker,
    hits: Counter<u64>,
}

/// How long, and where, writes are remembered.
#[derive(Debug, Clone)]
pub struct Options {
    pub window: Duration,
    /// Bounds the memory; a Redis has bounds of its own.
    pub max_entries: usize,
    /// The URL of the Redis that replicas share; without it this process's memory.
    pub redis_url: Option<Secret>,
}

/// By what a repeat of a call is known; taken before the message goes its way.
pub struct Identity {
    caller: String,
    request_id: String,
    fingerprint: Vec<u8>,
}

impl Identity {
    pub fn of<M: Message + Addressed + Clone>(
        opened: &Opened,
        request_id: &str,
        message: &M,
    ) -> Self {
        Self::of_caller(opened.caller(), request_id, message)
    }

    fn of_caller<M: Message + Addressed + Clone>(
        caller: &str,
        request_id: &str,
        message: &M,
    ) -> Self {
        let asked = !request_id.is_empty();
        let fingerprint = asked.then(|| fingerprint(message.clone()));
        Identity {
            caller: caller.to_owned(),
            request_id: request_id.to_owned(),
            fingerprint: fingerprint.unwrap_or_default(),
        }
    }
}

/// The same for messages that mean the same account, whether they name it or leave it to be `default`.
fn fingerprint<M: Message + Addressed>(mut message: M) -> Vec<u8> {
    if account_name(message.account()) == account_name("") {
        message.account_mut().clear();
    }
    digest(&SHA256, &message.encode_to_vec()).as_ref().to_vec()
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
    /// Connects to nothing: a Redis that is down harms only the calls that need it.
    pub fn new(options: Options, tasks: TaskTracker, meter: &Meter) -> Self {
        let hits = meter
            .u64_counter("switchboard_dedupe_hits")
            .with_description("Writes answered with the result of an earlier one.");
        let hits = hits.build();
        // A series that is there from the start can be alerted on.
        hits.add(0, &[]);
        let store = match options.redis_url {
            Some(url) => Store::Redis(Redis::new(url, options.window, tasks.clone(), meter)),
            None => Store::Memory(Memory::new(options.window, options.max_entries, meter)),
        };
        Dedupe(Arc::new(Parts { store, tasks, hits }))
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
        let client = client.clone();
        let shared = ticket.clone();
        // In a place of its own, as it is handed on several times.
        let work = Box::pin(async move { Ok(client.call(operation, ticket).await?.into()) });
        let answer = self
            .run(
                Asked::of::<O>(),
                identity,
                &shared,
                work,
                std::future::ready,
            )
            .await?;
        Ok(Response::new(answer))
    }

    /// Does the write once; `settle` turns what an earlier call was given into what this one gets.
    ///
    /// A success that `settle` makes of something else is what later repeats find.
    pub async fn run<T, W, S, F>(
        &self,
        asked: Asked,
        identity: Identity,
        ticket: &Ticket,
        work: W,
        settle: S,
    ) -> Result<T, Status>
    where
        T: Message + Default,
        W: Future<Output = Result<T, Status>> + Send + 'static,
        S: FnOnce(Result<T, Status>) -> F,
        F: Future<Output = Result<T, Status>>,
    {
        if identity.request_id.is_empty() {
            return work.await;
        }
        let write = Write::new(asked, identity, ticket);
        // Apart, as it is large, and most calls have no use for it.
        Box::pin(async move {
            // Until it is known that nobody else does the write, or what became of another's was told.
            let joined = ticket.progress.join();
            match self.0.store.claim(&write, ticket).await? {
                Claim::First(turn) => {
                    drop(joined);
                    let told = self.0.begin(asked, turn, work, ticket.progress.clone());
                    decode(outcome(told, asked, ticket).await?)
                }
                Claim::Again(kept) => {
                    self.0.hits.add(1, &[]);
                    let kept = kept.and_then(decode);
                    // As it is read here: a newer gateway may have kept more than is known to this one.
                    let before = kept.as_ref().ok().map(T::encode_to_vec);
                    let answer = settle(kept).await?;
                    let after = answer.encode_to_vec();
                    if before.as_ref() != Some(&after) {
                        self.0.store.replace(write, after.into());
                    }
                    Ok(answer)
                }
            }
        })
        .await
    }
}

impl Parts {
    /// Runs to its end whoever still waits: a repeat may come for the result. Only a write that was
    /// cut before it was sent ends with its caller, who makes it again elsewhere.
    fn begin<T: Message>(
        &self,
        asked: Asked,
        mut turn: Turn,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
        progress: Progress,
    ) -> oneshot::Receiver<Outcome> {
        let (mut tell, told) = oneshot::channel();
        let task = async move {
            let left_to_others = async {
                tell.closed().await;
                if !progress.is_left_to_others() {
                    std::future::pending::<()>().await;
                }
            };
            let result = tokio::select! {
                biased;
                result = turn.spend(work) => result,
                () = left_to_others => return turn.give_back(),
            };
            if progress.is_left_to_others() {
                return turn.give_back();
            }
            let outcome: Outcome = result.map(|response| response.encode_to_vec().into());
            // Before it is kept: a store that fails or is slow takes nobody's answer away. Who was told
            // that the time is over has not left; and a repeat, who would be told, may never come.
            if let Err(unheard) = tell.send(outcome.clone())
                && !progress.was_given_up()
            {
                let failed = |status: &Status| {
                    let unknown = status::unknown_outcome(status).is_some();
                    (status.message().to_owned(), unknown)
                };
                log_unheard(asked.meta.name, unheard.as_ref().err().map(failed));
            }
            turn.keep(outcome).await;
        };
        self.tasks.spawn(task.with_current_context());
        told
    }
}

/// Waits for the outcome of the caller's own write, but not beyond its deadline.
async fn outcome(mut told: oneshot::Receiver<Outcome>, asked: Asked, ticket: &Ticket) -> Outcome {
    // Open until it is given up: who tells it is to know whether somebody left.
    match timeout_at(ticket.deadline, &mut told).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(asked.abandoned_after(&ticket.progress)),
        Err(_) => {
            // Its task may be about to send it, and what is told here has to stay true.
            ticket.progress.give_up();
            Err(asked.late_after(&ticket.progress))
        }
    }
}

fn decode<T: Message + Default>(encoded: Bytes) -> Result<T, Status> {
    T::decode(encoded).map_err(|_| status::defect("a kept response cannot be read"))
}

/// Reads a kept result as a repeat does; keeping it again changes nothing.
#[cfg(any(test, fuzzing))]
pub(super) fn take_in(bytes: &[u8]) {
    redis::take_in(bytes);
}

#[cfg(test)]
mod tests;
