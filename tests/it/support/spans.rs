//! Spans as text, to be compared whole.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// The spans of a trace, each below its parent, in the order in which they began: kind, name,
/// status, and attributes by name in lines of their own. Ports are left out.
pub fn tree(mut spans: Vec<Span>, trace: &str) -> String {
    spans.retain(|span| hex(&span.trace_id) == trace);
    spans.sort_by_key(|span| span.start_time_unix_nano);
    let known = |id: &[u8]| spans.iter().any(|span| span.span_id == id);
    let roots = spans.iter().filter(|span| !known(&span.parent_span_id));
    roots.map(|root| below(root, &spans, 0)).collect()
}

fn below(span: &Span, spans: &[Span], depth: usize) -> String {
    let children = spans
        .iter()
        .filter(|child| child.parent_span_id == span.span_id);
    let children: String = children
        .map(|child| below(child, spans, depth + 1))
        .collect();
    let kind = SpanKind::try_from(span.kind).unwrap();
    let kind = kind.as_str_name().trim_start_matches("SPAN_KIND_");
    let status = span.status.as_ref().map_or(0, |status| status.code);
    let status = ["unset", "ok", "error"][usize::try_from(status).unwrap()];
    let indent = "  ".repeat(depth);
    let attributes = span.attributes.iter();
    let attributes = attributes.filter(|it| it.key != "server.port");
    let mut attributes: Vec<_> = attributes
        .map(|it| format!("\n{indent}    {}", attribute(it)))
        .collect();
    attributes.sort();
    format!(
        "{indent}{kind} {} [{status}]{}\n{children}",
        span.name,
        attributes.concat()
    )
}

fn attribute(attribute: &KeyValue) -> String {
    let value = attribute
        .value
        .as_ref()
        .and_then(|value| value.value.as_ref());
    let value = match value {
        Some(Value::StringValue(text)) => without_port(text),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    format!("{}={value}", attribute.key)
}

/// `http://127.0.0.1:4711/a` as `http://127.0.0.1/a`.
fn without_port(text: &str) -> String {
    match text.strip_prefix("http://127.0.0.1:") {
        Some(rest) => format!(
            "http://127.0.0.1{}",
            rest.trim_start_matches(|c: char| c.is_ascii_digit())
        ),
        None => text.to_owned(),
    }
}

pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
