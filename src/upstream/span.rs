//! Spans within a call that are no requests: waiting for a login, for a confirmation.

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};

/// Who opens spans, in the whole process.
const SCOPE: &str = "switchboard";

pub(super) fn tracer() -> BoxedTracer {
    global::tracer(SCOPE)
}

/// Runs a piece of work within a span of its own, below the one that is current now.
pub fn within<F: Future>(
    name: &'static str,
    attributes: impl IntoIterator<Item = KeyValue>,
    work: F,
) -> impl Future<Output = F::Output> {
    let tracer = tracer();
    let parent = Context::current();
    let span = tracer.build_with_context(tracer.span_builder(name), &parent);
    let context = parent.with_span(span);
    if context.span().is_recording() {
        context.span().set_attributes(attributes);
    }
    async move {
        let output = work.with_context(context.clone()).await;
        context.span().end();
        output
    }
}

/// What has turned out about the work whose span is current.
pub fn found(attribute: KeyValue) {
    Context::map_current(|context| context.span().set_attribute(attribute));
}
