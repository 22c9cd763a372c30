use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::ServiceExt as _;

use super::*;
use crate::telemetry::Metrics;
use crate::telemetry::testing::Spans;

const METHOD: &str = "contactcenter.v1.SmsSessionData/AttachUserData";

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;
type Frames = Vec<Result<Frame<Bytes>, io::Error>>;

#[derive(Debug)]
struct Told;

impl Costs for Told {
    fn attempts(&self) -> u32 {
        2
    }

    fn account(&self) -> Option<Arc<str>> {
        Some("agent2".into())
    }

    fn vendor_status(&self) -> Option<u16> {
        Some(503)
    }

    fn vendor_time(&self) -> Duration {
        Duration::from_micros(12_345)
    }
}

struct Fixture {
    metrics: Metrics,
    spans: Spans,
    recent: Recent,
}

impl Fixture {
    fn new() -> Self {
        Self {
            metrics: Metrics::new().unwrap(),
            spans: Spans::capture(),
            recent: nobody(),
        }
    }

    /// The layer around a service that gives one answer, or none ever.
    fn service(
        &self,
        answer: Option<Answer>,
    ) -> impl Service<
        Request<()>,
        Response = Response<Observed<UnsyncBoxBody<Bytes, io::Error>>>,
        Error = Infallible,
        Future: Send,
    > + use<> {
        let mut answer = Some(answer);
        let leaf = tower::service_fn(move |request: Request<()>| {
            let answer = answer.take().flatten();
            let notes: &Notes = request.extensions().get().unwrap();
            notes.set("abc-1".parse().unwrap(), Told);
            notes.called_by(Some("dns:bot".into()));
            async move {
                tokio::time::sleep(Duration::from_millis(60)).await;
                match answer {
                    Some(answer) => Ok(answer),
                    None => future::pending().await,
                }
            }
        });
        ServerTelemetryLayer::new(&self.metrics.meter(), [METHOD], self.recent.clone()).layer(leaf)
    }

    async fn call(&self, answer: Answer) -> Response<Observed<UnsyncBoxBody<Bytes, io::Error>>> {
        self.service(Some(answer))
            .oneshot(request(METHOD))
            .await
            .unwrap()
    }

    /// Asserts that exactly one call is in the metrics, and gives its labels.
    fn recorded(&self) -> String {
        let text = self.metrics.text();
        let mut counts = text
            .lines()
            .filter_map(|line| line.strip_prefix("rpc_server_call_duration_seconds_count"));
        let (labels, count) = counts.next().unwrap().rsplit_once(' ').unwrap();
        assert_eq!((count, counts.next()), ("1", None), "{text}");
        labels.to_owned()
    }
}

fn request(method: &str) -> Request<()> {
    Request::post(format!("/{method}")).body(()).unwrap()
}

fn answer(frames: Frames) -> Answer {
    Response::builder()
        .header("x-secret", "hush")
        .body(UnsyncBoxBody::new(StreamBody::new(stream::iter(frames))))
        .unwrap()
}

fn data() -> Result<Frame<Bytes>, io::Error> {
    Ok(Frame::data(Bytes::from_static(b"message")))
}

fn trailers(status: &'static str) -> Result<Frame<Bytes>, io::Error> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    Ok(Frame::trailers(trailers))
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let mut found = span.attributes.iter().filter(|kv| kv.key.as_str() == key);
    let value = found.next().map(|kv| kv.value.to_string());
    assert!(found.next().is_none(), "{key} twice");
    value
}

