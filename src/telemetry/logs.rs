//! Log lines: text for people, JSON for collectors, always on stderr.
//!
//! stdout stays free for what a command prints as its result.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::EitherWriter;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::{Layer, Registry, filter, reload};

use super::audit::Lines;
use super::json::Json;
use super::text::Text;

/// Libraries, by the beginning of their names, whose debug output drowns ours.
const CHATTY: [&str; 6] = ["h2", "hyper", "reqwest", "rustls", "tonic", "tower"];

/// Lines about who was let in and who was not. They go their own way, as none may be dropped.
const AUDIT: &str = "switchboard::audit";

/// A panic may be the last word of the process, which has no time for a queue then.
const PANICS: &str = "switchboard::telemetry::panics";

/// Lines that wait for whoever reads stderr; some MiB. A reader that is slower loses lines, as
/// calls must not wait for it.
const WAITING_LINES: usize = 16_384;

/// As much as a pipe holds.
const WRITTEN_TOGETHER: usize = 64 * 1024;

/// How long lines may wait for others to go out with: a thread that is woken for each line costs
/// two system calls a line and more.
const WAIT_FOR_OTHERS: Duration = Duration::from_millis(10);

/// What a reader of stderr has to take the last words of the process: longer than the lines that wait
/// are given.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Lines that stderr did not take: it is the process's own, and so is this.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// What may be set at run time: no directives, as those name modules and may be arbitrarily long.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    Text,
    Json,
}

/// The level of the log lines of this process; changeable while it runs.
#[derive(Clone, Debug)]
pub struct LogLevel(Arc<reload::Handle<EnvFilter, Registry>>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a log level is one of off, error, warn, info, debug, trace")]
pub struct UnknownLevel;

impl LogLevel {
    /// The level, or the directives of `RUST_LOG` that the process began with.
    #[must_use]
    pub fn get(&self) -> String {
        // Gone only with the subscriber, when nothing is logged.
        let shown = self.0.with_current(ToString::to_string);
        shown.unwrap_or_else(|_| "off".to_owned())
    }

    /// Until the process ends, or the next change.
    pub fn set(&self, level: &str) -> Result<(), UnknownLevel> {
        if !LEVELS.contains(&level) {
            return Err(UnknownLevel);
        }
        let filter = filter(None, level).map_err(|_| UnknownLevel)?;
        // A log that falls silent says so while it can.
        let silent = matches!(level, "off" | "error");
        if silent {
            changed(level);
        }
        if let Err(error) = self.0.reload(filter) {
            tracing::warn!(%error, "the log level could not be changed");
        }
        if !silent {
            changed(level);
        }
        Ok(())
    }
}

fn changed(level: &str) {
    // Not as `level`, which is the line's own.
    tracing::warn!(to = level, "the log level was changed");
}

/// `RUST_LOG` where it is set and not empty, else the configured level.
pub(super) fn filter(rust_log: Option<&str>, level: &str) -> Result<EnvFilter, ParseError> {
    if let Some(directives) = rust_log.filter(|directives| !directives.trim().is_empty()) {
        return EnvFilter::builder().parse(directives);
    }
    let mut filter = EnvFilter::builder().parse(level)?;
    // Only ever quieter: at `warn` a directive for `info` would be louder.
    if filter.max_level_hint() > Some(filter::LevelFilter::INFO) {
        for library in CHATTY {
            filter = filter.add_directive(format!("{library}=info").parse()?);
        }
    }
    // It announces its own set-up at `info`, which tells an operator nothing.
    if filter.max_level_hint() >= Some(filter::LevelFilter::INFO) {
        filter = filter.add_directive("opentelemetry=warn".parse()?);
    }
    Ok(filter)
}

/// A filter whose level can be changed.
pub(super) fn changeable(
    filter: EnvFilter,
    audit: bool,
) -> (impl Filter<Registry> + Send + Sync, LogLevel) {
    let (filter, handle) = reload::Layer::new(filter);
    (events_of(filter, audit), LogLevel(Arc::new(handle)))
}

/// Lines carry the trace id instead of the fields of spans, so libraries' spans are kept from the
/// log layers: formatting them costs on every call.
pub(super) fn events_of(
    filter: impl Filter<Registry> + Send + Sync + 'static,
    audit: bool,
) -> impl Filter<Registry> + Send + Sync {
    let audit = filter::filter_fn(move |metadata| audit && is_audit(metadata))
        .with_max_level_hint(filter::LevelFilter::INFO);
    filter.or(audit).and(filter::filter_fn(is_event))
}

/// Who did what is not for a log level to hide.
fn is_audit(metadata: &Metadata<'_>) -> bool {
    metadata.target() == AUDIT && *metadata.level() <= Level::INFO
}

fn is_event(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
}

/// Whether a line belongs to a span, the one that its thread is in, and then what `tell` makes of it.
pub(super) fn within_span<T>(
    metadata: &Metadata<'_>,
    tell: impl FnOnce(&SpanContext) -> T,
) -> Option<T> {
    // OpenTelemetry warns about its context stack while it holds that stack borrowed; looking into it
    // then would panic.
    if metadata.target() == "opentelemetry" {
        return None;
    }
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| tell(span))
    })
}

