//! W3C trace context in and out of HTTP headers. Baggage is neither read nor sent on: what callers
//! tell each other is none of a vendor's business.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

const TRACEPARENT: HeaderName = HeaderName::from_static(PARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(STATE);

/// `00-`, a trace id, a span id and flags, in hexadecimal digits with hyphens between them.
const TRACEPARENT_LENGTH: usize = 55;

/// The specification's. One that says more is passed on by nobody.
const MOST_STATES: usize = 32;

/// What the headers say, for the library to read.
struct Incoming<'a> {
    parent: &'a str,
    state: String,
}

/// The caller's span, if the headers name one.
pub(super) fn parent(headers: &HeaderMap) -> Option<Context> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    // Two would contradict each other.
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return None;
    };
    let incoming = Incoming {
        parent: parent.to_str().ok()?,
        state: state(headers).unwrap_or_default(),
    };
    // From an empty context: what this thread happens to have open is no parent.
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &incoming);
    let known = context.span().span_context().is_valid();
    known.then_some(context)
}

/// All that the headers say of it: they may be several, and are one list all the same.
fn state(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(TRACESTATE).iter();
    let lines: Vec<_> = lines
        .map(|line| line.to_str().ok())
        .collect::<Option<_>>()?;
    let state = lines.join(",");
    (state.split(',').count() <= MOST_STATES).then_some(state)
}

/// Writes the span of a context as `traceparent` and `tracestate`; nothing where there is none.
///
/// By hand, as the library's way through format strings costs ten times as much on every request.
pub fn inject(context: &Context, headers: &mut HeaderMap) {
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return;
    }
    let mut text = Vec::with_capacity(TRACEPARENT_LENGTH);
    text.extend_from_slice(b"00-");
    text.extend(hex(&span.trace_id().to_bytes()));
    text.push(b'-');
    text.extend(hex(&span.span_id().to_bytes()));
    text.push(b'-');
    text.extend(hex(&[span.trace_flags().to_u8() & 1]));
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(text));
    headers.insert(TRACEPARENT, value.expect("hexadecimal digits and hyphens"));
    let state = span.trace_state().header();
    if let Some(state) = HeaderValue::try_from(state)
        .ok()
        .filter(|state| !state.is_empty())
    {
        headers.insert(TRACESTATE, state);
    }
}

/// The lower-case hexadecimal digits of an id.
pub(super) fn hex(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS[usize::from(value)];
    bytes
        .iter()
        .flat_map(move |byte| [digit(byte >> 4), digit(byte & 15)])
}

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            PARENT => Some(self.parent),
            STATE => Some(&*self.state).filter(|state| !state.is_empty()),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT, STATE]
    }
}