#[tokio::test(start_paused = true)]
async fn a_unary_call_ends_with_its_trailers() {
    let fixture = Fixture::new();
    let response = fixture.call(answer(vec![data(), trailers("0")])).await;
    assert!(fixture.spans.ended().is_empty());
    response.into_body().collect().await.unwrap();

    assert_eq!(
        fixture.recorded(),
        format!(r#"{{rpc_method="{METHOD}",rpc_status_code="OK",rpc_system_name="grpc"}}"#)
    );
    let text = fixture.metrics.text();
    for limit in [r#"le="0.05"} 0"#, r#"le="0.075"} 1"#, r#"le="10"} 1"#] {
        assert!(text.contains(limit), "{text}");
    }

    let span = fixture.spans.only();
    assert_eq!(span.name, METHOD);
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(span.status, Status::Unset);
    assert_eq!(attribute(&span, "rpc.system.name").unwrap(), "grpc");
    assert_eq!(attribute(&span, "rpc.method").unwrap(), METHOD);
    assert_eq!(attribute(&span, "rpc.status_code").unwrap(), "OK");
    assert_eq!(attribute(&span, "error.type"), None);
}

#[tokio::test(start_paused = true)]
async fn every_call_has_one_line_in_the_log() {
    let fixture = Fixture::new();
    let response = fixture.call(answer(vec![trailers("5")])).await;
    response.into_body().collect().await.unwrap();

    let lines = fixture.spans.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!(line["target"], "switchboard::access");
    assert_eq!(line["method"], METHOD);
    assert_eq!(line["code"], "NOT_FOUND");
    assert_eq!(line["request_id"], "abc-1");
    assert_eq!(line["attempts"], 2);
    assert_eq!(line["caller"], "dns:bot");
    assert_eq!(line["account"], "agent2");
    assert_eq!(line["vendor_status"], 503);
    assert_eq!(line["vendor_ms"], 12.345);
    assert!(line.get("reason").is_none());
    assert!(line["duration_ms"].as_f64().unwrap() >= 60.0);
    let context = fixture.spans.only().span_context;
    assert_eq!(line["trace_id"], context.trace_id().to_string());
    assert!(!format!("{line}").contains("hush"));
}

/// As the last of a call that failed, or of a stream.
fn status(code: tonic::Code, reason: &str) -> HeaderMap {
    let info = ErrorDetails::with_error_info(reason, "x", HashMap::new());
    let status = tonic::Status::with_error_details(code, "no", info);
    status.into_http::<()>().headers().clone()
}

fn circuit_open() -> HeaderMap {
    status(tonic::Code::Unavailable, "CIRCUIT_OPEN")
}

#[tokio::test(start_paused = true)]
async fn the_line_says_who_called_and_why_it_failed() {
    let mut at_once = answer(vec![]);
    at_once.headers_mut().extend(circuit_open());
    let after_messages = answer(vec![data(), data(), Ok(Frame::trailers(circuit_open()))]);
    for answer in [at_once, after_messages] {
        let fixture = Fixture::new();
        let _ = fixture.call(answer).await.into_body().collect().await;

        let line = &fixture.spans.lines()[0];
        assert_eq!(line["caller"], "dns:bot");
        assert_eq!(line["code"], "UNAVAILABLE");
        assert_eq!(line["reason"], "CIRCUIT_OPEN");
        let span = fixture.spans.only();
        let reason = attribute(&span, "switchboard.reason").unwrap();
        assert_eq!(reason, "CIRCUIT_OPEN");
    }
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_caller_that_left_says_who_it_was_and_what_it_cost() {
    let fixture = Fixture::new();
    let call = fixture.service(None).oneshot(request(METHOD));
    let late = tokio::time::timeout(Duration::from_secs(1), call).await;
    assert!(late.is_err());
    let line = &fixture.spans.lines()[0];
    assert_eq!(line["code"], "CANCELLED");
    assert_eq!(line["caller"], "dns:bot");
    assert_eq!(
        (&line["attempts"], &line["request_id"]),
        (&2.into(), &"abc-1".into())
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_body_has_its_status_in_the_headers() {
    let fixture = Fixture::new();
    let mut answer = answer(vec![]);
    answer
        .headers_mut()
        .insert("grpc-status", "14".parse().unwrap());
    let response = fixture.call(answer).await;

    let span = fixture.spans.only();
    assert_eq!(span.status, Status::error(""));
    assert_eq!(attribute(&span, "rpc.status_code").unwrap(), "UNAVAILABLE");
    assert_eq!(attribute(&span, "error.type").unwrap(), "UNAVAILABLE");
    drop(response);
    assert_eq!(
        fixture.recorded(),
        format!(
            r#"{{error_type="UNAVAILABLE",rpc_method="{METHOD}",rpc_status_code="UNAVAILABLE",rpc_system_name="grpc"}}"#
        )
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_did_wrong_is_no_failure() {
    let fixture = Fixture::new();
    let response = fixture.call(answer(vec![trailers("3")])).await;
    response.into_body().collect().await.unwrap();

    let span = fixture.spans.only();
    assert_eq!(span.status, Status::Unset);
    assert_eq!(attribute(&span, "error.type"), None);
    assert!(fixture.recorded().contains("INVALID_ARGUMENT"));
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_before_its_answer_is_cancelled() {
    let fixture = Fixture::new();
    let call = fixture.service(None).oneshot(request(METHOD));
    let late = tokio::time::timeout(Duration::from_secs(1), call).await;
    assert!(late.is_err());

    assert!(
        fixture
            .recorded()
            .contains(r#"rpc_status_code="CANCELLED""#)
    );
    let span = fixture.spans.only();
    assert_eq!(span.status, Status::Unset);
    assert_eq!(attribute(&span, "rpc.status_code").unwrap(), "CANCELLED");
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_before_it_was_polled_is_cancelled() {
    let fixture = Fixture::new();
    let mut service = fixture.service(None);
    drop(service.ready().await.unwrap().call(request(METHOD)));
    assert!(
        fixture
            .recorded()
            .contains(r#"rpc_status_code="CANCELLED""#)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_dropped_midway_is_cancelled() {
    let fixture = Fixture::new();
    let endless = stream::repeat_with(data).boxed();
    let answer = answer(vec![]).map(|_| UnsyncBoxBody::new(StreamBody::new(endless)));
    let mut body = fixture.call(answer).await.into_body();
    body.frame().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(fixture.spans.ended().is_empty());
    drop(body);

    assert!(
        fixture
            .recorded()
            .contains(r#"rpc_status_code="CANCELLED""#)
    );
    assert!(fixture.metrics.text().contains(r#"le="7.5"} 0"#));
    assert_eq!(fixture.spans.ended().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_or_has_no_status_is_a_failure() {
    for (last, code) in [
        (Some(Err(io::Error::other("torn"))), "INTERNAL"),
        (None, "UNKNOWN"),
    ] {
        let fixture = Fixture::new();
        let frames = [data()].into_iter().chain(last).collect();
        let response = fixture.call(answer(frames)).await;
        let _ = response.into_body().collect().await;
        assert!(fixture.recorded().contains(code));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_never_polled_because_it_was_over_is_not_cancelled() {
    let fixture = Fixture::new();
    let empty = http_body_util::Empty::new().map_err(|never| match never {});
    let answer = answer(vec![]).map(|_| UnsyncBoxBody::new(empty));
    drop(fixture.call(answer).await);
    assert!(fixture.recorded().contains(r#"rpc_status_code="UNKNOWN""#));
}

#[tokio::test(start_paused = true)]
async fn a_method_that_we_do_not_have_is_other() {
    let fixture = Fixture::new();
    let mut answer = answer(vec![]);
    answer
        .headers_mut()
        .insert("grpc-status", "12".parse().unwrap());
    let request = request("made.up.Service/Name1234");
    let service = fixture.service(Some(answer));
    let _ = service.oneshot(request).await.unwrap();

    assert!(fixture.recorded().contains(r#"rpc_method="_OTHER""#));
    let span = fixture.spans.only();
    assert_eq!(span.name, "grpc");
    assert_eq!(attribute(&span, "rpc.method").unwrap(), "_OTHER");
    assert!(!format!("{span:?}{:?}", fixture.spans.lines()).contains("Name1234"));
}

#[tokio::test(start_paused = true)]
async fn the_caller_s_span_is_the_parent() {
    let fixture = Fixture::new();
    let mut request = request(METHOD);
    request.headers_mut().insert(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            .parse()
            .unwrap(),
    );
    let service = fixture.service(Some(answer(vec![trailers("0")])));
    // Not the span that happens to be open where the connection is served.
    let tracer = global::tracer("test");
    let elsewhere = TraceContext::new().with_span(tracer.start("connection"));
    let response = service.oneshot(request).with_context(elsewhere).await;
    response.unwrap().into_body().collect().await.unwrap();

    let ended = fixture.spans.ended();
    let span = ended.iter().find(|span| span.name == METHOD).unwrap();
    assert_eq!(
        span.span_context.trace_id().to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(
        span.parent_span_id,
        SpanId::from_hex("b7ad6b7169203331").unwrap()
    );
    assert!(span.parent_span_is_remote);
}

#[tokio::test]
async fn over_the_wire_calls_and_streams_end_as_the_caller_saw_them() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    let (reporter, health) = tonic_health::server::health_reporter();
    let metrics = Metrics::new().unwrap();
    let methods = ["Check", "Watch"].map(|method| format!("grpc.health.v1.Health/{method}"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .layer(ServerTelemetryLayer::new(
            &metrics.meter(),
            methods,
            nobody(),
        ))
        .add_service(health)
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    let server = tokio::spawn(server);

    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let ask = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    client.check(ask("")).await.unwrap();
    client.check(ask("unheard.of")).await.unwrap_err();
    let mut watch = client.watch(ask("")).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    drop(watch);
    let cancelled = r#"rpc_method="grpc.health.v1.Health/Watch",rpc_status_code="CANCELLED""#;
    let text = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            let text = metrics.text();
            if text.contains(cancelled) {
                break text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let text = text.await.unwrap();
    for code in ["OK", "NOT_FOUND"] {
        let check = format!(
            r#"count{{rpc_method="grpc.health.v1.Health/Check",rpc_status_code="{code}",rpc_system_name="grpc"}} 1"#
        );
        assert!(text.contains(&check), "{text}");
    }
    drop(reporter);
    server.abort();
}

/// No vendors.
fn nobody() -> Recent {
    Recent::new::<[String; 0]>([])
}

/// Fails in its headers, as the reason does that a caller gets.
fn refusal() -> Answer {
    let facts = [("vendor", "aicc"), ("vendorStatus", "503")];
    let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let details = ErrorDetails::with_error_info("VENDOR_UNAVAILABLE", "x", facts);
    let status = tonic::Status::with_error_details(tonic::Code::Unavailable, "said", details);
    let mut answer = answer(vec![]);
    let headers = answer.headers_mut();
    headers.extend(status.into_http::<()>().headers().clone());
    headers.insert("x-request-id", "<b>mine</b>".parse().unwrap());
    answer
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_remembered_with_its_reason_and_trace() {
    let fixture = Fixture::new();
    drop(fixture.call(refusal()).await);

    let calls = fixture.recent.failed_calls();
    let [call] = &calls[..] else {
        panic!("{calls:?}")
    };
    assert_eq!((&*call.method, call.code), (METHOD, "UNAVAILABLE"));
    assert_eq!(call.details.reason.as_deref(), Some("VENDOR_UNAVAILABLE"));
    assert_eq!(call.details.vendor_status, Some(503));
    assert_eq!(call.request_id.as_deref(), Some("abc-1"));
    assert_eq!(
        (call.attempts, call.took),
        (Some(2), Duration::from_millis(60))
    );
    let trace = fixture.spans.only().span_context.trace_id().to_string();
    assert_eq!(call.trace_id, Some(trace));
}

#[tokio::test(start_paused = true)]
async fn calls_that_went_well_and_callers_that_left_are_not_remembered() {
    let fixture = Fixture::new();
    let response = fixture.call(answer(vec![data(), trailers("0")])).await;
    response.into_body().collect().await.unwrap();
    drop(fixture.call(answer(vec![data()])).await);
    let codes: Vec<_> = fixture
        .spans
        .ended()
        .iter()
        .map(|span| attribute(span, "rpc.status_code"))
        .collect();
    assert_eq!(codes, [Some("OK".to_owned()), Some("CANCELLED".to_owned())]);
    assert!(fixture.recent.failed_calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_in_its_trailers_is_remembered_too() {
    let fixture = Fixture::new();
    let response = fixture.call(answer(vec![data(), trailers("14")])).await;
    response.into_body().collect().await.unwrap();
    let calls = fixture.recent.failed_calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (calls[0].code, &calls[0].details.reason),
        ("UNAVAILABLE", &None)
    );
    assert_eq!(calls[0].request_id.as_deref(), Some("abc-1"));
}

/// A stream is open until its caller's deadline, or until it is asked to go on elsewhere. Counted as
/// failures these would drown the others.
#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_as_it_is_meant_to_is_no_failure() {
    use tonic::Code::{DeadlineExceeded, Unavailable};
    let (leaving, late) = ("GATEWAY_DRAINING", "DEADLINE");
    let at_once = |headers: HeaderMap| {
        let mut answer = answer(vec![]);
        answer.headers_mut().extend(headers);
        answer
    };
    let last = |headers| answer(vec![data(), Ok(Frame::trailers(headers))]);
    let only = |headers| answer(vec![Ok(Frame::trailers(headers))]);
    for (name, ended, code, reason, failed) in [
        (
            "asked to go",
            last as fn(_) -> _,
            Unavailable,
            leaving,
            false,
        ),
        ("its deadline", last, DeadlineExceeded, late, false),
        ("never opened", at_once, Unavailable, leaving, true),
        ("a call", at_once, DeadlineExceeded, late, true),
        ("without a message", only, DeadlineExceeded, late, true),
        ("broken", last, Unavailable, "VENDOR_UNAVAILABLE", true),
    ] {
        let fixture = Fixture::new();
        let ended = ended(status(code, reason));
        let _ = fixture.call(ended).await.into_body().collect().await;

        let labels = fixture.recorded();
        assert_eq!(labels.contains("error_type"), failed, "{name}: {labels}");
        let span = fixture.spans.only();
        assert_eq!(attribute(&span, "error.type").is_some(), failed, "{name}");
        assert_eq!(span.status == Status::error(""), failed, "{name}");
        assert_eq!(!fixture.recent.failed_calls().is_empty(), failed, "{name}");
        // How it ended is told all the same.
        assert_eq!(fixture.spans.lines()[0]["reason"], reason);
    }
}
