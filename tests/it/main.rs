//! One binary for all promises that are proven over real sockets: a real tonic client, the
//! gateway in this process, and the sandbox or a hand-made server in the vendor's place.
//!
//! One file per promise.

#![allow(
    unreachable_pub,
    reason = "`pub` in a test says that other files use it"
)]
#![allow(clippy::unwrap_used, reason = "clippy knows only the tests themselves")]

mod admin;
mod answers;
mod audit;
mod breaker;
mod burst;
mod caller_matrix;
mod commands;
mod confirmation;
mod connections;
mod dead_collector;
mod deadlines;
mod discovery;
mod documents;
mod drain;
mod errors;
mod hostile_callers;
mod injection;
mod lapse;
mod leaks;
mod metadata;
mod notifications_faults;
mod notifications_gaps;
mod once;
mod otlp;
mod outage;
mod privacy;
mod request_id;
mod request_id_redis;
mod retries;
mod samples;
mod service_config;
mod status_page;
mod sums;
mod support;
mod telemetry;
mod tls_rotation;
mod tokens;
mod traces;
mod validation;
mod vendor_faults;
mod vendor_http2;
mod vendor_tls;
mod watch_sessions;
