//! Logs, traces and metrics of the process, and the layers that feed them.
//!
//! Events become log lines by `tracing`; spans are OpenTelemetry's own, opened by the few layers
//! that have something to tell; one meter provider feeds every reader of metrics. Without a
//! collector nobody records spans, and then none are made: the caller's trace, or a new one, is
//! passed on and stands in the log.

mod export;
mod json;
mod logs;
mod metrics;
mod panics;
mod propagation;
mod text;

pub mod audit;
pub mod client;
pub mod recent;
pub mod server;

pub use logs::{Format, LogLevel, UnknownLevel, briefly};
pub use metrics::{DURATION_BOUNDARIES, Metrics, Reading};
pub use panics::log_panics;

use std::io::{self, IsTerminal as _};
use std::sync::LazyLock;

use opentelemetry::{Key, KeyValue, global};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;
use tracing::Subscriber;
use tracing_appender::non_blocking::{ErrorCounter, WorkerGuard};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry};
use uuid::Uuid;

use self::export::{Export, ExportError};
use self::logs::Output;

/// The instrumentation scope, and the service where the environment names none.
const NAME: &str = "switchboard";

/// What the configuration says about telemetry; the rest are the standard `OTEL_*` variables.
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
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// The providers of this process. Keep it until the drain is over, then
/// [`shutdown`](Self::shutdown), or the last spans are lost.
#[derive(Debug)]
pub struct Telemetry {
    export: Export,
    metrics: Metrics,
    level: LogLevel,
    /// Last: what the others say at their end is written too.
    written: WorkerGuard,
}

/// Sets up telemetry for the process: once, before anything logs or measures.
pub fn init(options: &Options) -> Result<Telemetry, Error> {
    let filter = logs::filter(std::env::var("RUST_LOG").ok().as_deref(), &options.level)?;
    let (filter, level) = logs::changeable(filter, options.audit);
    let (output, dropped, written) = Output::stderr();
    let mut export = Export::from_env()?;
    let metrics = Metrics::with(export.take_reader())?;
    let lines = logs::layer(options.format, io::stderr().is_terminal(), output);
    let subscriber = subscriber(lines.and_then(export.logs()).with_filter(filter));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::AlreadySetUp)?;
    // After the one step that can be refused, so that a second call changes nothing.
    export.install();
    global::set_meter_provider(metrics.provider());
    tell_uptime(&metrics);
    count_dropped(&metrics, dropped);
    export.count_losses(&metrics.meter());
    export::tell_doubts();
    Ok(Telemetry {
        export,
        metrics,
        level,
        written,
    })
}

impl Telemetry {
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    #[must_use]
    pub fn log_level(&self) -> LogLevel {
        self.level.clone()
    }

    /// Sends what is still held back. Blocks, for some seconds where a collector does not answer,
    /// so call it off the runtime or last.
    pub fn shutdown(self) {
        self.export.shutdown(&self.metrics);
        // It has words of its own when the lines cannot be written.
        briefly(|| drop(self.written));
    }
}

/// By its steps back a process shows that ends and is started again: of the calls that go with it
/// nothing is counted.
fn tell_uptime(metrics: &Metrics) {
    let start = Instant::now();
    metrics
        .meter()
        .f64_observable_gauge("process.uptime")
        .with_unit("s")
        .with_description("How long the process has run.")
        .with_callback(move |gauge| gauge.observe(start.elapsed().as_secs_f64(), &[]))
        .build();
}

fn count_dropped(metrics: &Metrics, dropped: ErrorCounter) {
    metrics
        .meter()
        .u64_observable_counter("switchboard_log_lines_dropped")
        .with_description("Log lines that stderr did not take, or not in time.")
        .with_callback(move |counter| counter.observe(logs::lost(&dropped), &[]))
        .build();
}

fn subscriber<L>(logs: L) -> impl Subscriber + Send + Sync + use<L>
where
    L: Layer<Registry> + Send + Sync,
{
    Registry::default().with(logs)
}

/// Who we are, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say it.
fn resource() -> Resource {
    let found = Resource::builder().build();
    let said = Resource::builder().with_attributes(decoded(&found));
    said.with_attributes(ours_beside(&found)).build()
}

/// Those that are percent-encoded, as commas and equals signs have to be in the variable; the library
/// takes them as they stand.
fn decoded(found: &Resource) -> Vec<KeyValue> {
    let encoded = found.iter().filter_map(|(key, value)| {
        let value = value.as_str();
        let text = percent_decode_str(&value).decode_utf8().ok()?;
        (text != value).then(|| KeyValue::new(key.clone(), text.into_owned()))
    });
    encoded.collect()
}

/// What nobody else has said.
fn ours_beside(found: &Resource) -> Vec<KeyValue> {
    /// Of this process: gateways without one would be one to a collector.
    static INSTANCE: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());
    let is_said = |key| {
        let value = found.get(&Key::from_static_str(key));
        value.is_some_and(|value| !value.as_str().starts_with("unknown_service"))
    };
    [
        ("service.name", NAME),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &**INSTANCE),
    ]
    .into_iter()
    .filter(|(key, _)| !is_said(*key))
    .map(|(key, value)| KeyValue::new(key, value.to_owned()))
    .collect()
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
