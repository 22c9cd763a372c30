//! One account's notifications: who consumes them, and the one CometD session behind them all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::event::Event;
use super::feed::{Filter, Item, Queue, Seq};
use super::link::Link;
use super::meters::{Meters, OpenStream};
use super::session::Session;
use super::snapshot::{Course, Flight, Snapshot};
use super::turns::Turns;
use crate::lifecycle::Lifecycle;
use crate::upstream::error::{Error, Failure};

/// How long the CometD session outlives its last consumer: writes that want confirmation come in
/// rows, and watchers come back.
const LINGER: Duration = Duration::from_secs(60);

/// Between the beginnings of two sessions, where the first was not the only one to fail: however often
/// streams are opened, and writes want confirmation, a vendor that says no is not asked all the time.
pub(super) const LEAST_APART: Duration = Duration::from_secs(5);

/// Shared by the session, the consumers and the reads of one account.
pub(in crate::vendors::genesys) struct Hub {
    pub(super) account: String,
    pub(super) channels: Arc<[String]>,
    pub(super) link: Arc<dyn Link>,
    pub(super) meters: Meters,
    pub(super) turns: Turns,
    lifecycle: Lifecycle,
    /// Of all accounts together.
    beginnings: Arc<Semaphore>,
    state: Mutex<State>,
    consumers: watch::Sender<usize>,
    standing: watch::Sender<Standing>,
}

/// What can be expected of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// To be subscribed soon.
    Coming,
    Subscribed,
    /// The last try failed.
    Troubled,
}

#[derive(Default)]
struct State {
    seq: Seq,
    queues: BTreeMap<u64, Arc<Queue>>,
    last_queue: u64,
    running: bool,
    /// When the last session began, what it has failed by, and how many have since one was subscribed.
    begun: Option<Instant>,
    failed: Option<Failure>,
    failures: u32,
    /// What this session's last try to be subscribed failed by.
    trouble: Option<Error>,
    flight: Option<Flight>,
}

impl Hub {
    pub(super) fn new(
        account: String,
        channels: Arc<[String]>,
        link: Arc<dyn Link>,
        meters: Meters,
        lifecycle: Lifecycle,
        beginnings: Arc<Semaphore>,
    ) -> Self {
        meters.account(&account);
        Hub {
            account,
            channels,
            link,
            meters,
            turns: Turns::default(),
            lifecycle,
            beginnings,
            state: Mutex::default(),
            consumers: watch::Sender::new(0),
            standing: watch::Sender::new(Standing::Coming),
        }
    }

    /// Counts a stream as long as the guard lives.
    pub(in crate::vendors::genesys) fn open_stream(&self) -> OpenStream {
        self.meters.stream()
    }

    /// Another consumer; the first one starts the session, unless the last ones have failed just now.
    pub(in crate::vendors::genesys) fn consume(self: &Arc<Self>, filter: Filter) -> Consumer {
        let mut state = self.state();
        let queue = Arc::new(Queue::new(filter, state.seq));
        state.last_queue += 1;
        let id = state.last_queue;
        state.queues.insert(id, Arc::clone(&queue));
        self.consumers.send_replace(state.queues.len());
        if let Some(failure) = state.failed_just_now() {
            queue.end(failure.clone());
        } else if state.begin() {
            self.lifecycle.tasks.spawn(Session::run(Arc::clone(self)));
        }
        Consumer {
            hub: Arc::clone(self),
            id,
            queue,
        }
    }

    /// A place among the sessions that begin at the same time: however many agents have to come
    /// back at once, the vendor meets so many of them at a time.
    pub(super) async fn may_begin(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed.
        Arc::clone(&self.beginnings).acquire_owned().await.ok()
    }

    pub(super) fn publish(&self, event: Event) {
        let mut state = self.state();
        state.seq += 1;
        let event = Arc::new(event);
        for queue in state.queues.values() {
            if queue.offer(state.seq, &event) {
                self.meters.overflow();
            }
        }
    }

    /// Events may have been lost: everybody needs a read.
    pub(super) fn gap(&self) {
        self.meters.gap();
        self.miss();
    }

    /// From here on nothing is missed unnoticed.
    pub(super) fn subscribed(&self) {
        self.miss();
        let mut state = self.state();
        (state.trouble, state.failures) = (None, 0);
        drop(state);
        self.standing.send_replace(Standing::Subscribed);
    }

    pub(super) fn unsubscribed(&self) {
        self.standing.send_if_modified(|standing| {
            let was = *standing == Standing::Subscribed;
            if was {
                *standing = Standing::Coming;
            }
            was
        });
    }

    pub(super) fn troubled(&self, error: Error) {
        self.state().trouble = Some(error);
        self.standing.send_replace(Standing::Troubled);
    }

    /// What it fails by to be subscribed, if it does.
    pub(super) fn trouble(&self) -> Option<Error> {
        self.state().trouble.clone()
    }

    pub(super) async fn until_subscribed(&self) {
        self.until(|standing| standing == Standing::Subscribed)
            .await;
    }

