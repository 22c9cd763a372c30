//! One JSON object per log line, its fields written straight into the line.
//!
//! No tree of values is built: there is a line for every call. Beside the event's own fields a
//! line has `time`, `level`, `target`, and `trace_id` and `span_id` where it belongs to a span.

use std::fmt;

use opentelemetry::trace::SpanContext;
use serde::{Serialize, Serializer as _};
use serde_json::Serializer;
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logs;
use super::propagation::hex;

/// Most lines are shorter, so that they do not grow while they are written.
const USUAL: usize = 512;

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
        let mut line = Vec::with_capacity(USUAL);
        line.extend_from_slice(b"{\"time\":\"");
        stamp(OffsetDateTime::now_utc(), &mut line);
        line.extend_from_slice(b"\",\"level\":\"");
        line.extend_from_slice(metadata.level().as_str().as_bytes());
        line.extend_from_slice(b"\",\"target\":\"");
        line.extend_from_slice(metadata.target().as_bytes());
        line.push(b'"');
        event.record(&mut Fields(&mut line));
        logs::within_span(metadata, |span| ids(span, &mut line));
        line.extend_from_slice(b"}\n");
        writer.write_str(str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

/// RFC 3339 to the microsecond, as in `2026-11-25T08:09:10.000123Z`.
fn stamp(now: OffsetDateTime, line: &mut Vec<u8>) {
    let year = u32::try_from(now.year()).unwrap_or_default();
    padded::<4>(year, line);
    for (before, value) in [
        (b'-', u8::from(now.month())),
        (b'-', now.day()),
        (b'T', now.hour()),
        (b':', now.minute()),
        (b':', now.second()),
    ] {
        line.push(before);
        padded::<2>(u32::from(value), line);
    }
    line.push(b'.');
    padded::<6>(now.microsecond(), line);
    line.push(b'Z');
}

/// The last `DIGITS` decimal digits of a number.
fn padded<const DIGITS: usize>(mut number: u32, line: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    line.extend_from_slice(&digits);
}

fn ids(span: &SpanContext, line: &mut Vec<u8>) {
    line.extend_from_slice(b",\"trace_id\":\"");
    line.extend(hex(&span.trace_id().to_bytes()));
    line.extend_from_slice(b"\",\"span_id\":\"");
    line.extend(hex(&span.span_id().to_bytes()));
    line.push(b'"');
}

struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    /// Names of fields are identifiers of ours or of libraries, and need no escaping.
    fn name(&mut self, field: &Field) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(field.name().as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn value(&mut self, field: &Field, value: impl Serialize) {
        self.name(field);
        let written = serde_json::to_writer(&mut *self.0, &value);
        debug_assert!(written.is_ok(), "memory takes all, and scalars are JSON");
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        let start = self.0.len();
        let text = format_args!("{value:?}");
        if Serializer::new(&mut *self.0).collect_str(&text).is_err() {
            // What cannot be shown must not cost the line, nor leave half of itself behind.
            self.0.truncate(start);
            self.0.extend_from_slice(b"null");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_of_fixed_width() {
        let at = |seconds: i64, micros: i64| {
            let mut line = Vec::new();
            let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            stamp(time + time::Duration::microseconds(micros), &mut line);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_399, 999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(at(1_795_593_600, 123), "2026-11-25T08:00:00.000123Z");
    }
}
