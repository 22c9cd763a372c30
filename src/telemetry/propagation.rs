//! W3C trace context in and out of HTTP headers.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, global};

struct Incoming<'a>(&'a HeaderMap);

struct Outgoing<'a>(&'a mut HeaderMap);

/// The caller's span, if the headers name one.
pub(super) fn parent(headers: &HeaderMap) -> Option<Context> {
    // From an empty context: what this thread happens to have open is no parent.
    let context = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &Incoming(headers))
    });
    let known = context.span().span_context().is_valid();
    known.then_some(context)
}

/// Writes the span that is entered as `traceparent` and `tracestate`; nothing
/// where there is none.
pub fn inject(headers: &mut HeaderMap) {
    // Not by `tracing::Span::current()`: that may be one which is not recorded,
    // while the one around it is.
    Context::map_current(|context| {
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(context, &mut Outgoing(headers));
        });
    });
}

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate is legal and says nothing.
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(key.as_bytes()),
            HeaderValue::try_from(value),
        ) {
            self.0.insert(name, value);
        }
    }
}
