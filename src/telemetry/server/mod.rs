//! The server layer: one span, one measurement and one log line for each call
//! that comes in, by the RPC semantic conventions of OpenTelemetry.
//!
//! A call ends with its status, wherever that comes: in the headers of an answer
//! without a body, in the trailers after the last message, or never, when the
//! caller hangs up. Headers are read by name; none is copied wholesale.

mod body;
mod call;
mod code;

pub use body::Observed;
pub use code::Code;

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use opentelemetry::metrics::{Histogram, Meter};
use tower::{Layer, Service};
use tracing::{Instrument as _, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::call::Call;
use super::recent::Recent;
use super::{metrics, propagation};

/// The method of a call to something that we do not have. Anybody can make up
/// names; they would fill the metrics without bound.
const OTHER: &str = "_OTHER";

/// Who calls. Whoever finds out puts it among the extensions of the answer, for the access log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller(pub Arc<str>);

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

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let mut call = self.shared.open(&request);
        let span = call.span();
        let answer = span.in_scope(|| self.inner.call(request)).instrument(span);
        Box::pin(async move {
            // A service of tonic never fails: it answers with a status.
            let response = answer
                .await
                .inspect_err(|_| call.end(Code::INTERNAL, None))?;
            call.answered(response.headers());
            Ok(response.map(|body| Observed::new(body, call)))
        })
    }
}

impl Shared {
    fn open<B>(&self, request: &Request<B>) -> Call {
        let path = request.uri().path();
        let method = path
            .strip_prefix('/')
            .and_then(|path| self.methods.get(path));
        // The conventions name a span after the system where the method says nothing.
        let name = method.map_or("grpc", |method| method);
        let method = method.unwrap_or(&self.other);

        let span = tracing::info_span!(
            parent: None,
            "rpc",
            otel.name = name,
            otel.kind = "server",
            otel.status_code = field::Empty,
            rpc.system.name = "grpc",
            rpc.method = &**method,
            rpc.status_code = field::Empty,
            error.type = field::Empty,
        );
        if let Some(parent) = propagation::parent(request.headers()) {
            // Refused only where nobody records spans.
            let _ = span.set_parent(parent);
        }
        Call::new(
            Arc::clone(method),
            span,
            self.duration.clone(),
            self.recent.clone(),
        )
    }
}

#[cfg(test)]
mod tests;
