//! One client span for each request on the wire, by the OpenTelemetry HTTP conventions.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::StatusCode;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context as TraceContext, KeyValue, StringValue};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::error::Error;
use super::judge::by_status;
use super::observer::{Attempt, CANCELLED, Observer, Server};
use super::operation::{Call, Meta, Reply};
use super::progress::Progress;

/// Opens the spans of attempts, and tells the observer how each ended; the trace context goes out
/// with the request.
#[derive(Clone)]
pub(super) struct AttemptSpanLayer(Arc<Facts>);

struct Facts {
    vendor: &'static str,
    server: Server,
    observer: Arc<dyn Observer>,
    tracer: BoxedTracer,
}

#[derive(Clone)]
pub(super) struct AttemptSpan<S> {
    inner: S,
    facts: Arc<Facts>,
}

impl AttemptSpanLayer {
    pub(super) fn new(vendor: &'static str, server: Server, observer: Arc<dyn Observer>) -> Self {
        AttemptSpanLayer(Arc::new(Facts {
            vendor,
            server,
            observer,
            tracer: super::span::tracer(),
        }))
    }
}

impl<S> Layer<S> for AttemptSpanLayer {
    type Service = AttemptSpan<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptSpan {
            inner,
            facts: Arc::clone(&self.0),
        }
    }
}

impl<S> Service<Call> for AttemptSpan<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let facts = &self.facts;
        let before = call.progress.count_attempt();
        let repeat = (before > 0).then(|| call.progress.take_repeat()).flatten();
        if let Some(reason) = repeat {
            facts.observer.retry(facts.vendor, reason);
        }
        let span = facts.open(&call, before, repeat);
        facts.observer.inject(&span, call.request.headers_mut());
        let mut running = Running {
            facts: Arc::clone(facts),
            meta: call.meta,
            progress: call.progress.clone(),
            span: Some(span),
            deadline: call.deadline,
            start: Instant::now(),
        };
        // Not entered: nothing in there opens a span, and log lines belong to the call as a whole.
        let attempt = self.inner.call(call);
        Box::pin(async move {
            let result = attempt.await;
            match &result {
                Ok(reply) => running.end(Some(reply.status), unjudged_no(running.meta, reply)),
                Err(error) => running.end(error.status(), Some(error.label())),
            }
            result
        })
    }
}

impl Facts {
    fn open(&self, call: &Call, before: u32, repeat: Option<&'static str>) -> TraceContext {
        let parent = TraceContext::current();
        let template = self.server.template(call.meta);
        let name = [call.meta.method.as_str(), " ", template.as_str()].concat();
        let builder = self.tracer.span_builder(name).with_kind(SpanKind::Client);
        let context = parent.with_span(self.tracer.build_with_context(builder, &parent));
        if context.span().is_recording() {
            self.describe(call, template, &context);
            let span = context.span();
            if before > 0 {
                let before = i64::from(before);
                span.set_attribute(KeyValue::new("http.request.resend_count", before));
            }
            if let Some(reason) = repeat {
                span.set_attribute(KeyValue::new("switchboard.resend_reason", reason));
            }
        }
        context
    }

    fn describe(&self, call: &Call, template: StringValue, context: &TraceContext) {
        let Meta { method, name, .. } = call.meta;
        let span = context.span();
        span.set_attributes([
            KeyValue::new("http.request.method", method.to_string()),
            KeyValue::new("server.address", Arc::clone(&self.server.address)),
            KeyValue::new("server.port", i64::from(self.server.port)),
            // What the template's placeholders stand for is the caller's own.
            KeyValue::new("url.full", format!("{}{template}", self.server.base)),
            KeyValue::new("url.template", template),
            KeyValue::new("switchboard.vendor", self.vendor),
            KeyValue::new("switchboard.operation", *name),
        ]);
        if let Some(account) = call.progress.account() {
            span.set_attribute(KeyValue::new("switchboard.account", account));
        }
    }
}

/// An attempt under way. Ends once: with its result, or by being dropped.
struct Running {
    facts: Arc<Facts>,
    meta: &'static Meta,
    progress: Progress,
    /// None once it has ended.
    span: Option<TraceContext>,
    start: Instant,
    /// Of the call.
    deadline: Instant,
}

impl Running {
    fn end(&mut self, status: Option<StatusCode>, error: Option<&'static str>) {
        let Some(context) = self.span.take() else {
            return;
        };
        let attempt = Attempt {
            vendor: self.facts.vendor,
            meta: self.meta,
            server: &self.facts.server,
            status: status.map(|status| status.as_u16()),
            error,
            duration: self.start.elapsed(),
        };
        self.progress.attempted(attempt.status, attempt.duration);
        self.facts.observer.attempt(&attempt);
        let span = context.span();
        if span.is_recording() {
            if let Some(status) = attempt.status {
                let status = i64::from(status);
                span.set_attribute(KeyValue::new("http.response.status_code", status));
            }
            if let Some(error) = error {
                span.set_attribute(KeyValue::new("error.type", error));
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Timers fire late in a busy runtime, and then it is from above that the deadline ends it.
        let late = Instant::now() >= self.deadline;
        let error = if late {
            Error::Deadline.label()
        } else {
            CANCELLED
        };
        self.end(None, Some(error));
    }
}

/// Logins come back unjudged, so a no of theirs shows in the status alone.
fn unjudged_no(meta: &Meta, reply: &Reply) -> Option<&'static str> {
    let error = by_status(meta, reply, None, String::new())?;
    Some(error.label())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::poll;
    use tower::ServiceExt;

    use super::*;
    use crate::upstream::operation::Replay;
    use crate::upstream::testing::{Witness, call, reply, server, vendor};

    /// An outage of logins is one of the vendor's, and no refusal of credentials.
    #[tokio::test]
    async fn an_answer_that_nobody_judges_is_told_by_its_status() {
        for (status, told) in [
            (200, None),
            (302, Some("refused")),
            (400, Some("refused")),
            (401, Some("credential_refused")),
            (403, Some("refused")),
            (429, Some("throttled")),
            (500, Some("refused")),
            (502, Some("unavailable")),
            (503, Some("unavailable")),
        ] {
            let witness = Arc::new(Witness::default());
            let layer = AttemptSpanLayer::new("vendor", server(), Arc::clone(&witness) as _);
            let (vendor, _) = vendor(move |_, _| async move { Ok(reply(status, &[], "")) });
            let login = call(Replay::Safe, Duration::from_secs(5));
            layer.layer(vendor).oneshot(login).await.unwrap();
            assert_eq!(*witness.attempts.lock().unwrap(), [told], "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_dropped_was_late_or_not_waited_for() {
        let witness = Arc::new(Witness::default());
        let layer = AttemptSpanLayer::new("vendor", server(), Arc::clone(&witness) as _);
        let (vendor, _) = vendor(|_, _| std::future::pending());
        let service = layer.layer(vendor);
        let deadline = Duration::from_secs(5);
        for after in [deadline - Duration::from_millis(1), deadline] {
            let mut attempt = Box::pin(service.clone().oneshot(call(Replay::Safe, deadline)));
            assert!(poll!(&mut attempt).is_pending());
            tokio::time::advance(after).await;
            drop(attempt);
        }
        assert_eq!(
            *witness.attempts.lock().unwrap(),
            [Some(CANCELLED), Some("deadline")]
        );
    }
}
