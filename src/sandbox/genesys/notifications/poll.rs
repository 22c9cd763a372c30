//! A connect that is held open until there is something to tell, and a write's answer that waits for its telling.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::bayeux::Message;
use super::wake::Wake;
use crate::sandbox::genesys::Genesys;
use crate::sandbox::http::page;

/// A subscriber that never fetches must not keep a write's answer for ever.
const MOST_KEPT_BACK: Duration = Duration::from_secs(2);
/// From handing an answer over to the bytes being on their way.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// A held connect.
#[derive(Debug)]
pub(in crate::sandbox::genesys) struct Poll {
    pub(super) client: String,
    pub(super) connect: u64,
    pub(super) message: Message,
    pub(super) deadline: Instant,
    pub(super) wake: Arc<Wake>,
}

/// What a look at the client of a held connect brought.
pub(in crate::sandbox::genesys) enum Look {
    Wait(Instant),
    Answer(Vec<Value>),
    /// The node is gone, and only the balancer is left to answer.
    NodeLost,
}

/// Whether the notification of a write has reached its subscribers.
#[derive(Debug)]
pub(in crate::sandbox::genesys) struct Receipt(pub(super) mpsc::Receiver<()>);

impl Receipt {
    pub(in crate::sandbox::genesys) async fn fetched(mut self) {
        // Nothing is ever sent: the channel ends when the last undelivered copy is gone.
        let _ = timeout(MOST_KEPT_BACK, self.0.recv()).await;
        sleep(ON_ITS_WAY).await;
    }
}

impl Genesys {
    /// `head` is the answer but for its body. No lock is held while it waits, and a client that leaves ends it.
    pub(in crate::sandbox::genesys) async fn hold(
        &self,
        head: Response<Bytes>,
        poll: Poll,
    ) -> Response<Bytes> {
        let held = Held {
            genesys: self,
            poll,
        };
        loop {
            let changed = held.poll.wake.notify.notified();
            tokio::pin!(changed);
            // Before the look: a change between the two must not be missed.
            changed.as_mut().enable();
            let look = self.lock().comet.look(&held.poll);
            let until = match look {
                Look::Wait(until) => until,
                Look::Answer(body) => return head.map(|_| Value::from(body).to_string().into()),
                Look::NodeLost => return page(StatusCode::BAD_GATEWAY),
            };
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

/// Counts as outstanding until it is dropped, by an answer or because its connection ended.
struct Held<'a> {
    genesys: &'a Genesys,
    poll: Poll,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A second panic while one is under way would abort the process.
        if let Ok(mut state) = self.genesys.state.lock() {
            state.comet.release(&self.poll);
        }
    }
}
