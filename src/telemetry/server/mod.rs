//! The server layer: one span, one measurement and one log line for each call
//! that comes in, by the RPC semantic conventions of OpenTelemetry.
//!
//! A call ends with its status, wherever that comes: in the headers of an answer
//! without a body, in the trailers after the last message, or never, when the
//! caller hangs up. Headers are read by name; none is copied wholesale.

mod body;
mod call;
mod code;
mod costs;

pub use body::Observed;
pub use code::Code;
pub use costs::{ANONYMOUS, Costs, Notes};

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry::trace::{
    FutureExt as _, SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context as TraceContext, KeyValue, global};
use tower::{Layer, Service};

use self::call::Call;
use super::recent::Recent;
use super::{metrics, propagation};

/// The method of a call to something that we do not have. Anybody can make up
/// names; they would fill the metrics without bound.
pub const OTHER: &str = "_OTHER";

/// Puts [`ServerTelemetry`] around a service.
#[derive(Clone, Debug)]
pub struct ServerTelemetryLayer {
    shared: Arc<Shared>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct ServerTelemetry<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    methods: HashSet<Arc<str>>,
    other: Arc<str>,
    duration: Histogram<f64>,
    recent: Recent,
    tracer: BoxedTracer,
}

impl ServerTelemetryLayer {
    /// `methods` are the full names of all that is registered, such as
    /// `grpc.health.v1.Health/Check`. Calls that fail are told to `recent`.
    pub fn new<M>(meter: &Meter, methods: M, recent: Recent) -> Self
    where
        M: IntoIterator<Item: Into<Arc<str>>>,
    {
        let shared = Shared {
            methods: methods.into_iter().map(Into::into).collect(),
            other: OTHER.into(),
            duration: metrics::duration(
                meter,
                "rpc.server.call.duration",
                "Duration of incoming calls.",
            ),
            recent,
            tracer: global::tracer(super::NAME),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl<S> Layer<S> for ServerTelemetryLayer {
    type Service = ServerTelemetry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerTelemetry {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for ServerTelemetry<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    S::Future: Send + 'static,
    ResB: Body + Unpin,
{
    type Response = Response<Observed<ResB>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqB>) -> Self::Future {
        let (mut call, span) = self.shared.open(&request);
        request.extensions_mut().insert(call.notes());
        let entered = span.clone().attach();
        let answer = self.inner.call(request).with_context(span);
        drop(entered);
        Box::pin(async move {
            // A service of tonic never fails: it answers with a status.
            let response = answer.await.inspect_err(|_| call.end(Code::INTERNAL))?;
            call.answered(&response);
            Ok(response.map(|body| Observed::new(body, call)))
        })
    }
}

impl Shared {
    fn open<B>(&self, request: &Request<B>) -> (Call, TraceContext) {
        let path = request.uri().path();
        let method = path
            .strip_prefix('/')
            .and_then(|path| self.methods.get(path));
        // The conventions name a span after the system where the method says nothing.
        let name = method.map_or("grpc", |method| method);
        let method = method.unwrap_or(&self.other);

        let parent = propagation::parent(request.headers()).unwrap_or_default();
        let builder = self.tracer.span_builder(name.to_owned());
        let builder = builder.with_kind(SpanKind::Server);
        let span = self.tracer.build_with_context(builder, &parent);
        let mut context = parent.with_span(span);
        if !context.span().span_context().is_valid() {
            // Nobody records spans, and the caller has none: log lines and the vendor get a trace.
            context = parent.with_remote_span_context(unrecorded());
        } else if context.span().is_recording() {
            context.span().set_attributes([
                KeyValue::new("rpc.system.name", "grpc"),
                KeyValue::new("rpc.method", Arc::clone(method)),
            ]);
        }
        let call = Call::new(
            Arc::clone(method),
            context.clone(),
            self.duration.clone(),
            self.recent.clone(),
        );
        (call, context)
    }
}

/// A trace that nobody samples.
fn unrecorded() -> SpanContext {
    // An id of zeros is none.
    let trace = TraceId::from(rand::random_range(1..=u128::MAX));
    let span = SpanId::from(rand::random_range(1..=u64::MAX));
    let state = TraceState::NONE;
    SpanContext::new(trace, span, TraceFlags::default(), false, state)
}

#[cfg(test)]
mod tests;
