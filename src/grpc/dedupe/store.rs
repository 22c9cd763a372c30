//! Where writes are remembered: in this process's memory, or in a Redis that replicas share.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tonic::Status;

use super::memory::Memory;
use super::redis::{self, Redis};
use super::write::{Outcome, Write};
use crate::upstream::client::Ticket;

pub(super) enum Store {
    Memory(Memory),
    Redis(Arc<Redis>),
}

/// What asking to do a write comes to.
pub(super) enum Claim {
    /// It is this call's to do.
    First(Turn),
    /// It was done, or given up, before.
    Again(Outcome),
}

/// The right to do a write, and the duty to tell how it ended.
pub(super) enum Turn {
    Memory(watch::Sender<Option<Outcome>>),
    Redis(Box<redis::Turn>),
}

impl Store {
    /// Waits while another call does the write, but not beyond the deadline of the one who asks.
    pub(super) async fn claim(&self, write: &Write, ticket: &Ticket) -> Result<Claim, Status> {
        match self {
            Store::Memory(memory) => memory.claim(write, ticket).await,
            Store::Redis(redis) => redis.claim(write, ticket).await,
        }
    }

    /// Later repeats are to get this instead, for as long as they would have got the other.
    pub(super) fn replace(&self, write: Write, response: Bytes) {
        match self {
            Store::Memory(memory) => memory.replace(&write, response),
            Store::Redis(redis) => redis.replace(write, response),
        }
    }
}

impl Turn {
    /// Does the work while nobody else may.
    pub(super) async fn spend<R>(&mut self, work: impl Future<Output = R>) -> R {
        match self {
            Turn::Memory(_) => work.await,
            Turn::Redis(turn) => turn.spend(work).await,
        }
    }

    /// Nothing was done, and another may do it.
    pub(super) fn give_back(self) {
        match self {
            // Who would ask asks another process.
            Turn::Memory(_) => {}
            Turn::Redis(turn) => turn.give_back(),
        }
    }

    pub(super) async fn keep(self, outcome: Outcome) {
        match self {
            Turn::Memory(tell) => drop(tell.send_replace(Some(outcome))),
            Turn::Redis(turn) => turn.keep(&outcome).await,
        }
    }
}