pub(super) fn layer<W>(
    format: Format,
    terminal: bool,
    writer: W,
) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match (format, terminal) {
        // Colours stay as they are by default: on, unless NO_COLOR is set.
        (Format::Text | Format::Auto, true) => layer.event_format(Text).boxed(),
        (Format::Text, false) => layer.with_ansi(false).event_format(Text).boxed(),
        (Format::Json, _) | (Format::Auto, false) => layer.event_format(Json).boxed(),
    }
}

/// stderr, written by a thread of its own, so that no call waits for whoever reads it.
#[derive(Debug, Clone)]
pub(super) struct Output(NonBlocking);

impl Output {
    /// The guard writes what still waits when it is dropped, for a second at most.
    pub(super) fn stderr() -> (Output, ErrorCounter, WorkerGuard) {
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(WAITING_LINES)
            .thread_name("log")
            .finish(Together(BufWriter::with_capacity(
                WRITTEN_TOGETHER,
                io::stderr(),
            )));
        let dropped = writer.error_counter();
        (Output(writer), dropped, guard)
    }
}

/// Says the last of a process on a thread of its own, and does not wait for it for ever: whoever has
/// to read it may have stopped, and then a write never returns. None when it has not been said.
pub fn briefly<T: Send + 'static>(say: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = mpsc::channel();
    let say = move || drop(tell.send(say()));
    let thread = thread::Builder::new().name("last words".to_owned());
    thread.spawn(say).ok()?;
    told.recv_timeout(LAST_WORDS).ok()
}

/// Stderr did not take so many lines: its reader is gone, or its disk is full.
pub(super) fn refused(lines: usize) {
    REFUSED.fetch_add(lines as u64, Ordering::Relaxed);
}

/// Lines that nobody will read: those that did not get into the queue, and those that stderr did not
/// take.
pub(super) fn lost(queue: &ErrorCounter) -> u64 {
    queue.dropped_lines() as u64 + REFUSED.load(Ordering::Relaxed)
}

/// Lines that wait together go out together. The thread of the log flushes when none is left, and
/// then lets some come: until it asks again nobody has to wake it.
struct Together<W>(W);

impl<W: Write> Write for Together<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes);
        // One line at a time comes here. What was interrupted is tried again.
        let interrupted = |error: &io::Error| error.kind() == io::ErrorKind::Interrupted;
        if written.as_ref().is_err_and(|error| !interrupted(error)) {
            refused(1);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        #[allow(clippy::disallowed_methods, reason = "a thread of its own")]
        thread::sleep(WAIT_FOR_OTHERS);
        flushed
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = EitherWriter<NonBlocking, EitherWriter<Lines, io::Stderr>>;

    fn make_writer(&'a self) -> Self::Writer {
        EitherWriter::A(self.0.clone())
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        match metadata.target() {
            AUDIT => EitherWriter::B(EitherWriter::A(Lines)),
            PANICS => EitherWriter::B(EitherWriter::B(io::stderr())),
            _ => self.make_writer(),
        }
    }
}
