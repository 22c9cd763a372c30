//! Telemetry that tests can look at.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex, Once};
use std::time::Duration;

use opentelemetry::{Context, global};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::logs::{self, Format};

/// The spans and the JSON log lines of this thread, as long as it lives.
pub(crate) struct Spans {
    ended: Ended,
    lines: Lines,
    _scope: DefaultGuard,
}

type Ended = Arc<Mutex<Vec<SpanData>>>;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

thread_local! {
    static SINK: RefCell<Option<Ended>> = const { RefCell::new(None) };
}

/// Gives each span to the thread that ends it: there is one provider for all tests.
#[derive(Debug)]
struct PerThread;

/// While there is a single subscriber, tracing asks that of the thread which comes to a place in
/// the code first, and for the answer "none" leaves the place out for every thread. So there are two.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

impl Spans {
    pub(crate) fn capture() -> Self {
        Self::capture_at("info")
    }

    pub(crate) fn capture_at(level: &str) -> Self {
        LazyLock::force(&ANOTHER);
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let provider = SdkTracerProvider::builder().with_span_processor(PerThread);
            global::set_tracer_provider(provider.build());
        });
        let (ended, lines) = (Ended::default(), Lines::default());
        SINK.set(Some(Arc::clone(&ended)));
        let logs = logs::layer(Format::Json, false, lines.clone())
            .with_filter(logs::events_of(EnvFilter::new(level), true));
        let scope = tracing::subscriber::set_default(super::subscriber(logs));
        Self {
            ended,
            lines,
            _scope: scope,
        }
    }

    /// Writes into the lines, for another subscriber.
    pub(crate) fn writer(&self) -> impl for<'a> MakeWriter<'a> + Send + Sync + use<> {
        self.lines.clone()
    }

    pub(crate) fn ended(&self) -> Vec<SpanData> {
        self.ended.lock().unwrap().clone()
    }

    pub(crate) fn only(&self) -> SpanData {
        let mut ended = self.ended();
        assert_eq!(ended.len(), 1, "{ended:?}");
        ended.remove(0)
    }

    pub(crate) fn lines(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// All that was written, as it stands.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }
}

impl Drop for Spans {
    fn drop(&mut self) {
        SINK.set(None);
    }
}

impl SpanProcessor for PerThread {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        SINK.with_borrow(|sink| {
            if let Some(sink) = sink {
                sink.lock().unwrap().push(span);
            }
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
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
