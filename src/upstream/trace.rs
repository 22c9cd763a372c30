//! The spans of a call and of each of its attempts.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

use super::error::Error;
use super::observer::{Attempt, Observer, Server};
use super::operation::{Call, Reply};

/// One internal span around everything that a call to a vendor takes.
#[derive(Debug, Clone)]
pub(super) struct CallSpanLayer {
    pub(super) vendor: &'static str,
    pub(super) account: Arc<str>,
}

#[derive(Debug, Clone)]
pub(super) struct CallSpan<S> {
    inner: S,
    facts: CallSpanLayer,
}

impl<S> Layer<S> for CallSpanLayer {
    type Service = CallSpan<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallSpan {
            inner,
            facts: self.clone(),
        }
    }
}

impl<S> Service<Call> for CallSpan<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = tracing::instrument::Instrumented<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let span = tracing::info_span!(
            "vendor call",
            otel.name = call.meta.name,
            vendor = self.facts.vendor,
            account = &*self.facts.account,
        );
        let travel = span.in_scope(|| self.inner.call(call));
        travel.instrument(span)
    }
}

/// One client span for each request on the wire, by the OpenTelemetry HTTP conventions; the
/// trace context goes out with it.
#[derive(Clone)]
pub(super) struct AttemptSpanLayer {
    pub(super) vendor: &'static str,
    pub(super) server: Arc<Server>,
    pub(super) observer: Arc<dyn Observer>,
}

#[derive(Clone)]
pub(super) struct AttemptSpan<S> {
    inner: S,
    facts: AttemptSpanLayer,
}

impl<S> Layer<S> for AttemptSpanLayer {
    type Service = AttemptSpan<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptSpan {
            inner,
            facts: self.clone(),
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
        let facts = self.facts.clone();
        let meta = call.meta;
        let span = facts.span(&call);
        span.in_scope(|| facts.observer.inject(call.request.headers_mut()));
        let start = Instant::now();
        let attempt = span.in_scope(|| self.inner.call(call));
        let ended = span.clone();
        Box::pin(
            async move {
                let result = attempt.await;
                let status = match &result {
                    Ok(reply) => Some(reply.status),
                    Err(error) => error.status(),
                };
                let attempt = Attempt {
                    vendor: facts.vendor,
                    meta,
                    server: &facts.server,
                    status: status.map(|status| status.as_u16()),
                    error: match &result {
                        Ok(reply) => unjudged_no(reply),
                        Err(error) => Some(error.label()),
                    },
                    duration: start.elapsed(),
                };
                record(&ended, &attempt);
                facts.observer.attempt(&attempt);
                result
            }
            .instrument(span),
        )
    }
}

impl AttemptSpanLayer {
    fn span(&self, call: &Call) -> Span {
        let before = call.progress.count_attempt();
        let span = tracing::info_span!(
            "attempt",
            otel.name = format_args!("{} {}", call.meta.method, call.meta.template),
            otel.kind = "client",
            otel.status_code = field::Empty,
            http.request.method = call.meta.method.as_str(),
            http.response.status_code = field::Empty,
            http.request.resend_count = field::Empty,
            server.address = self.server.address.as_str(),
            server.port = self.server.port,
            url.template = call.meta.template,
            url.full = format_args!("{}{}", self.server.base, call.meta.template),
            error.type = field::Empty,
        );
        if before > 0 {
            span.record("http.request.resend_count", before);
        }
        span
    }
}

/// Logins come back unjudged, so a no of theirs shows in the status alone.
fn unjudged_no(reply: &Reply) -> Option<&'static str> {
    (!reply.status.is_success()).then_some("refused")
}

fn record(span: &Span, attempt: &Attempt<'_>) {
    if let Some(status) = attempt.status {
        span.record("http.response.status_code", status);
    }
    if let Some(error) = attempt.error {
        span.record("error.type", error);
        span.record("otel.status_code", "ERROR");
    }
}
