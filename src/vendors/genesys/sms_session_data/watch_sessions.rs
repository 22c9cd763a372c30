//! WatchSessions: a snapshot, then notifications, and a snapshot again whenever some were missed.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::OptionFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::write;
use crate::grpc::validate::Violations;
use crate::grpc::{Hold, status};
use crate::pb::sessions_snapshot::Reason;
use crate::pb::watch_sessions_response::Event as Body;
use crate::pb::{SessionsSnapshot, WatchSessionsResponse};
use crate::upstream::error::Failure;
use crate::vendors::genesys::notifications::{
    Consumer, Event, Filter, Item, OpenStream, PATIENCE, PATIENCE_AT_FIRST, Snapshot,
};

/// More than any agent has at a time.
const MOST_IDS: usize = 1024;

pub(super) fn check(session_ids: &[String], violations: &mut Violations) {
    if session_ids.len() > MOST_IDS {
        violations.check(false, "session_ids", "must be at most 1024");
        return;
    }
    for (index, id) in session_ids.iter().enumerate() {
        write::check_id(format_args!("session_ids[{index}]"), id, violations);
    }
}

/// The sessions that were asked for; none means all.
pub(super) fn filter(session_ids: Vec<String>) -> Filter {
    match session_ids.is_empty() {
        true => Filter::All,
        false => Filter::Sessions(session_ids.into_iter().collect()),
    }
}

/// One caller's watch.
pub(super) struct Watch {
    pub(super) consumer: Consumer,
    /// The caller's own.
    pub(super) deadline: Option<Instant>,
    pub(super) connection: Hold,
    pub(super) started: bool,
    /// What is given back with the stream's end.
    pub(super) _held: (OwnedSemaphorePermit, OpenStream),
}

pub(super) type Watched = BoxStream<'static, Result<WatchSessionsResponse, Status>>;

impl Watch {
    /// Ends with the first error. Asked for no more than the caller reads, so that one who does
    /// not read leaves its events in its queue.
    pub(super) fn into_stream(self) -> Watched {
        stream::unfold(Some(self), |watch| async {
            let mut watch = watch?;
            match watch.next().await {
                Ok(message) => Some((Ok(message), Some(watch))),
                Err(status) => Some((Err(status), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<WatchSessionsResponse, Status> {
        let connection = self.connection.clone();
        let deadline: OptionFuture<_> = self.deadline.map(sleep_until).into();
        tokio::select! {
            biased;
            () = connection.leaving() => Err(status::draining()),
            Some(()) = deadline => Err(status::stream_ended()),
            message = self.told() => message,
        }
    }

    async fn told(&mut self) -> Result<WatchSessionsResponse, Status> {
        match self.consumer.next().await {
            Item::Event(event) => Ok(self.notification(&event)),
            Item::Ended(failure) => Err(told_of(&failure)),
            Item::Missed(missed) => {
                let patience = match self.started {
                    false => PATIENCE_AT_FIRST,
                    true => PATIENCE,
                };
                match self.consumer.snapshot(missed, patience).await {
                    Ok(snapshot) => Ok(self.snapshot(&snapshot)),
                    Err(failure) => Err(told_of(&failure)),
                }
            }
        }
    }

    fn notification(&self, event: &Arc<Event>) -> WatchSessionsResponse {
        self.consumer.delivered(event);
        let body = Body::Notification(event.notification.clone());
        message(event.receive_time, body)
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> WatchSessionsResponse {
        let reason = match std::mem::replace(&mut self.started, true) {
            false => Reason::Started,
            true => Reason::Gap,
        };
        let all = snapshot.sessions.iter();
        let sessions = all.filter(|session| self.consumer.wants(&session.id));
        let body = Body::Snapshot(SessionsSnapshot {
            reason: reason.into(),
            sessions: sessions.cloned().collect(),
        });
        message(snapshot.receive_time, body)
    }
}

/// What was sent was for all who watch the account, and nothing for this call alone: so says its head.
fn told_of(failure: &Failure) -> Status {
    let sent = 0;
    let failure = failure.clone();
    Failure { sent, ..failure }.into()
}

fn message(received: SystemTime, event: Body) -> WatchSessionsResponse {
    WatchSessionsResponse {
        receive_time: Some(received.into()),
        event: Some(event),
    }
}
