//! Bounds what waits for the collector, and counts what it never got.
//!
//! The SDK's own queues are bounded too, but tell nobody what they drop. So the bound is taken
//! before them, at the same length, and they never overflow.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::logs::Severity;
use opentelemetry::metrics::Meter;
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use tokio::time::Instant;

use super::Signal;

/// The SDK's own default for the length of a queue.
const QUEUE: usize = 2048;

/// How often it is said why a signal is not delivered. Exports may fail many times a second.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// What was not delivered, by signal.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses(Arc<[Lost; Signal::ALL.len()]>);

#[derive(Debug, Default)]
struct Lost {
    /// The queue was full.
    queue: AtomicU64,
    /// The collector did not take it.
    export: AtomicU64,
}

impl Losses {
    fn of(&self, signal: Signal) -> &Lost {
        &self.0[signal as usize]
    }

    pub(super) fn observe(&self, meter: &Meter) {
        let losses = self.clone();
        meter
            .u64_observable_counter("switchboard_telemetry_dropped")
            .with_description(
                "Spans, log records and exports of metrics that the collector did not get.",
            )
            .with_callback(move |counter| {
                for signal in Signal::ALL {
                    let lost = losses.of(signal);
                    for (reason, count) in [("queue_full", &lost.queue), ("export", &lost.export)] {
                        let signal = KeyValue::new("signal", signal.name());
                        let labels = [signal, KeyValue::new("reason", reason)];
                        counter.observe(count.load(Ordering::Relaxed), &labels);
                    }
                }
            })
            .build();
    }
}

/// How many wait in a queue that may not be longer than so.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    now: Arc<AtomicUsize>,
    most: usize,
    signal: Signal,
    losses: Losses,
}

impl Waiting {
    /// One more, or one lost.
    fn enter(&self) -> bool {
        let one_more = |now| (now < self.most).then_some(now + 1);
        let entered = self
            .now
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        if entered.is_err() {
            let lost = self.losses.of(self.signal);
            lost.queue.fetch_add(1, Ordering::Relaxed);
        }
        entered.is_ok()
    }

    fn leave(&self, count: usize) {
        self.now.fetch_sub(count, Ordering::Relaxed);
    }
}

/// An exporter whose failures count, and are told.
#[derive(Debug)]
pub(in crate::telemetry) struct Counted<E> {
    inner: E,
    waiting: Waiting,
    said: Mutex<Said>,
}

/// What the log has of it.
#[derive(Debug, Default)]
struct Said {
    /// When it last had why one failed.
    at: Option<Instant>,
    /// That was the last word.
    failing: bool,
}

impl<E> Counted<E> {
    pub(super) fn new(inner: E, signal: Signal, losses: &Losses) -> Self {
        let variable = match signal {
            Signal::Traces => "OTEL_BSP_MAX_QUEUE_SIZE",
            Signal::Logs | Signal::Metrics => "OTEL_BLRP_MAX_QUEUE_SIZE",
        };
        let most = std::env::var(variable).ok();
        let waiting = Waiting {
            now: Arc::default(),
            most: most.and_then(|most| most.parse().ok()).unwrap_or(QUEUE),
            signal,
            losses: losses.clone(),
        };
        Counted {
            inner,
            waiting,
            said: Mutex::default(),
        }
    }

    pub(super) fn waiting(&self) -> Waiting {
        self.waiting.clone()
    }

