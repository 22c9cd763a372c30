//! Writes remembered in a Redis that replicas share.
//!
//! A write is a hash at `switchboard:dedupe:{H}`, where H is the SHA-256 of what makes calls the
//! same, so that nothing of a caller gets into a key. Beside it `switchboard:dedupe:{H}:lease`
//! lives for as long as somebody does the write, and a few seconds longer. Every step is a script,
//! which Redis runs as a whole, and may run twice without harm. All times are Redis's own.
//!
//! | field | |
//! |---|---|
//! | `version` | of this layout: what another version wrote is left alone, and the call refused |
//! | `fingerprint` | the SHA-256 of the message |
//! | `token` | of the call that does the write |
//! | `result` | the outcome, once there is one (`kept.rs`) |
//! | `released` | stands alone, for some seconds: the token of a claim that was given back, with nothing done |

mod kept;
mod link;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use opentelemetry::metrics::Meter;
use redis::Cmd;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use tonic::Status;

use self::link::{Came, Failed, Link};
pub(super) use self::turn::Turn;
use super::store::{self, Claim};
use super::write::{Key, Outcome, SOON, Write, late_unasked, reused, unavailable};
use crate::upstream::client::Ticket;
use crate::upstream::secret::Secret;

const VERSION: &str = "1";

/// How long after its last sign of life somebody is taken to have abandoned a write.
const LEASE: Duration = Duration::from_secs(6);

/// What a claim has left at the least, and what is left of one that was given back: it outlives its lease,
/// so that whoever waits for the end of a write finds it abandoned, or free, and not gone.
const CLAIM: Duration = Duration::from_secs(12);

/// How often it is looked whether another has ended.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(200);

/// How long it is tried to tell Redis what became of a write, where it refuses to hear it or the gateway
/// ends.
const INSIST: Duration = Duration::from_secs(10);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Redis {
    link: Arc<Link>,
    window: Duration,
    tasks: TaskTracker,
}

/// How a write stands in Redis.
enum Standing {
    Mine,
    Running,
    Ended(Outcome),
    Abandoned,
    Reused,
    /// Of another version of the gateway, or of nobody that is known.
    Foreign,
}

/// Where a write stands in Redis.
struct Place {
    write: String,
    lease: String,
}

impl Redis {
    pub(super) fn new(
        url: Secret,
        window: Duration,
        tasks: TaskTracker,
        meter: &Meter,
    ) -> Arc<Self> {
        Arc::new(Redis {
            link: Link::new(url, meter),
            window,
            tasks,
        })
    }

    pub(super) async fn claim(
        self: &Arc<Self>,
        write: &Write,
        ticket: &Ticket,
    ) -> Result<Claim, Status> {
        let (asked, deadline) = (write.asked, ticket.deadline);
        let mut turn = Turn::new(Arc::clone(self), write.clone());
        let mut look = FIRST_LOOK;
        let mut runs_elsewhere = false;
        let late = |runs_elsewhere| match runs_elsewhere {
            true => asked.late_elsewhere(),
            false => late_unasked(),
        };
        loop {
            let Ok((back, standing)) = timeout_at(deadline, turn.claim(runs_elsewhere)).await
            else {
                return Err(late(runs_elsewhere));
            };
            turn = back;
            match standing {
                Ok(Standing::Mine) => {
                    return Ok(Claim::First(store::Turn::Redis(Box::new(turn))));
                }
                Ok(Standing::Ended(outcome)) => return Ok(Claim::Again(outcome)),
                Ok(Standing::Abandoned) => return Ok(Claim::Again(Err(asked.abandoned()))),
                Ok(Standing::Reused) => return Err(reused()),
                Ok(Standing::Foreign) => {
                    return Err(unavailable(
                        "this request_id is kept in an unknown form",
                        SOON,
                    ));
                }
                Ok(Standing::Running) => runs_elsewhere = true,
                // The store may be back before the time is over, and until then it stands as it stood.
                Err(_) if runs_elsewhere => {}
                Err(_) => {
                    return Err(unavailable(
                        "the store of request_ids is out of reach",
                        SOON,
                    ));
                }
            }
            if timeout_at(deadline, sleep(look)).await.is_err() {
                return Err(late(runs_elsewhere));
            }
            look = LONGEST_LOOK.min(look * 2);
        }
    }

    /// In the background: whose answer it is does not wait for it.
    pub(super) fn replace(self: &Arc<Self>, write: Write, response: Bytes) {
        let result = kept::encode(&Ok(response));
        let mut question = script(include_str!("replace.lua"), &[&Place::of(&write.key).write]);
        question.arg(VERSION).arg(write.fingerprint).arg(result);
        let redis = Arc::clone(self);
        self.tasks.spawn(async move {
            // Without it the next repeat finds the truth as this one did.
            let _ = redis.link.ask(&question).await;
        });
    }

    /// Tells Redis what became of a write, in spite of an outage. A Redis that is out of reach is waited
    /// for until the write is forgotten: it may have hung, and take in then what it was asked before. They
    /// are few that wait, as no write begins without it.
    async fn insist(&self, question: &Cmd, until: Instant) -> Result<(), Failed> {
        let least = Instant::now() + INSIST;
        let mut pause = FIRST_RETRY;
        loop {
            let Err(failed) = self.link.ask(question).await else {
                return Ok(());
            };
            let end = match failed.came {
                Came::Nowhere | Came::Perhaps if !self.tasks.is_closed() => least.max(until),
                _ => least,
            };
            if Instant::now() + pause >= end {
                return Err(failed);
            }
            sleep(pause).await;
            pause = LONGEST_RETRY.min(pause * 2);
        }
    }
}

impl Place {
    /// Every part goes in with its length, so that no two keys can be spelled the same. The braces
    /// keep both names in one slot, should keys be spread over several servers.
    fn of(key: &Key) -> Self {
        let mut digest = Context::new(&SHA256);
        let parts = [
            &*key.caller,
            key.vendor,
            &*key.account,
            key.operation,
            &*key.request_id,
        ];
        for part in parts {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        let hex = |byte: &u8| format!("{byte:02x}");
        let hash: String = digest.finish().as_ref().iter().map(hex).collect();
        let write = format!("switchboard:dedupe:{{{hash}}}");
        let lease = format!("{write}:lease");
        Place { write, lease }
    }
}

fn script(text: &str, keys: &[&str]) -> Cmd {
    let mut question = redis::cmd("EVAL");
    question.arg(text).arg(keys.len()).arg(keys);
    question
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(any(test, fuzzing))]
pub(super) fn take_in(bytes: &[u8]) {
    if let Some(outcome) = kept::decode(bytes) {
        let again = kept::encode(&outcome);
        let twice = kept::decode(&again).map(|outcome| kept::encode(&outcome));
        assert_eq!(Some(again), twice);
    }
}

#[cfg(test)]
mod played;
#[cfg(test)]
mod tests;
