//! What `/status.json` says, in the order in which it says it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::vendor::Vendor;
use crate::admin::AdminState;
use crate::lifecycle::Phase;
use crate::telemetry::Reading;
use crate::telemetry::recent::{FailedCall, REMEMBERED};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    now_ms: u64,
    uptime_s: f64,
    phase: &'static str,
    gateway: Gateway,
    vendors: Vec<Vendor>,
    failed_calls_kept: usize,
    failed_calls: Vec<Failed>,
}

/// None is what was not measured yet.
#[derive(Debug, Serialize)]
struct Gateway {
    in_flight: Option<f64>,
    shed_total: Option<f64>,
    connections: Option<f64>,
    connections_refused_total: Option<f64>,
    watch_streams: Option<f64>,
    notification_sessions: Sessions,
    notification_gaps_total: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Sessions {
    connecting: Option<f64>,
    subscribed: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Failed {
    at_ms: u64,
    method: String,
    code: &'static str,
    reason: Option<String>,
    vendor: Option<String>,
    vendor_status: Option<u16>,
    vendor_code: Option<String>,
    duration_ms: f64,
    attempts: Option<u64>,
    request_id: Option<String>,
    trace_id: Option<String>,
}

impl Report {
    pub(super) fn new(state: &AdminState) -> Self {
        let reading = state.metrics.read();
        let uptime = state.recent.elapsed();
        let vendors = state.recent.vendors().into_iter();
        let failed = state.recent.failed_calls().into_iter();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            now_ms: millis(SystemTime::now()),
            uptime_s: seconds(uptime),
            phase: match state.readiness.phase() {
                Phase::Starting => "starting",
                Phase::Ready => "ready",
                Phase::Draining => "draining",
            },
            gateway: Gateway::new(&reading),
            vendors: vendors
                .map(|vendor| Vendor::new(vendor, &reading, uptime))
                .collect(),
            failed_calls_kept: REMEMBERED,
            failed_calls: failed.map(Failed::from).collect(),
        }
    }
}

impl Gateway {
    fn new(reading: &Reading) -> Self {
        let value = |name| reading.value(name, &[]);
        let sessions =
            |state| reading.value("switchboard_notification_sessions", &[("state", state)]);
        Gateway {
            in_flight: value("switchboard_in_flight"),
            shed_total: value("switchboard_shed_total"),
            connections: value("switchboard_connections"),
            connections_refused_total: value("switchboard_connections_refused_total"),
            watch_streams: value("switchboard_watch_streams"),
            notification_sessions: Sessions {
                connecting: sessions("connecting"),
                subscribed: sessions("subscribed"),
            },
            notification_gaps_total: value("switchboard_notification_gaps_total"),
        }
    }
}

impl From<FailedCall> for Failed {
    fn from(call: FailedCall) -> Self {
        Failed {
            at_ms: millis(call.at),
            method: call.method.to_string(),
            code: call.code,
            reason: call.details.reason,
            vendor: call.details.vendor,
            vendor_status: call.details.vendor_status,
            vendor_code: call.details.vendor_code,
            duration_ms: rounded(call.took.as_secs_f64() * 1e3),
            attempts: call.attempts,
            request_id: call.request_id,
            trace_id: call.trace_id,
        }
    }
}

pub(super) fn seconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64())
}

/// To a tenth: nobody reads more.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