    /// Until it is subscribed, or has failed to be.
    pub(super) async fn until_tried(&self) {
        self.until(|standing| standing != Standing::Coming).await;
    }

    async fn until(&self, mut is_so: impl FnMut(Standing) -> bool) {
        let mut standing = self.standing.subscribe();
        // The sender lives as long as the hub.
        let _ = standing.wait_for(|standing| is_so(*standing)).await;
    }

    pub(super) fn is_subscribed(&self) -> bool {
        *self.standing.borrow() == Standing::Subscribed
    }

    /// Waits until there has been no consumer for a while.
    pub(super) async fn deserted(&self) {
        let mut consumers = self.consumers.subscribe();
        loop {
            let _ = consumers.wait_for(|number| *number == 0).await;
            let back = consumers.wait_for(|number| *number > 0);
            tokio::select! {
                biased;
                _ = back => {}
                // Nobody comes any more.
                () = self.lifecycle.closing.cancelled() => return,
                () = tokio::time::sleep(LINGER) => return,
            }
        }
    }

    /// The session is at its end, unless a consumer has come in the meantime.
    pub(super) fn may_stop(&self) -> bool {
        let mut state = self.state();
        if state.queues.is_empty() {
            state.running = false;
            self.unsubscribed();
        }
        !state.running
    }

    /// The session has failed, and all consumers with it. One that comes later starts another.
    pub(super) fn fail(&self, failure: &Failure) {
        self.meters.failure(&self.account);
        let mut state = self.state();
        state.running = false;
        state.failed = Some(failure.clone());
        state.failures += 1;
        self.standing.send_replace(Standing::Troubled);
        for queue in state.queues.values() {
            queue.end(failure.clone());
        }
    }

    /// The read under way, or a new one; from here on this consumer is a reader of it.
    pub(super) fn board(self: &Arc<Self>, consumer: u64) -> watch::Receiver<Course> {
        let state = &mut *self.state();
        let flight = match &mut state.flight {
            Some(flight) if !flight.has_landed() => flight,
            none => none.insert(Flight::take_off(Arc::clone(self), state.seq)),
        };
        flight.readers.insert(consumer);
        if let Some(queue) = state.queues.get(&consumer) {
            queue.catch_up(flight.begun);
        }
        flight.course()
    }

    /// An attempt of the read begins: whatever its readers missed until now it tells, and what comes from
    /// now on they are told after it.
    pub(super) fn begin_read(&self) -> Seq {
        let state = &mut *self.state();
        if let Some(flight) = &mut state.flight {
            flight.begun = state.seq;
            let readers = flight.readers.iter();
            for queue in readers.filter_map(|reader| state.queues.get(reader)) {
                queue.catch_up(state.seq);
            }
        }
        state.seq
    }

    /// Everybody needs a read, for a reason that has been counted.
    pub(super) fn miss(&self) {
        let mut state = self.state();
        state.seq += 1;
        for queue in state.queues.values() {
            queue.miss(state.seq);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Not after the first: what it failed by may be mended by now.
    fn failed_just_now(&self) -> Option<&Failure> {
        let just_now = self.begun?.elapsed() < LEAST_APART;
        self.failed
            .as_ref()
            .filter(|_| just_now && self.failures > 1)
    }

    /// Whether a session is to be started.
    fn begin(&mut self) -> bool {
        if std::mem::replace(&mut self.running, true) {
            return false;
        }
        self.begun = Some(Instant::now());
        (self.failed, self.trouble) = (None, None);
        true
    }
}

/// Somebody who wants the notifications; leaves when dropped.
pub(in crate::vendors::genesys) struct Consumer {
    hub: Arc<Hub>,
    id: u64,
    queue: Arc<Queue>,
}

impl Consumer {
    /// What is next in order. Nothing is lost when it is not waited for to its end.
    pub(in crate::vendors::genesys) async fn next(&self) -> Item {
        self.queue.next().await
    }

    /// The sessions as they were read after `missed`; what it tells is not told again, and what comes
    /// while it is read is told after it.
    pub(in crate::vendors::genesys) async fn snapshot(
        &self,
        missed: Seq,
        patience: Duration,
    ) -> Result<Arc<Snapshot>, Box<Failure>> {
        tokio::select! {
            biased;
            read = self.hub.snapshot(self.id, missed, patience) => read,
            failure = self.queue.ended() => Err(failure),
        }
    }

    /// All that was before is of no interest.
    pub(super) fn begin_here(&self) {
        self.queue.catch_up(Seq::MAX);
    }

    /// Whether this consumer wants to hear of a session.
    pub(in crate::vendors::genesys) fn wants(&self, session_id: &str) -> bool {
        self.queue.wants(session_id)
    }

    pub(in crate::vendors::genesys) fn delivered(&self, event: &Event) {
        self.hub.meters.delivered(event.received.elapsed());
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.queues.remove(&self.id);
        self.hub.consumers.send_replace(state.queues.len());
    }
}
