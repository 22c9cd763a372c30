//! What a gateway tells a collector gets there: all signals, over each protocol, in clear and
//! over TLS.

use std::time::Duration;

use opentelemetry_proto::tonic::logs::v1::LogRecord;

use crate::support::authority::Authority;
use crate::support::collector::Collector;
use crate::support::dir::Dir;
use crate::support::get;
use crate::support::observed::Observed;
use crate::support::watch::{in_time, until};

/// A gateway that is told of this collector and serves a call sends it all three signals of that
/// call, and nothing about the sending itself.
async fn all_arrive(collector: &Collector, endpoint: &str, more: &[(&str, &str)]) {
    let common = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ("RUST_LOG", "debug"),
    ];
    let mut process = Observed::start(&[&common, more].concat()).await;
    process.sms().get_session(get()).await.unwrap();
    until("the first export", || !collector.spans().is_empty()).await;
    assert!(process.end().await.success());

    let spans = collector.spans();
    let server = spans.iter().find(|span| span.kind == 2).unwrap();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let of_exports = |name: &&str| name.contains("Export") || name.contains("/v1/");
    assert!(!names.iter().any(of_exports), "{names:?}");
    let metrics = collector.metrics();
    for name in ["rpc.server.call.duration", "switchboard_in_flight"] {
        assert!(metrics.iter().any(|it| it == name), "{metrics:?}");
    }
    let logs = collector.logs();
    let of_the_call = |it: &LogRecord| it.trace_id == server.trace_id;
    assert!(logs.iter().any(of_the_call), "{logs:?}");
    let services = collector.services();
    assert!(services.iter().all(|name| name == "switchboard"));
}

#[tokio::test]
async fn over_grpc() {
    let (collector, endpoint) = Collector::start().await;
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    all_arrive(&collector, &endpoint, &[protocol]).await;
}

#[tokio::test]
async fn over_http() {
    let (collector, endpoint) = Collector::start_http().await;
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    all_arrive(&collector, &endpoint, &[protocol]).await;
}

#[tokio::test]
async fn compressed() {
    for (protocol, (collector, endpoint)) in [
        ("grpc", Collector::start().await),
        ("http/protobuf", Collector::start_http().await),
    ] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ];
        all_arrive(&collector, &endpoint, &variables).await;
    }
}

/// Each signal by a way of its own, and the default protocol.
#[tokio::test]
async fn over_both_at_once() {
    let (collector, endpoint) = Collector::start_http().await;
    let (grpc, of_logs) = Collector::start().await;
    let own = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &of_logs),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
    ];
    let mut process = Observed::start(&own).await;
    process.sms().get_session(get()).await.unwrap();
    assert!(process.end().await.success());
    assert!(!collector.spans().is_empty() && !collector.metrics().is_empty());
    assert!(collector.logs().is_empty());
    assert!(!grpc.logs().is_empty() && grpc.spans().is_empty());
}

/// An authority of the collector's, and the files that let a gateway trust it and be trusted.
struct Trust {
    authority: Authority,
    files: Dir,
}

impl Trust {
    fn new() -> Trust {
        let authority = Authority::new("telemetry");
        let files = Dir::new();
        let own = authority.dns("gateway");
        files.write("ca.pem", &authority.pem());
        files.write("own.pem", &own.cert);
        files.write("own.key", &own.key);
        Trust { authority, files }
    }

    fn file(&self, name: &str) -> String {
        self.files.path(name).display().to_string()
    }

    async fn all_arrive(&self, (collector, endpoint): (Collector, String), protocol: &str) {
        let variables = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", &self.file("ca.pem")),
            (
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                &self.file("own.pem"),
            ),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &self.file("own.key")),
        ];
        all_arrive(&collector, &endpoint, &variables).await;
    }
}

#[tokio::test]
async fn over_grpc_with_tls() {
    let trust = Trust::new();
    let collector = Collector::start_secured(&trust.authority).await;
    trust.all_arrive(collector, "grpc").await;
}

#[tokio::test]
async fn over_http_with_tls() {
    let trust = Trust::new();
    let collector = Collector::start_http_secured(&trust.authority).await;
    trust.all_arrive(collector, "http/protobuf").await;
}

/// With no authority named the system's are trusted: these, for OpenSSL's variable.
#[tokio::test]
async fn authorities_of_the_system_are_trusted() {
    let trust = Trust::new();
    for (protocol, (collector, endpoint)) in [
        ("grpc", Collector::start_secured(&trust.authority).await),
        (
            "http/protobuf",
            Collector::start_http_secured(&trust.authority).await,
        ),
    ] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("SSL_CERT_FILE", &trust.file("ca.pem")),
            (
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                &trust.file("own.pem"),
            ),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &trust.file("own.key")),
        ];
        all_arrive(&collector, &endpoint, &variables).await;
    }
}

/// Whoever else answers at the collector's address gets nothing.
#[tokio::test]
async fn a_collector_of_another_authority_gets_nothing() {
    let (trust, other) = (Trust::new(), Trust::new());
    for (protocol, (collector, endpoint)) in [
        ("grpc", Collector::start_secured(&other.authority).await),
        (
            "http/protobuf",
            Collector::start_http_secured(&other.authority).await,
        ),
    ] {
        let mut process = Observed::start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "200"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", &trust.file("ca.pem")),
            (
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                &other.file("own.pem"),
            ),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &other.file("own.key")),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
        ])
        .await;
        process.sms().get_session(get()).await.unwrap();
        let lost = async {
            while process.dropped("traces").await == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        in_time("the loss to be counted", lost).await;
        assert!(process.end().await.success());
        assert!(collector.spans().is_empty() && collector.metrics().is_empty());
    }
}

/// Better no gateway than one whose telemetry goes nowhere for a typing mistake.
#[tokio::test]
async fn certificates_that_are_none_are_refused_at_the_start() {
    let files = Dir::new();
    let absent = files.path("absent.pem");
    let empty = files.write("empty.pem", "no certificate\n");
    for protocol in ["grpc", "http/protobuf"] {
        for file in [&absent, &empty] {
            let file = file.display().to_string();
            let (status, log) = Observed::refused(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:9"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", &file),
            ])
            .await;
            assert_eq!(status.code(), Some(1), "{log}");
            assert!(log.contains(&file), "{log}");
        }
    }
}

#[tokio::test]
async fn a_value_that_is_not_known_is_told_and_a_default_is_in_force() {
    let (collector, endpoint) = Collector::start().await;
    let mut process = Observed::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
    ])
    .await;
    process.sms().get_session(get()).await.unwrap();
    assert!(process.end().await.success());
    let lines = process.lines();
    let told: Vec<_> = (lines.iter())
        .filter(|line| line["message"] == "an OTEL_* variable is not understood")
        .map(|line| (line["variable"].as_str(), line["value"].as_str()))
        .collect();
    let expected = [
        (Some("OTEL_EXPORTER_OTLP_TIMEOUT"), Some("10s")),
        (Some("OTEL_TRACES_SAMPLER"), Some("sometimes")),
    ];
    assert_eq!(told, expected);
    assert!(!collector.spans().is_empty());
}
