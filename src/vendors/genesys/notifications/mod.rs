//! Notifications of the vendor: CometD long polling made into something that callers can rely on.
//!
//! ```text
//! bayeux    the messages, pure                     event     one notification, typed
//! session   an account's CometD session: the       feed      what each consumer is owed
//!           state machine that polls               snapshot  reads of the state after a gap
//! hub       the account: consumers on one side,    confirm   writes that return when they are
//!           the session on the other                         seen in place
//! ```
//!
//! One account is one CometD session, whoever listens. It begins with the first consumer, and
//! ends some time after the last. It never blocks on a consumer: each has a bounded queue, and
//! one that overflows is told that something was missed, just as all are when the session may
//! have missed something itself. A read of the sessions makes up for either.
//!
//! Nothing here logs the agent in to channels or out of them: an agent may have a desktop open.

mod bayeux;
pub(super) mod confirm;
mod event;
mod feed;
mod hub;
mod link;
mod meters;
mod session;
mod snapshot;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::Meter;
#[cfg(any(test, fuzzing))]
use prost::Message as _;
use tokio::sync::Semaphore;

pub(super) use self::event::Event;
pub(super) use self::feed::{Filter, Item};
pub(super) use self::hub::{Consumer, Hub};
pub(super) use self::link::CONNECT;
use self::link::Wire;
use self::meters::Meters;
pub(super) use self::meters::OpenStream;
pub(super) use self::snapshot::Snapshot;
use super::{Config, Genesys};
use crate::lifecycle::Lifecycle;
use crate::upstream::client::Client;

/// Reads an answer of the server as the session does.
#[cfg(any(test, fuzzing))]
pub(super) fn take_in(bytes: &[u8]) {
    let json = crate::upstream::lenient::lenient(bytes);
    let Ok(answer) = bayeux::read(&json) else {
        return;
    };
    let mut advice = bayeux::Advice::default();
    for channel in [bayeux::HANDSHAKE, bayeux::CONNECT, bayeux::SUBSCRIBE] {
        answer
            .replies(channel)
            .for_each(|reply| advice.follow(reply.advice));
    }
    for (channel, data) in answer.events() {
        if let Ok(Some(event)) = event::read(channel, data) {
            // Anything that is told must also fit into a message.
            assert!(event.size >= event.notification.encoded_len());
        }
    }
}

/// How long notifications, and the reads that belong to them, are tried to be had before a stream
/// is told: one that waits for its first message, and one that has had it.
pub(super) const PATIENCE_AT_FIRST: Duration = Duration::from_secs(10);
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// CometD sessions that log in, shake hands and subscribe at the same time.
const BEGINNINGS: usize = 64;

/// The notifications of all accounts.
#[derive(Clone)]
pub(super) struct Notifications {
    hubs: Arc<BTreeMap<String, Arc<Hub>>>,
}

impl Notifications {
    pub(super) fn new(
        config: &Config,
        client: &Client<Genesys>,
        meter: &Meter,
        lifecycle: &Lifecycle,
    ) -> Self {
        let meters = Meters::new(meter);
        let channels: Arc<[String]> = config.notifications.channels.as_slice().into();
        let beginnings = Arc::new(Semaphore::new(BEGINNINGS));
        let hub = |account: &String| {
            let link = Wire {
                client: client.clone(),
                account: account.clone(),
                path: config.notifications.path.clone(),
            };
            Hub::new(
                account.clone(),
                Arc::clone(&channels),
                Arc::new(link),
                meters.clone(),
                lifecycle.clone(),
                Arc::clone(&beginnings),
            )
        };
        let accounts = config.accounts.keys();
        let hubs = accounts.map(|account| (account.clone(), Arc::new(hub(account))));
        Notifications {
            hubs: Arc::new(hubs.collect()),
        }
    }

    /// `None` for an account that is not configured.
    pub(super) fn of(&self, account: &str) -> Option<&Arc<Hub>> {
        self.hubs.get(account)
    }
}
