//! Logs, traces and metrics of the process, and the layers that feed them.
//!
//! Three signals, one set-up: `tracing` is the only API that the rest of the
//! code speaks. Events become log lines, spans become OpenTelemetry spans, and
//! one meter provider feeds every reader of metrics.

mod logs;
mod metrics;
mod propagation;

pub mod client;
pub mod recent;
pub mod server;

pub use logs::Format;
pub use metrics::{DURATION_BOUNDARIES, Metrics, Reading};

use std::io::{self, IsTerminal as _};

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, filter};

/// The instrumentation scope, and the service where the environment names none.
const NAME: &str = "switchboard";

/// What the configuration says about telemetry; the rest are the standard
/// `OTEL_*` variables, which the SDK reads itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// A level, or directives as in `RUST_LOG`, which goes before this when set.
    pub level: String,
    pub format: Format,
    /// Whether the audit log is written whatever the level is.
    pub audit: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the log level or RUST_LOG is not understood: {0}")]
    Level(#[from] ParseError),
    #[error("telemetry is set up already")]
    AlreadySetUp,
    #[error("metrics: {0}")]
    Metrics(#[from] OTelSdkError),
}

/// The providers of this process. Keep it until the drain is over, then
/// [`shutdown`](Self::shutdown), or the last spans are lost.
#[derive(Debug)]
pub struct Telemetry {
    traces: SdkTracerProvider,
    metrics: Metrics,
}

/// Sets up telemetry for the process: once, before anything logs or measures.
pub fn init(options: &Options) -> Result<Telemetry, Error> {
    let filter = logs::filter(std::env::var("RUST_LOG").ok().as_deref(), &options.level)?;
    let logs = logs::layer(options.format, io::stderr().is_terminal(), io::stderr);
    let metrics = Metrics::new()?;
    // An OTLP exporter is a `with_batch_exporter` here and a `with_reader` in
    // `Metrics::new`.
    let traces = SdkTracerProvider::builder()
        .with_resource(resource())
        .build();

    let subscriber = subscriber(
        logs.with_filter(logs::events_of(filter, options.audit)),
        &traces,
    );
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::AlreadySetUp)?;
    // After the one step that can be refused, so that a second call changes nothing.
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_tracer_provider(traces.clone());
    global::set_meter_provider(metrics.provider());
    Ok(Telemetry { traces, metrics })
}

impl Telemetry {
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Sends what is still held back. Blocks, so call it off the runtime or last.
    pub fn shutdown(self) {
        if let Err(error) = self.traces.shutdown() {
            tracing::warn!(%error, "the last spans may be lost");
        }
        if let Err(error) = self.metrics.shutdown() {
            tracing::warn!(%error, "the last measurements may be lost");
        }
    }
}

/// The log layer comes first only because its type is bound to the registry:
/// trace ids are taken from the thread's OpenTelemetry context (see [`logs`]).
fn subscriber<L>(logs: L, traces: &SdkTracerProvider) -> impl Subscriber + Send + Sync + use<L>
where
    L: Layer<Registry> + Send + Sync,
{
    Registry::default().with(logs).with(spans(traces))
}

fn spans<S>(traces: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    // Where a span was opened, on which thread, and how long it sat idle: cost
    // per call, and nothing that an operator has asked for.
    tracing_opentelemetry::layer()
        .with_tracer(traces.tracer(NAME))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(filter::filter_fn(is_our_span).with_max_level_hint(LevelFilter::INFO))
}

/// Our own spans, whatever the log level, so that quiet logs do not cut traces;
/// no library's (an exporter must not trace its own requests); and no events,
/// because an ERROR event would turn the span's status, which follows the gRPC
/// code alone.
fn is_our_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with(NAME) && *metadata.level() <= Level::INFO
}

/// Who we are, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say it.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let named = found
        .get(&"service.name".into())
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let builder = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if named {
        builder.build()
    } else {
        builder.with_service_name(NAME).build()
    }
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
