//! One JSON object per log line, its fields written straight into the line.
//!
//! No tree of values is built: there is a line for every call. Beside the event's own fields a
//! line has `time`, `level`, `target`, and `trace_id` and `span_id` where it belongs to a span.

use std::fmt;
use std::io;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use serde::Serializer as _;
use serde_json::Serializer;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::propagation::hex;

/// The format of lines for collectors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        writer.write_str("{\"time\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(metadata.level().as_str())?;
        writer.write_str("\",\"target\":\"")?;
        writer.write_str(metadata.target())?;
        writer.write_char('"')?;
        let mut fields = Fields {
            writer: &mut writer,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        // OpenTelemetry warns about its context stack while it holds that stack borrowed;
        // looking into it then would panic.
        if metadata.target() != "opentelemetry" {
            Context::map_current(|context| ids(context.span().span_context(), &mut writer))?;
        }
        writer.write_str("}\n")
    }
}

/// Of the span that the thread is in.
fn ids(span: &SpanContext, writer: &mut Writer<'_>) -> fmt::Result {
    if !span.is_valid() {
        return Ok(());
    }
    writer.write_str(",\"trace_id\":\"")?;
    digits(&span.trace_id().to_bytes(), writer)?;
    writer.write_str("\",\"span_id\":\"")?;
    digits(&span.span_id().to_bytes(), writer)?;
    writer.write_char('"')
}

fn digits(id: &[u8], writer: &mut Writer<'_>) -> fmt::Result {
    hex(id).try_for_each(|digit| writer.write_char(char::from(digit)))
}

struct Fields<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    /// Names of fields are identifiers of ours or of libraries, and need no escaping.
    fn named(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        let write = || {
            self.writer.write_str(",\"")?;
            self.writer.write_str(field.name())?;
            self.writer.write_str("\":")?;
            value(self.writer)
        };
        if self.result.is_ok() {
            self.result = write();
        }
    }
}

impl Visit for Fields<'_, '_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.named(field, |writer| {
            serde_json::to_writer(Bytes(writer), &value).map_err(|_| fmt::Error)
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.named(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.named(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.named(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.named(field, |writer| {
            serde_json::to_writer(Bytes(writer), value).map_err(|_| fmt::Error)
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.named(field, |writer| {
            Serializer::new(Bytes(writer))
                .collect_str(&format_args!("{value:?}"))
                .map_err(|_| fmt::Error)
        });
    }
}

/// The line, as a serializer wants it: it writes whole characters only.
struct Bytes<'a, 'w>(&'a mut Writer<'w>);

impl io::Write for Bytes<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
