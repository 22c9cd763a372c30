//! What an operator can see of the notifications.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

/// Instruments; cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::vendors::genesys) struct Meters {
    streams: UpDownCounter<i64>,
    sessions: UpDownCounter<i64>,
    reconnects: Counter<u64>,
    failures: Counter<u64>,
    gaps: Counter<u64>,
    slow: Counter<u64>,
    lag: Histogram<f64>,
    confirmations: Counter<u64>,
}

/// By what a write that was asked to be confirmed may be settled, or that it was not.
const HOW: [&str; 5] = ["notification", "read", "rejected", "absent", "unknown"];

/// Where one CometD session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Logging in, shaking hands, subscribing, or waiting to try again.
    Connecting,
    /// Notifications come.
    Subscribed,
}

impl Stage {
    fn label(self) -> KeyValue {
        let state = match self {
            Stage::Connecting => "connecting",
            Stage::Subscribed => "subscribed",
        };
        KeyValue::new("state", state)
    }
}

impl Meters {
    pub(in crate::vendors::genesys) fn new(meter: &Meter) -> Self {
        let meters = Meters {
            streams: meter
                .i64_up_down_counter("switchboard_watch_streams")
                .with_description("WatchSessions streams that are open.")
                .build(),
            sessions: meter
                .i64_up_down_counter("switchboard_notification_sessions")
                .with_description("CometD sessions, by where they stand.")
                .build(),
            reconnects: meter
                .u64_counter("switchboard_notification_reconnects")
                .with_description("Handshakes and connects that were made again, by why.")
                .build(),
            failures: meter
                .u64_counter("switchboard_notification_failures")
                .with_description("CometD sessions that were given up, by account.")
                .build(),
            gaps: meter
                .u64_counter("switchboard_notification_gaps")
                .with_description("Times that notifications of an account may have been lost.")
                .build(),
            slow: meter
                .u64_counter("switchboard_notification_overflows")
                .with_description("Times that a consumer was too slow and got a snapshot instead.")
                .build(),
            lag: meter
                .f64_histogram("switchboard_notification_delivery")
                .with_unit("s")
                .with_description("From a notification's arrival to its going out to a watcher.")
                .with_boundaries(vec![
                    0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
                ])
                .build(),
            confirmations: meter
                .u64_counter("switchboard_confirmations")
                .with_description("Writes that were asked to be confirmed, by how it was settled.")
                .build(),
        };
        // Series that are there from the start can be alerted on, and read 0 where nothing is.
        meters.streams.add(0, &[]);
        for stage in [Stage::Connecting, Stage::Subscribed] {
            meters.sessions.add(0, &[stage.label()]);
        }
        meters.gaps.add(0, &[]);
        meters.slow.add(0, &[]);
        for how in HOW {
            meters.confirmations.add(0, &[KeyValue::new("how", how)]);
        }
        meters
    }

    /// A stream is open until the guard goes.
    pub(in crate::vendors::genesys) fn stream(&self) -> OpenStream {
        self.streams.add(1, &[]);
        OpenStream(self.streams.clone())
    }

    pub(super) fn session(&self) -> AtStage {
        let at = AtStage {
            sessions: self.sessions.clone(),
            stage: Stage::Connecting,
        };
        at.count(1);
        at
    }

    pub(super) fn reconnect(&self, reason: &'static str) {
        self.reconnects.add(1, &[KeyValue::new("reason", reason)]);
    }

    /// There is such an account.
    pub(super) fn account(&self, account: &str) {
        self.failed(account, 0);
    }

    /// The session of an account was given up.
    pub(super) fn failure(&self, account: &str) {
        self.failed(account, 1);
    }

    fn failed(&self, account: &str, more: u64) {
        let account = KeyValue::new("account", account.to_owned());
        self.failures.add(more, &[account]);
    }

    pub(super) fn gap(&self) {
        self.gaps.add(1, &[]);
    }

    pub(super) fn overflow(&self) {
        self.slow.add(1, &[]);
    }

    pub(in crate::vendors::genesys) fn delivered(&self, lag: Duration) {
        self.lag.record(lag.as_secs_f64(), &[]);
    }

    pub(in crate::vendors::genesys) fn confirmation(&self, how: &'static str) {
        debug_assert!(HOW.contains(&how), "{how} is none of them");
        self.confirmations.add(1, &[KeyValue::new("how", how)]);
    }
}

/// Counts an open stream.
#[derive(Debug)]
pub(in crate::vendors::genesys) struct OpenStream(UpDownCounter<i64>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.add(-1, &[]);
    }
}

/// Counts a session at the stage where it is.
pub(super) struct AtStage {
    sessions: UpDownCounter<i64>,
    stage: Stage,
}

impl AtStage {
    pub(super) fn reach(&mut self, stage: Stage) {
        self.count(-1);
        self.stage = stage;
        self.count(1);
    }

    fn count(&self, change: i64) {
        self.sessions.add(change, &[self.stage.label()]);
    }
}

impl Drop for AtStage {
    fn drop(&mut self) {
        self.count(-1);
    }
}
