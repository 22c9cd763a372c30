//! Export by OTLP, where the environment names a collector.
//!
//! Spans and log records wait in bounded queues and are sent by threads of their own; a collector
//! that is slow or away costs calls nothing, and what it costs in telemetry is counted. Nothing of
//! the exporters themselves is exported: their spans do not exist, and of log records only ours
//! are taken.

mod losses;
mod plan;

use opentelemetry::global;
use opentelemetry::metrics::Meter;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{ExporterBuildError, LogExporter, MetricExporter, SpanExporter};
use opentelemetry_sdk::logs::{BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::{Layer, Registry, filter};

use self::losses::{Bounded, Counted, Losses};
use self::plan::{Plan, Signal};
use super::{NAME, resource};

/// What sends metrics to a collector from time to time.
pub(super) type Pushed = PeriodicReader<Counted<MetricExporter>>;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the OTEL_EXPORTER_OTLP_* variables cannot be used: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("cannot start the exporter: {0}")]
    Runtime(#[from] std::io::Error),
}

/// The way to the collector; without one all of it is empty.
#[derive(Debug, Default)]
pub(super) struct Export {
    traces: Option<SdkTracerProvider>,
    metrics: Option<Pushed>,
    logs: Option<SdkLoggerProvider>,
    losses: Losses,
    /// Of the connections to the collector, apart from that of calls.
    runtime: Option<Runtime>,
}

impl Export {
    pub(super) fn from_env() -> Result<Self, ExportError> {
        let plan = Plan::read(|name| std::env::var(name).ok());
        if plan == Plan::default() {
            return Ok(Self::default());
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let losses = Losses::default();
        let export = Self {
            traces: plan.traces.then(|| traces(&losses)).transpose()?,
            metrics: plan.metrics.then(|| metrics(&losses)).transpose()?,
            logs: plan.logs.then(|| logs(&losses)).transpose()?,
            losses,
            runtime: None,
        };
        drop(entered);
        Ok(Self {
            runtime: Some(runtime),
            ..export
        })
    }

    /// For the meter provider; there is one reader.
    pub(super) fn take_reader(&mut self) -> Option<Pushed> {
        self.metrics.take()
    }

    /// Takes what is logged, if logs are exported.
    pub(super) fn logs(&self) -> Option<impl Layer<Registry> + Send + Sync + use<>> {
        let provider = self.logs.as_ref()?;
        // The exporter's libraries log about their own requests, which must not go round.
        let ours = filter::filter_fn(|metadata| metadata.target().starts_with(NAME));
        Some(OpenTelemetryTracingBridge::new(provider).with_filter(ours))
    }

    /// From now on spans are recorded.
    pub(super) fn install(&self) {
        if let Some(traces) = &self.traces {
            global::set_tracer_provider(traces.clone());
        }
    }

    pub(super) fn count_losses(&self, meter: &Meter) {
        self.losses.observe(meter);
    }

    pub(super) fn shutdown(self) {
        let traces = self.traces.map(|traces| traces.shutdown());
        if let Some(Err(error)) = traces {
            tracing::warn!(%error, "the last spans may be lost");
        }
        let logs = self.logs.map(|logs| logs.shutdown());
        if let Some(Err(error)) = logs {
            tracing::warn!(%error, "the last log records may be lost");
        }
        if let Some(runtime) = self.runtime {
            runtime.shutdown_background();
        }
    }
}

/// Sampled as `OTEL_TRACES_SAMPLER` says, which the SDK reads itself.
fn traces(losses: &Losses) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = SpanExporter::builder().build()?;
    let exporter = Counted::new(exporter, Signal::Traces, losses);
    let waiting = exporter.waiting();
    let processor = BatchSpanProcessor::builder(exporter).build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(Bounded::new(processor, waiting))
        .build())
}

fn metrics(losses: &Losses) -> Result<Pushed, ExporterBuildError> {
    let exporter = MetricExporter::builder().build()?;
    let exporter = Counted::new(exporter, Signal::Metrics, losses);
    Ok(PeriodicReader::builder(exporter).build())
}

fn logs(losses: &Losses) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let exporter = LogExporter::builder().build()?;
    let exporter = Counted::new(exporter, Signal::Logs, losses);
    let waiting = exporter.waiting();
    let processor = BatchLogProcessor::builder(exporter).build();
    Ok(SdkLoggerProvider::builder()
        .with_resource(resource())
        .with_log_processor(Bounded::new(processor, waiting))
        .build())
}
