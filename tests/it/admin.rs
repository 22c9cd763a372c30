//! The admin port: probes that follow the process and not the vendors, and metrics that name
//! methods and vendors but nobody's data.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use switchboard::sandbox::aicc::{AICC_APP, AICC_SECRET};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::GENESYS_PASSWORD;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::calls::{ALL, Call};
use crate::support::{Gateway, RECORD, SESSION, USER, impatient};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn probes_follow_the_process() {
    let mut gateway = Gateway::start_with(|config| {
        config.server.shutdown_delay = Duration::from_secs(600);
        config.server.drain_timeout = Duration::ZERO;
    })
    .await;
    // Readiness comes with the first answer of the gRPC port, if not before.
    Call::GetSession.send(&gateway).await.unwrap();
    assert_eq!(get(&gateway, "/livez").await, (200, "ok".to_owned()));
    assert_eq!(get(&gateway, "/readyz").await, (200, "ok".to_owned()));

    // The vendors have no say in it.
    gateway.sandbox.stop().await;
    Call::GetSession.send(&gateway).await.unwrap_err();
    assert_eq!(get(&gateway, "/readyz").await.0, 200);

    let mut health = HealthClient::new(gateway.channel.clone());
    let watched = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watched = watched.into_inner();
    let serving = watched.message().await.unwrap().unwrap();
    assert_eq!(serving.status(), ServingStatus::Serving);
    gateway.terminate();
    let leaving = watched.message().await.unwrap().unwrap();
    assert_eq!(leaving.status(), ServingStatus::NotServing);
    assert_eq!(get(&gateway, "/readyz").await, (503, "draining".to_owned()));
    assert_eq!(get(&gateway, "/livez").await.0, 200);
}

/// Asked by plain sockets, from outside of any runtime.
fn ask(address: SocketAddr, path: &str) -> String {
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Whatever keeps calls from being served must not keep operators from seeing it.
#[test]
fn the_port_answers_while_every_worker_is_blocked() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    let gateway = runtime.block_on(runtime.spawn(Gateway::start())).unwrap();
    // As code would that computes for ever.
    let ends: Vec<_> = (0..2)
        .map(|_| {
            let ((tell, blocked), (end, ended)) = (mpsc::channel(), mpsc::channel::<()>());
            runtime.spawn(async move {
                tell.send(()).unwrap();
                let _ = ended.recv();
            });
            blocked.recv_timeout(PATIENCE).unwrap();
            end
        })
        .collect();
    for (path, word) in [("/livez", "ok"), ("/readyz", "ok"), ("/metrics", "# TYPE")] {
        let answer = ask(gateway.admin, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains(word), "{path}: {answer}");
    }
    drop(ends);
    runtime.shutdown_background();
}

#[tokio::test]
async fn metrics_have_their_names() {
    let gateway = Gateway::start_with(impatient).await;
    for call in ALL {
        call.send(&gateway).await.unwrap();
    }
    let fault = Rule::new(Fault::status(502))
        .times(1)
        .operation("UpdateUserData");
    gateway.sandbox.faults().push(fault).unwrap();
    Call::Update.send(&gateway).await.unwrap();

    let (status, metrics) = get(&gateway, "/metrics").await;
    assert_eq!(status, 200);
    for (name, labels) in [
        (
            "rpc_server_call_duration_seconds_count",
            &[
                r#"rpc_method="contactcenter.v1.SmsSessionData/AttachUserData""#,
                r#"rpc_status_code="OK""#,
                r#"rpc_system_name="grpc""#,
            ][..],
        ),
        (
            "rpc_server_call_duration_seconds_bucket",
            &[r#"le="0.005""#],
        ),
        (
            "http_client_request_duration_seconds_count",
            &[
                r#"http_request_method="POST""#,
                r#"http_response_status_code="200""#,
                r#"url_template="/api/v2/me/smssessions/{id}""#,
                r#"server_address="127.0.0.1""#,
            ],
        ),
        (
            "http_client_request_duration_seconds_bucket",
            &[r#"le="10""#],
        ),
        (
            "switchboard_vendor_attempts_total",
            &[
                r#"vendor="aicc""#,
                r#"operation="query""#,
                r#"outcome="ok""#,
            ],
        ),
        (
            "switchboard_vendor_attempts_total",
            &[
                r#"vendor="genesys""#,
                r#"operation="UpdateUserData""#,
                r#"outcome="unavailable""#,
            ],
        ),
        (
            "switchboard_retries_total",
            &[r#"vendor="genesys""#, r#"reason="unavailable""#],
        ),
        (
            "switchboard_token_refreshes_total",
            &[
                r#"vendor="genesys""#,
                r#"account="default""#,
                r#"result="ok""#,
            ],
        ),
    ] {
        let sample = |line: &str| line.starts_with(&format!("{name}{{")) && all(line, labels);
        assert!(metrics.lines().any(sample), "{name} {labels:?}: {metrics}");
    }
    let sent = metrics.lines().find(|line| {
        line.starts_with("switchboard_vendor_attempts_total")
            && all(line, &[r#"operation="AttachUserData""#])
    });
    assert!(sent.unwrap().ends_with(" 1"), "{sent:?}");
}

#[tokio::test]
async fn metrics_tell_nobodys_data() {
    let gateway = Gateway::start_with(impatient).await;
    for call in ALL {
        call.send(&gateway).await.unwrap();
        // What goes wrong must not tell more than what goes well.
        gateway
            .sandbox
            .faults()
            .replace(vec![Rule::new(Fault::status(400))])
            .unwrap();
        call.send(&gateway).await.unwrap_err();
        gateway.sandbox.faults().clear();
        call.send_as(&gateway, "secret-account").await.unwrap_err();
    }
    let (_, metrics) = get(&gateway, "/metrics").await;
    let planted = [
        SESSION,
        USER,
        RECORD,
        "agent1",
        GENESYS_PASSWORD,
        AICC_APP,
        AICC_SECRET,
        "Topic",
        "billing",
        "secret-account",
    ];
    for planted in planted {
        assert!(!metrics.contains(planted), "{planted}: {metrics}");
    }
    for entry in gateway.sandbox.journal().entries() {
        for name in ["authorization", "cookie", "x-csrf-token"] {
            if let Some(value) = entry.request_headers.get(name) {
                assert!(!metrics.contains(value.to_str().unwrap()));
            }
        }
    }
}

#[tokio::test]
async fn it_says_what_it_has_and_nothing_else() {
    let gateway = Gateway::start().await;
    let (status, page) = get(&gateway, "/").await;
    assert_eq!(status, 200);
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(page.contains(path), "{page}");
    }
    assert_eq!(get(&gateway, "/nothing").await.0, 404);
}

#[tokio::test]
async fn it_goes_with_the_process() {
    let mut gateway = Gateway::start().await;
    Call::GetSession.send(&gateway).await.unwrap();
    let (_, metrics) = get(&gateway, "/metrics").await;
    assert_eq!(names(&metrics), names(&gateway.metrics.text()));
    gateway.terminate();
    gateway.ended().await.unwrap();
    let url = format!("http://{}/livez", gateway.admin);
    assert!(reqwest::get(url).await.unwrap_err().is_connect());
}

fn names(metrics: &str) -> BTreeSet<&str> {
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect()
}

fn all(line: &str, labels: &[&str]) -> bool {
    labels.iter().all(|label| line.contains(label))
}

pub async fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", gateway.admin);
    let answer = reqwest::get(url).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.text().await.unwrap())
}
