//! What happens to calls is told three times, in metrics, in the access log and in spans, and all three
//! tell the same: whatever ends a call, it counts once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use switchboard::pb::{
    AttachUserDataRequest, Confirmation, GetAgentSettingsRequest, GetSessionRequest,
    WatchSessionsRequest,
};
use switchboard::sandbox::faults::{Fault, Rule};
use tokio::task::JoinSet;

use crate::support::collector::Collector;
use crate::support::observed::Observed;
use crate::support::untimed::within;
use crate::support::watch::in_time;
use crate::support::{SESSION, USER, data, get};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

type Sums = BTreeMap<(String, String), u64>;

fn add(sums: &mut Sums, one: String, other: String, more: u64) {
    if more > 0 {
        *sums.entry((one, other)).or_default() += more;
    }
}

/// A metric by two of its labels.
fn counted(text: &str, name: &str, labels: [&str; 2]) -> Sums {
    let mut sums = Sums::new();
    let series = text.lines().filter(|line| line.starts_with(name));
    for line in series {
        let label = |name: &str| {
            let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let value = line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
        add(&mut sums, label(labels[0]), label(labels[1]), value as u64);
    }
    sums
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

fn spanned(spans: &[Span], kind: i32, keys: [&str; 2], absent: &str) -> Sums {
    let mut sums = Sums::new();
    for span in spans.iter().filter(|span| span.kind == kind) {
        let [one, other] = keys.map(|key| attribute(span, key));
        add(
            &mut sums,
            one.unwrap(),
            other.unwrap_or(absent.to_owned()),
            1,
        );
    }
    sums
}

/// Calls of every kind and fate, a few at a time.
async fn traffic(process: &Observed) {
    let mut calls = JoinSet::new();
    for number in 0..400_u64 {
        while calls.len() >= 24 {
            calls.join_next().await;
        }
        let (mut sms, mut settings) = (process.sms(), process.settings());
        let left = number % 7 == 0;
        let short = Duration::from_millis(5 + number % 5 * 40);
        let call = async move {
            match number % 6 {
                0 => drop(sms.get_session(within(short, get())).await),
                1 | 2 => {
                    let confirmation = match number % 4 {
                        0 => Confirmation::Confirmed,
                        _ => Confirmation::Accepted,
                    };
                    let attach = AttachUserDataRequest {
                        session_id: SESSION.into(),
                        user_data: Some(data(&[(&format!("k{}", number / 2), "v")])),
                        confirmation: confirmation.into(),
                        request_id: format!("id-{}", number % 40),
                        ..Default::default()
                    };
                    drop(sms.attach_user_data(within(short * 3, attach)).await);
                }
                3 => {
                    let user_id = USER.into();
                    let get = GetAgentSettingsRequest {
                        user_id,
                        ..Default::default()
                    };
                    drop(settings.get_agent_settings(within(short * 2, get)).await);
                }
                4 => {
                    let watch = within(short * 2, WatchSessionsRequest::default());
                    if let Ok(stream) = sms.watch_sessions(watch).await {
                        let mut stream = stream.into_inner();
                        while let Ok(Some(_)) = stream.message().await {}
                    }
                }
                _ => drop(sms.get_session(GetSessionRequest::default()).await),
            }
        };
        calls.spawn(async move {
            if left {
                drop(tokio::time::timeout(short / 4, call).await);
            } else {
                call.await;
            }
        });
    }
    while calls.join_next().await.is_some() {}
}

/// Once nothing is under way any more.
async fn settled(process: &Observed) -> String {
    let mut before = String::new();
    let quiet = async {
        loop {
            let text = process.metrics().await;
            let idle = ["switchboard_in_flight 0", "switchboard_watch_streams 0"];
            let idle = idle.iter().all(|it| text.lines().any(|line| line == *it));
            let counts = |text: &str| {
                let lines = text.lines().filter(|line| line.contains("_count{"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            if idle && counts(&text) == counts(&before) {
                return text;
            }
            before = text;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    in_time("all calls to end", quiet).await
}

#[tokio::test]
async fn metrics_log_and_spans_tell_the_same() {
    let (collector, endpoint) = Collector::start().await;
    let mut process = Observed::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100000"),
        ("SWITCHBOARD__SERVER__MAX_IN_FLIGHT", "12"),
        ("SWITCHBOARD__GENESYS__BREAKER__OPEN", "200ms"),
    ])
    .await;
    for (fault, probability) in [
        (Fault::status(503), 0.1),
        (Fault::Reset, 0.1),
        (Fault::CutBody, 0.05),
        (Fault::Latency { ms: 30 }, 0.5),
    ] {
        let rule = Rule::new(fault).probability(probability);
        process.sandbox.faults().push(rule).unwrap();
    }
    traffic(&process).await;
    let text = settled(&process).await;
    assert!(process.end().await.success());

    let calls = counted(
        &text,
        "rpc_server_call_duration_seconds_count{",
        ["rpc_method", "rpc_status_code"],
    );
    let mut lines = Sums::new();
    for line in process.lines() {
        if line["target"] == "switchboard::access" {
            let [method, code] = ["method", "code"].map(|it| line[it].as_str().unwrap());
            add(&mut lines, method.to_owned(), code.to_owned(), 1);
        }
    }
    let spans = collector.spans();
    let keys = ["rpc.method", "rpc.status_code"];
    assert_eq!(lines, calls);
    assert_eq!(spanned(&spans, SERVER, keys, ""), calls);
    let codes = calls.keys().map(|(_, code)| code.as_str());
    let codes: BTreeSet<_> = codes.collect();
    for code in [
        "OK",
        "CANCELLED",
        "INVALID_ARGUMENT",
        "RESOURCE_EXHAUSTED",
        "DEADLINE_EXCEEDED",
    ] {
        assert!(codes.contains(code), "none was {code}: {calls:#?}");
    }

    let attempts = counted(
        &text,
        "switchboard_vendor_attempts_total{",
        ["operation", "outcome"],
    );
    // The notifications' session goes on for a minute.
    let steady = |sums: Sums| -> Sums {
        let polls = ["Connect", "Handshake", "Subscribe", "Disconnect"];
        sums.into_iter()
            .filter(|((operation, _), _)| !polls.contains(&operation.as_str()))
            .collect()
    };
    let keys = ["switchboard.operation", "error.type"];
    let requests = spanned(&spans, CLIENT, keys, "ok");
    assert_eq!(steady(requests), steady(attempts));
}
