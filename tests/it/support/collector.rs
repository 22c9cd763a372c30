//! A collector: takes what is exported over OTLP and gRPC, and keeps it.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::scan;

#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    /// Names.
    metrics: Vec<String>,
    logs: Vec<LogRecord>,
    /// `service.name` of every export.
    services: Vec<String>,
}

impl Collector {
    /// Listening; and where.
    pub async fn start() -> (Collector, String) {
        let collector = Collector::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(MetricsServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (collector, format!("http://{address}"))
    }

    /// The same over HTTP, for spans.
    pub async fn start_http() -> (Collector, String) {
        let collector = Collector::default();
        let taken = collector.clone();
        let take = axum::routing::post(move |body: axum::body::Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            let _ = TraceService::export(&taken, Request::new(request)).await;
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = axum::Router::new().route("/v1/traces", take);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (collector, format!("http://{address}"))
    }

    pub fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().spans.clone()
    }

    pub fn metrics(&self) -> Vec<String> {
        self.0.lock().unwrap().metrics.clone()
    }

    pub fn logs(&self) -> Vec<LogRecord> {
        self.0.lock().unwrap().logs.clone()
    }

    pub fn services(&self) -> Vec<String> {
        self.0.lock().unwrap().services.clone()
    }

    /// The spans of a trace, each below its parent, in the order in which they began: kind, name,
    /// status, and attributes by name in lines of their own. Ports are left out.
    pub fn trace(&self, id: &str) -> String {
        let mut spans = self.spans();
        spans.retain(|span| hex(&span.trace_id) == id);
        spans.sort_by_key(|span| span.start_time_unix_nano);
        let known = |id: &[u8]| spans.iter().any(|span| span.span_id == id);
        let roots = spans.iter().filter(|span| !known(&span.parent_span_id));
        roots.map(|root| below(root, &spans, 0)).collect()
    }
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

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn service(attributes: Vec<KeyValue>) -> String {
    let name = attributes.into_iter().find(|it| it.key == "service.name");
    text(name.unwrap().value)
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        scan::emit("otlp", &format!("{request:?}"));
        let mut taken = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let about = resource.resource.unwrap_or_default();
            taken.services.push(service(about.attributes));
            let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
            taken.spans.extend(spans);
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        scan::emit("otlp", &format!("{request:?}"));
        let mut taken = self.0.lock().unwrap();
        for resource in request.into_inner().resource_metrics {
            let metrics = resource.scope_metrics.into_iter().flat_map(|it| it.metrics);
            taken.metrics.extend(metrics.map(|metric| metric.name));
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        scan::emit("otlp", &format!("{request:?}"));
        let mut taken = self.0.lock().unwrap();
        for resource in request.into_inner().resource_logs {
            let logs = resource
                .scope_logs
                .into_iter()
                .flat_map(|it| it.log_records);
            taken.logs.extend(logs);
        }
        Ok(Response::new(Default::default()))
    }
}
