//! One call from its first byte to its status.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, Response};
use opentelemetry::metrics::Histogram;
use opentelemetry::trace::{Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use tokio::time::Instant;

use super::Code;
use super::costs::Notes;
use crate::telemetry::recent::{Details, FailedCall, Recent};

/// What a stream that had begun ends with when nothing failed: it was asked to go on elsewhere, or
/// its caller's own deadline came.
const MEANT_ENDS: [&str; 2] = ["GATEWAY_DRAINING", "DEADLINE"];

/// Ends once, by [`end`](Self::end) or, as cancelled, by being dropped.
#[derive(Debug)]
pub(super) struct Call {
    method: Arc<str>,
    /// None once the call has ended, so that nothing is recorded twice.
    span: Option<Context>,
    started: Instant,
    duration: Histogram<f64>,
    recent: Recent,
    notes: Notes,
    /// A message has gone out.
    begun: bool,
}

impl Call {
    pub(super) fn new(
        method: Arc<str>,
        span: Context,
        duration: Histogram<f64>,
        recent: Recent,
    ) -> Self {
        Self {
            method,
            span: Some(span),
            started: Instant::now(),
            duration,
            recent,
            notes: Notes::default(),
            begun: false,
        }
    }

    pub(super) fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// The span as long as the call goes on, and none after.
    pub(super) fn span(&self) -> Option<Context> {
        self.span.clone()
    }

    /// The headers are there. An answer without a body has its status in them.
    pub(super) fn answered<B>(&mut self, response: &Response<B>) {
        let Some(code) = Code::of(response.headers()) else {
            return;
        };
        let known = response.extensions().get::<Details>().cloned();
        let details = known.unwrap_or_else(|| details(code, response.headers()));
        self.end_with(code, details, false);
    }

    /// A message goes out.
    pub(super) fn told(&mut self) {
        self.begun = true;
    }

    /// The last frame of the answer. An error after a message is the end of a stream.
    pub(super) fn trailed(&mut self, trailers: &HeaderMap) {
        let code = Code::of(trailers).unwrap_or(Code::UNKNOWN);
        let details = details(code, trailers);
        let reason = details.reason.as_deref();
        let meant = self.begun && reason.is_some_and(|reason| MEANT_ENDS.contains(&reason));
        self.end_with(code, details, meant);
    }

    /// It ends without a status of its own.
    pub(super) fn end(&mut self, code: Code) {
        self.end_with(code, Details::default(), false);
    }

    /// `meant`: an end that is no failure, whatever its code.
    fn end_with(&mut self, code: Code, details: Details, meant: bool) {
        let Some(context) = self.span.take() else {
            return;
        };
        let took = self.started.elapsed();
        let elapsed = took.as_secs_f64();
        let failed = code.is_failure() && !meant;
        self.measure(code, failed, elapsed);
        // Entered for the ids of the line.
        let entered = context.clone().attach();
        self.log(code, elapsed, details.reason.as_deref());
        drop(entered);
        self.mark(&context, code, failed, details.reason.as_deref());
        if !meant && !matches!(code, Code::OK | Code::CANCELLED) {
            self.remember(&context, code, took, details);
        }
        context.span().end();
    }

    /// Callers that hang up are left out: it is how streams end, and they would crowd the rest
    /// out.
    fn remember(&self, context: &Context, code: Code, took: Duration, details: Details) {
        let noted = self.notes.get();
        let request_id = noted.and_then(|noted| noted.request_id.to_str().ok());
        self.recent.failed(FailedCall {
            at: SystemTime::now(),
            method: Arc::clone(&self.method),
            code: code.name(),
            took,
            details,
            request_id: request_id.map(str::to_owned),
            attempts: noted.map(|noted| u64::from(noted.costs.attempts())),
            trace_id: Some(context.span().span_context().trace_id().to_string()),
        });
    }

    fn measure(&self, code: Code, failed: bool, elapsed: f64) {
        let status = code.name();
        let attributes = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", Arc::clone(&self.method)),
            KeyValue::new("rpc.status_code", status),
            KeyValue::new("error.type", status),
        ];
        let count = if failed { 4 } else { 3 };
        self.duration.record(elapsed, &attributes[..count]);
    }

    /// One line; probes come every few seconds for ever, so theirs are for debugging.
    fn log(&self, code: Code, elapsed: f64, reason: Option<&str>) {
        let noted = self.notes.get();
        let account = noted.and_then(|noted| noted.costs.account());
        let vendor_time = noted.map(|noted| noted.costs.vendor_time().as_secs_f64());
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: "switchboard::access",
                    $level,
                    method = &*self.method,
                    caller = self.notes.caller(),
                    account = account.as_deref(),
                    code = code.name(),
                    reason,
                    attempts = noted.map(|noted| u64::from(noted.costs.attempts())),
                    vendor_status =
                        noted.and_then(|noted| noted.costs.vendor_status()).map(u64::from),
                    duration_ms = milliseconds(elapsed),
                    vendor_ms = vendor_time.map(milliseconds),
                    request_id = noted.and_then(|noted| noted.request_id.to_str().ok()),
                    "call"
                )
            };
        }
        if self.method.starts_with("grpc.health.") {
            line!(tracing::Level::DEBUG);
        } else {
            line!(tracing::Level::INFO);
        }
    }

    fn mark(&self, context: &Context, code: Code, failed: bool, reason: Option<&str>) {
        let span = context.span();
        if !span.is_recording() {
            return;
        }
        span.set_attribute(KeyValue::new("rpc.status_code", code.name()));
        if failed {
            span.set_attribute(KeyValue::new("error.type", code.name()));
            span.set_status(Status::error(""));
        }
        if let Some(reason) = reason {
            span.set_attribute(KeyValue::new("switchboard.reason", reason.to_owned()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::CANCELLED);
    }
}

/// Wherever the status came from, its details are the one place that has them.
fn details(code: Code, status: &HeaderMap) -> Details {
    match code {
        Code::OK => Details::default(),
        _ => Details::of(status),
    }
}

/// To a microsecond.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}
