//! A caller who watches sessions, and what the vendor's notifications are set to do.

use std::time::Duration;

use switchboard::pb::sessions_snapshot::Reason;
use switchboard::pb::watch_sessions_response::Event;
use switchboard::pb::{
    SessionNotification, SessionsSnapshot, SmsSession, WatchSessionsRequest, WatchSessionsResponse,
};
use switchboard::sandbox::genesys::{Notification, NotificationPlan, NotificationRule};
use tonic::{Status, Streaming};

use super::Gateway;

/// Nothing here takes a fraction of it; without it a lost message would hang the test.
const PATIENCE: Duration = Duration::from_secs(30);

/// Polls are short and forgotten clients go soon, so that many of them fit into a test.
pub fn brisk() -> NotificationPlan {
    NotificationPlan {
        timeout_ms: 300,
        max_interval_ms: 5_000,
        ..NotificationPlan::default()
    }
}

/// The same without the acknowledge extension: an answer that is lost takes its events along.
pub fn forgetful() -> NotificationPlan {
    NotificationPlan {
        ack: false,
        ..brisk()
    }
}

/// How the next notification of a write goes.
pub fn next_notification(gateway: &Gateway, notification: Notification) {
    let rule = NotificationRule::new(notification).times(1);
    let genesys = gateway.sandbox.genesys();
    genesys.push_notification_rule(rule).unwrap();
}

pub struct Watcher(Streaming<WatchSessionsResponse>);

impl Watcher {
    pub async fn open(gateway: &Gateway, account: &str, session_ids: &[&str]) -> Watcher {
        let mut sms = gateway.sms();
        let stream = sms.watch_sessions(request(account, session_ids)).await;
        Watcher::of(stream.expect("a stream").into_inner())
    }

    pub fn of(stream: Streaming<WatchSessionsResponse>) -> Watcher {
        Watcher(stream)
    }

    /// One that has read its first message.
    pub async fn started(gateway: &Gateway, account: &str, session_ids: &[&str]) -> Watcher {
        let mut watcher = Watcher::open(gateway, account, session_ids).await;
        assert_eq!(watcher.snapshot().await.reason(), Reason::Started);
        watcher
    }

    /// The next message, however long it takes; a stream ends with an error only.
    pub async fn whenever(&mut self) -> Result<Event, Status> {
        let message = self.0.message().await?.expect("an error at the end");
        Ok(message.event.expect("an event"))
    }

    /// The next message; `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<Event>, Status> {
        let message = tokio::time::timeout(PATIENCE, self.0.message()).await;
        let message = message.expect("a message or an end within the patience")?;
        Ok(message.map(|message| {
            assert!(message.receive_time.is_some(), "no receive_time");
            message.event.expect("an event")
        }))
    }

    pub async fn snapshot(&mut self) -> SessionsSnapshot {
        match self.next().await {
            Ok(Some(Event::Snapshot(snapshot))) => snapshot,
            other => panic!("not a snapshot: {other:?}"),
        }
    }

    pub async fn gap(&mut self) -> SessionsSnapshot {
        let snapshot = self.snapshot().await;
        assert_eq!(snapshot.reason(), Reason::Gap);
        snapshot
    }

    pub async fn notification(&mut self) -> SessionNotification {
        match self.next().await {
            Ok(Some(Event::Notification(notification))) => notification,
            other => panic!("not a notification: {other:?}"),
        }
    }

    /// The error that the stream ends with; whatever comes before it is passed over.
    pub async fn end(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without an error"),
                Err(status) => return status,
            }
        }
    }
}

pub fn request(account: &str, session_ids: &[&str]) -> WatchSessionsRequest {
    WatchSessionsRequest {
        account: account.to_owned(),
        session_ids: session_ids.iter().map(|id| (*id).to_owned()).collect(),
    }
}

/// The session of this id in a snapshot.
pub fn session<'a>(snapshot: &'a SessionsSnapshot, id: &str) -> &'a SmsSession {
    let mut sessions = snapshot.sessions.iter();
    sessions.find(|session| session.id == id).expect(id)
}

/// A value of a session's user data, as text.
pub fn value(session: &SmsSession, key: &str) -> Option<String> {
    use prost_types::value::Kind;
    match &session.user_data.as_ref()?.fields.get(key)?.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        other => Some(format!("{other:?}")),
    }
}

/// The same of the session that a notification is about.
pub fn told(notification: &SessionNotification, key: &str) -> Option<String> {
    value(notification.session.as_ref()?, key)
}
