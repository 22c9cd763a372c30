//! Telemetry that tests can look at.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use opentelemetry::global;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::logs::{self, Format};

/// The spans and the JSON log lines of this thread, as long as it lives.
pub(crate) struct Spans {
    ended: Ended,
    lines: Lines,
    _scope: DefaultGuard,
}

#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Spans {
    pub(crate) fn capture() -> Self {
        Self::capture_at("info")
    }

    pub(crate) fn capture_at(level: &str) -> Self {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let (ended, lines) = (Ended::default(), Lines::default());
        let traces = SdkTracerProvider::builder()
            .with_simple_exporter(ended.clone())
            .build();
        let logs = logs::layer(Format::Json, false, lines.clone())
            .with_filter(logs::events_of(EnvFilter::new(level), true));
        let scope = tracing::subscriber::set_default(super::subscriber(logs, &traces));
        Self {
            ended,
            lines,
            _scope: scope,
        }
    }

    pub(crate) fn ended(&self) -> Vec<SpanData> {
        self.ended.0.lock().unwrap().clone()
    }

    pub(crate) fn only(&self) -> SpanData {
        let mut ended = self.ended();
        assert_eq!(ended.len(), 1, "{ended:?}");
        ended.remove(0)
    }

    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        String::from_utf8(self.lines.0.lock().unwrap().clone())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl SpanExporter for Ended {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