    fn exported(&self, count: usize, result: OTelSdkResult) -> OTelSdkResult {
        let Waiting { signal, losses, .. } = &self.waiting;
        match &result {
            Err(error) => {
                let lost = losses.of(*signal);
                lost.export.fetch_add(count as u64, Ordering::Relaxed);
                // The SDK has words of its own for it, a line for each export, and they are left out
                // of the build. This one is for stderr alone: what is logged in here is not exported.
                if self.said().fails() {
                    tracing::warn!(signal = signal.name(), %error, "telemetry was not delivered");
                }
            }
            Ok(()) => {
                if self.said().is_over() {
                    tracing::info!(signal = signal.name(), "telemetry is delivered again");
                }
            }
        }
        result
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    /// Whether this failure is to be said.
    fn fails(&mut self) -> bool {
        let due = self.at.is_none_or(|at| at.elapsed() >= SAID_AGAIN);
        if due {
            self.at = Some(Instant::now());
            self.failing = true;
        }
        due
    }

    /// Whether it is to be said that it is over.
    fn is_over(&mut self) -> bool {
        mem::take(&mut self.failing)
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.waiting.leave(count);
        self.exported(count, self.inner.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Counted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let count = batch.iter().count();
        self.waiting.leave(count);
        self.exported(count, self.inner.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn event_enabled(&self, level: Severity, target: &str, name: Option<&str>) -> bool {
        self.inner.event_enabled(level, target, name)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Counted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.exported(1, self.inner.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

/// A processor in front of which one waits in a bounded queue.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    inner: P,
    waiting: Waiting,
}

impl<P> Bounded<P> {
    pub(super) fn new(inner: P, waiting: Waiting) -> Self {
        Bounded { inner, waiting }
    }
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        // The others are passed over further on.
        if span.span_context.is_sampled() && self.waiting.enter() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<P: LogProcessor> LogProcessor for Bounded<P> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        if self.waiting.enter() {
            self.inner.emit(record, scope);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_said_once_a_minute_and_its_end_once() {
        let spans = crate::telemetry::testing::Spans::capture();
        let exporter = Counted::new((), Signal::Traces, &Losses::default());
        let no = || Err(OTelSdkError::InternalFailure("no".to_owned()));
        for result in [Ok(()), no(), no(), Ok(()), Ok(()), no(), Ok(())] {
            let _ = exporter.exported(1, result);
        }
        tokio::time::advance(SAID_AGAIN).await;
        for result in [no(), no(), Ok(())] {
            let _ = exporter.exported(1, result);
        }
        let lines = spans.lines();
        let told: Vec<_> = lines.iter().map(|it| it["message"].as_str()).collect();
        let (lost, again) = (
            Some("telemetry was not delivered"),
            Some("telemetry is delivered again"),
        );
        assert_eq!(told, [lost, again, lost, again]);
    }

    /// Holds each export until it is told whether it succeeds; tells when it begins.
    #[derive(Debug)]
    struct Held {
        begun: Mutex<Sender<usize>>,
        results: Mutex<Receiver<bool>>,
    }

    impl SpanExporter for Held {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.begun.lock().unwrap().send(batch.len()).unwrap();
            // At the end of the test all succeed.
            match self.results.lock().unwrap().recv() {
                Ok(false) => Err(OTelSdkError::InternalFailure("no".to_owned())),
                Ok(true) | Err(_) => Ok(()),
            }
        }
    }

    #[test]
    fn what_does_not_fit_and_what_is_not_taken_is_counted() {
        let losses = Losses::default();
        let ((begun, begins), (result, results)) = (channel(), channel());
        let held = Held {
            begun: Mutex::new(begun),
            results: Mutex::new(results),
        };
        let mut exporter = Counted::new(held, Signal::Traces, &losses);
        exporter.waiting.most = 3;
        let waiting = exporter.waiting();
        let processor = Bounded::new(BatchSpanProcessor::builder(exporter).build(), waiting);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .build();
        let tracer = provider.tracer("test");
        let lost = || {
            let lost = losses.of(Signal::Traces);
            [&lost.queue, &lost.export].map(|count| count.load(Ordering::Relaxed))
        };

        // Three wait, two are too many.
        (0..5).for_each(|_| drop(tracer.start("call")));
        assert_eq!(lost(), [2, 0]);
        let flush = std::thread::spawn({
            let provider = provider.clone();
            move || provider.force_flush()
        });
        assert_eq!(begins.recv().unwrap(), 3);
        // While those are under way three more may wait.
        (0..4).for_each(|_| drop(tracer.start("call")));
        assert_eq!(lost(), [3, 0]);
        result.send(false).unwrap();
        let _ = flush.join().unwrap();
        drop(result);
        provider.shutdown().unwrap();
        assert_eq!(lost(), [3, 3]);
    }
}
