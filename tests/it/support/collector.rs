//! A collector: takes what is exported over OTLP, by gRPC or HTTP, in clear or by TLS, and keeps it.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::routing::post;
use axum::serve::Listener as _;
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
use prost::Message;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic::{Request, Response, Status};
use tower_http::decompression::RequestDecompressionLayer;

use super::authority::Authority;
use super::secured::Secured;

const GZIP: CompressionEncoding = CompressionEncoding::Gzip;

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
        Self::start_grpc(None).await
    }

    /// With TLS, for those who show a certificate of the same authority.
    pub async fn start_secured(authority: &Authority) -> (Collector, String) {
        Self::start_grpc(Some(authority)).await
    }

    async fn start_grpc(authority: Option<&Authority>) -> (Collector, String) {
        let collector = Collector::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = tonic::transport::Server::builder();
        if let Some(authority) = authority {
            let own = authority.server();
            let tls = ServerTlsConfig::new()
                .identity(Identity::from_pem(own.cert, own.key))
                .client_ca_root(Certificate::from_pem(authority.pem()));
            server = server.tls_config(tls).unwrap();
        }
        let server = server
            .add_service(TraceServiceServer::new(collector.clone()).accept_compressed(GZIP))
            .add_service(MetricsServiceServer::new(collector.clone()).accept_compressed(GZIP))
            .add_service(LogsServiceServer::new(collector.clone()).accept_compressed(GZIP));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let scheme = if authority.is_some() { "https" } else { "http" };
        (collector, format!("{scheme}://{address}"))
    }

    /// The same over HTTP.
    pub async fn start_http() -> (Collector, String) {
        let collector = Collector::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = collector.routes();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (collector, format!("http://{address}"))
    }

    pub async fn start_http_secured(authority: &Authority) -> (Collector, String) {
        let collector = Collector::default();
        let listener = Secured::bind(authority).await;
        let address = listener.local_addr().unwrap();
        let routes = collector.routes();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (collector, format!("https://{address}"))
    }

    fn routes(&self) -> axum::Router {
        let (traces, metrics, logs) = (self.clone(), self.clone(), self.clone());
        axum::Router::new()
            .route(
                "/v1/traces",
                post(async move |body| drop(TraceService::export(&traces, read(body)).await)),
            )
            .route(
                "/v1/metrics",
                post(async move |body| drop(MetricsService::export(&metrics, read(body)).await)),
            )
            .route(
                "/v1/logs",
                post(async move |body| drop(LogsService::export(&logs, read(body)).await)),
            )
            .layer(RequestDecompressionLayer::new())
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
}

fn read<M: Message + Default>(body: Bytes) -> Request<M> {
    Request::new(M::decode(body).unwrap())
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
