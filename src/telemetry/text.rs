//! Log lines for people: those of the library, with the ids of the trace at their end.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::logs;

/// The format of lines for people.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        Format::default()
            .with_ansi(writer.has_ansi_escapes())
            .format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(line.trim_end_matches('\n'))?;
        logs::within_span(event.metadata(), |span| {
            let (trace, span) = (span.trace_id(), span.span_id());
            write!(writer, " trace_id={trace} span_id={span}")
        })
        .unwrap_or(Ok(()))?;
        writeln!(writer)
    }
}
