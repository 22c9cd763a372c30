//! One call from its first byte to its status.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use tokio::time::Instant;
use tracing::Span;

use super::Code;
use crate::telemetry::logs;
use crate::telemetry::recent::{Details, FailedCall, Recent};

/// Ends once, by [`end`](Self::end) or, as cancelled, by being dropped.
#[derive(Debug)]
pub(super) struct Call {
    method: Arc<str>,
    /// None once the call has ended, so that nothing is recorded twice.
    span: Option<Span>,
    started: Instant,
    duration: Histogram<f64>,
    recent: Recent,
    request_id: Option<HeaderValue>,
    attempts: Option<HeaderValue>,
}

impl Call {
    pub(super) fn new(
        method: Arc<str>,
        span: Span,
        duration: Histogram<f64>,
        recent: Recent,
    ) -> Self {
        Self {
            method,
            span: Some(span),
            started: Instant::now(),
            duration,
            recent,
            request_id: None,
            attempts: None,
        }
    }

    /// The span as long as the call goes on, and none after.
    pub(super) fn span(&self) -> Span {
        self.span.clone().unwrap_or_else(Span::none)
    }

    /// The headers are there. An answer without a body has its status in them.
    pub(super) fn answered(&mut self, headers: &HeaderMap) {
        self.request_id = headers.get("x-request-id").cloned();
        self.attempts = headers.get("x-switchboard-attempts").cloned();
        if let Some(code) = Code::of(headers) {
            self.end(code, Some(headers));
        }
    }

    /// `status` are the headers or trailers that it came in, if it did.
    pub(super) fn end(&mut self, code: Code, status: Option<&HeaderMap>) {
        let Some(span) = self.span.take() else {
            return;
        };
        let took = self.started.elapsed();
        let elapsed = took.as_secs_f64();
        self.measure(code, elapsed);
        mark(&span, code);
        span.in_scope(|| {
            self.log(code, elapsed);
            if !matches!(code, Code::OK | Code::CANCELLED) {
                self.remember(code, took, status);
            }
        });
    }

    /// Callers that hang up are left out: it is how streams end, and they would crowd the rest
    /// out.
    fn remember(&self, code: Code, took: Duration, status: Option<&HeaderMap>) {
        self.recent.failed(FailedCall {
            at: SystemTime::now(),
            method: Arc::clone(&self.method),
            code: code.name(),
            took,
            details: status.map(Details::of).unwrap_or_default(),
            request_id: text(self.request_id.as_ref()).map(str::to_owned),
            attempts: text(self.attempts.as_ref()).and_then(|n| n.parse().ok()),
            trace_id: logs::current_trace_id(),
        });
    }

    fn measure(&self, code: Code, elapsed: f64) {
        let status = code.name();
        let attributes = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", Arc::clone(&self.method)),
            KeyValue::new("rpc.status_code", status),
            KeyValue::new("error.type", status),
        ];
        let count = if code.is_failure() { 4 } else { 3 };
        self.duration.record(elapsed, &attributes[..count]);
    }

    /// One line; probes come every few seconds for ever, so theirs are for debugging.
    fn log(&self, code: Code, elapsed: f64) {
        macro_rules! line {
            ($level:expr) => {
                tracing::event!(
                    target: "switchboard::access",
                    $level,
                    method = &*self.method,
                    code = code.name(),
                    duration_ms = (elapsed * 1e6).round() / 1e3,
                    request_id = text(self.request_id.as_ref()),
                    attempts = text(self.attempts.as_ref()).and_then(|n| n.parse::<u64>().ok()),
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
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::CANCELLED, None);
    }
}

fn mark(span: &Span, code: Code) {
    let status = code.name();
    if code.is_failure() {
        tracing::record_all!(
            span,
            rpc.status_code = status,
            error.type = status,
            otel.status_code = "ERROR"
        );
    } else {
        span.record("rpc.status_code", status);
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value.and_then(|value| value.to_str().ok())
}
