//! Export by OTLP, where the environment names a collector.
//!
//! Spans and log records wait in bounded queues and are sent by threads of their own; a collector
//! that is slow or away costs calls nothing, and what it costs in telemetry is counted. Nothing of
//! the exporters themselves is exported: their spans do not exist, and of log records only ours
//! are taken.

mod doubts;
mod losses;
mod plan;
mod wire;

use std::path::PathBuf;
use std::thread;

use opentelemetry::global;
use opentelemetry::metrics::Meter;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithHttpConfig as _,
    WithTonicConfig as _,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::{Layer, Registry, filter};

pub(super) use self::doubts::tell as tell_doubts;
use self::losses::{Bounded, Counted, Losses};
use self::plan::{Plan, Signal};
use self::wire::Wire;
use super::{Metrics, NAME, resource};

/// What sends metrics to a collector from time to time.
pub(super) type Pushed = PeriodicReader<Counted<MetricExporter>>;

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the OTEL_EXPORTER_OTLP_* variables cannot be used: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("cannot start the exporter: {0}")]
    Runtime(#[from] std::io::Error),
    #[error("the OTEL_EXPORTER_OTLP_* variables name {path}, which cannot be used: {source}")]
    File {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot set up a client for the collector: {0}")]
    Client(Box<dyn std::error::Error + Send + Sync>),
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
        let wire = |exported: bool, signal| exported.then(|| Wire::of(signal)).transpose();
        let by_traces = wire(plan.traces, Signal::Traces)?;
        let by_metrics = wire(plan.metrics, Signal::Metrics)?;
        let by_logs = wire(plan.logs, Signal::Logs)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let losses = Losses::default();
        let export = Self {
            traces: by_traces.map(|wire| traces(wire, &losses)).transpose()?,
            metrics: by_metrics.map(|wire| metrics(wire, &losses)).transpose()?,
            logs: by_logs.map(|wire| logs(wire, &losses)).transpose()?,
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

    /// Sends what still waits, all signals side by side: a collector that does not answer is
    /// waited for once, for the five seconds that the SDK gives each signal.
    pub(super) fn shutdown(self, metrics: &Metrics) {
        thread::scope(|scope| {
            scope.spawn(|| tell("metrics", metrics.shutdown()));
            if let Some(traces) = &self.traces {
                scope.spawn(|| tell("traces", traces.shutdown()));
            }
            if let Some(logs) = &self.logs {
                scope.spawn(|| tell("logs", logs.shutdown()));
            }
        });
        if let Some(runtime) = self.runtime {
            runtime.shutdown_background();
        }
    }
}

fn tell(signal: &str, ended: OTelSdkResult) {
    if let Err(error) = ended {
        tracing::warn!(%error, signal, "the last telemetry may be lost");
    }
}

/// Three builders that look the same and have no trait in common.
macro_rules! built {
    ($exporter:ty, $wire:expr) => {
        match $wire {
            Wire::Grpc(Some(tls)) => <$exporter>::builder()
                .with_tonic()
                .with_tls_config(tls)
                .build(),
            Wire::Grpc(None) => <$exporter>::builder().with_tonic().build(),
            Wire::Http(client) => <$exporter>::builder()
                .with_http()
                .with_http_client(client)
                .build(),
        }
    };
}

/// Sampled as `OTEL_TRACES_SAMPLER` says, which the SDK reads itself.
fn traces(wire: Wire, losses: &Losses) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = built!(SpanExporter, wire)?;
    let exporter = Counted::new(exporter, Signal::Traces, losses);
    let waiting = exporter.waiting();
    let processor = BatchSpanProcessor::builder(exporter).build();
    Ok(SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(Bounded::new(processor, waiting))
        .build())
}

fn metrics(wire: Wire, losses: &Losses) -> Result<Pushed, ExporterBuildError> {
    let exporter = built!(MetricExporter, wire)?;
    let exporter = Counted::new(exporter, Signal::Metrics, losses);
    Ok(PeriodicReader::builder(exporter).build())
}

fn logs(wire: Wire, losses: &Losses) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let exporter = built!(LogExporter, wire)?;
    let exporter = Counted::new(exporter, Signal::Logs, losses);
    let waiting = exporter.waiting();
    let processor = BatchLogProcessor::builder(exporter).build();
    Ok(SdkLoggerProvider::builder()
        .with_resource(resource())
        .with_log_processor(Bounded::new(processor, waiting))
        .build())
}
