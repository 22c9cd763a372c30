//! Log lines: text for people, JSON for collectors, always on stderr.
//!
//! stdout stays free for what a command prints as its result.

use json_subscriber::JsonLayer;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::{Event, Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::SystemTime;
use tracing_subscriber::layer::Filter;
use tracing_subscriber::{Layer, Registry, filter};

/// Libraries, by the beginning of their names, whose debug output drowns ours.
const CHATTY: [&str; 6] = ["h2", "hyper", "reqwest", "rustls", "tonic", "tower"];

/// The target of the audit log's lines.
const AUDIT: &str = "switchboard::audit";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    Text,
    Json,
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

/// Lines carry the trace id instead of the fields of their spans, so spans are
/// kept from the log layers: formatting them costs on every call.
pub(super) fn events_of(filter: EnvFilter, audit: bool) -> impl Filter<Registry> + Send + Sync {
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

pub(super) fn layer<W>(
    format: Format,
    terminal: bool,
    writer: W,
) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    match (format, terminal) {
        (Format::Text, _) | (Format::Auto, true) => text(terminal, writer),
        (Format::Json, _) | (Format::Auto, false) => Box::new(json(writer)),
    }
}

fn text<W>(terminal: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    if terminal {
        // Colours stay as they are by default: on, unless NO_COLOR is set.
        layer.boxed()
    } else {
        layer.with_ansi(false).boxed()
    }
}

fn json<W>(writer: W) -> JsonLayer<Registry, W>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let mut layer = JsonLayer::new(writer);
    layer
        .with_timer("time", SystemTime)
        .with_level("level")
        .with_target("target")
        .with_flattened_event();
    // The layer has ids of its own, but only nested and in camel case.
    layer.add_dynamic_field("trace_id", |event, _| {
        current(event, |span| span.trace_id().to_string())
    });
    layer.add_dynamic_field("span_id", |event, _| {
        current(event, |span| span.span_id().to_string())
    });
    layer
}

/// Of the span that is entered: entering a tracing span makes its OpenTelemetry
/// context the thread's current one.
fn current<T>(event: &Event<'_>, read: impl Fn(&SpanContext) -> T) -> Option<T> {
    // OpenTelemetry warns about its context stack while it holds that stack
    // borrowed; looking into it then would panic.
    if event.metadata().target() == "opentelemetry" {
        return None;
    }
    of_current(read)
}

/// The trace of the span that is entered, if any.
pub(super) fn current_trace_id() -> Option<String> {
    of_current(|span| span.trace_id().to_string())
}

fn of_current<T>(read: impl Fn(&SpanContext) -> T) -> Option<T> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| read(span))
    })
}
