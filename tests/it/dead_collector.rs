//! A collector that is away costs telemetry, which is counted, and nothing else: calls succeed,
//! and the gateway ends well and in time.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::support::get;
use crate::support::observed::Observed;
use crate::support::watch::{in_time, until};

/// What the chart leaves between the end of the drain and SIGKILL.
const MARGIN: Duration = Duration::from_secs(10);

/// Takes connections and says nothing on any of them, for as long as this is kept.
async fn black_hole() -> (tokio::task::JoinHandle<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let swallow = tokio::spawn(async move {
        let mut held: Vec<TcpStream> = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    (swallow, endpoint)
}

/// Calls succeed while these signals are lost, and the process ends.
async fn costs_nothing(endpoint: &str, protocol: &str, timeout: &str, lost: &[&str]) {
    let mut process = Observed::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", timeout),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "10"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    ])
    .await;
    let get = get();
    for signal in lost {
        let counted = async {
            while process.dropped(signal).await == 0 {
                process.sms().get_session(get.clone()).await.unwrap();
            }
        };
        in_time(&format!("lost {signal} to be counted"), counted).await;
    }
    for _ in 0..20 {
        process.sms().get_session(get.clone()).await.unwrap();
    }
    // Nothing is in flight, so the drain itself takes no time.
    let ended = tokio::time::timeout(MARGIN, process.end()).await;
    let status = ended.expect("an end before the SIGKILL");
    assert!(status.success(), "{status}: {}", process.log());
}

#[tokio::test]
async fn why_is_told_and_not_with_each_export() {
    for protocol in ["grpc", "http/protobuf"] {
        let process = Observed::start(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", REFUSING),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "20"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "10"),
        ])
        .await;
        let several = async { while process.dropped("metrics").await < 5 {} };
        in_time("several exports to fail", several).await;
        let told = || {
            let lines = process.lines().into_iter();
            let told = lines.filter(|line| line["message"] == "telemetry was not delivered");
            told.collect::<Vec<_>>()
        };
        until("word of it", || !told().is_empty()).await;
        let told = told();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["signal"], "metrics");
        let error = told[0]["error"].as_str().unwrap();
        assert!(error.contains("export failed"), "{error}");
    }
}

/// Nobody listens on the port of a protocol's past.
const REFUSING: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn that_refuses_connections_by_grpc() {
    costs_nothing(REFUSING, "grpc", "200", &["traces", "metrics", "logs"]).await;
}

#[tokio::test]
async fn that_refuses_connections_by_http() {
    let all = ["traces", "metrics", "logs"];
    costs_nothing(REFUSING, "http/protobuf", "200", &all).await;
}

#[tokio::test]
async fn that_never_answers_by_grpc() {
    let (_held, endpoint) = black_hole().await;
    costs_nothing(&endpoint, "grpc", "200", &["traces", "metrics", "logs"]).await;
}

#[tokio::test]
async fn that_never_answers_by_http() {
    let (_held, endpoint) = black_hole().await;
    let all = ["traces", "metrics", "logs"];
    costs_nothing(&endpoint, "http/protobuf", "200", &all).await;
}

/// The exports that are under way at the end would wait for a minute each.
#[tokio::test]
async fn that_is_waited_for_at_the_end() {
    for protocol in ["grpc", "http/protobuf"] {
        let (_held, endpoint) = black_hole().await;
        costs_nothing(&endpoint, protocol, "60000", &["traces", "logs"]).await;
    }
}
