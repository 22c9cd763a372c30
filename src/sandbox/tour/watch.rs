//! The tour watches the sessions while it writes, to show the notification of each write.

use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::stops::shown;
use crate::pb::sms_session_data_client::SmsSessionDataClient;
use crate::pb::watch_sessions_response::Event;
use crate::pb::{WatchSessionsRequest, WatchSessionsResponse};
use crate::sandbox::journal::Entry;

/// On loopback it takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open stream that has told its snapshot.
pub(super) struct Watch(Streaming<WatchSessionsResponse>);

impl Watch {
    pub(super) async fn open(channel: Channel) -> Result<Self, Status> {
        let mut client = SmsSessionDataClient::new(channel);
        let request = WatchSessionsRequest::default();
        let mut watch = Watch(client.watch_sessions(request).await?.into_inner());
        match watch.next().await? {
            Event::Snapshot(_) => Ok(watch),
            Event::Notification(_) => Err(Status::data_loss("no snapshot at the beginning")),
        }
    }

    /// The next notification as Protobuf's JSON.
    pub(super) async fn notification(&mut self) -> Result<Value, Status> {
        match self.next().await? {
            Event::Notification(told) => Ok(shown("SessionNotification", &told)),
            Event::Snapshot(_) => Err(Status::data_loss("a gap, where nothing was lost")),
        }
    }

    async fn next(&mut self) -> Result<Event, Status> {
        let message = timeout(PATIENCE, self.0.message()).await;
        let late = |_| Status::deadline_exceeded("nothing came");
        let message: Option<WatchSessionsResponse> = message.map_err(late)??;
        let event = message.and_then(|message| message.event);
        event.ok_or_else(|| Status::data_loss("the stream ended"))
    }
}

/// The newest event that CometD told since, as it was on the wire.
pub(super) fn on_the_wire(entries: &[Entry]) -> Option<Value> {
    let answers = entries.iter().filter(|entry| entry.is_notification);
    let messages = answers.filter_map(|entry| serde_json::from_slice(&entry.response_body).ok());
    let events = messages.flat_map(|body: Vec<Value>| body);
    events
        .filter(|message| message.get("data").is_some())
        .last()
}
