//! Callers that mean harm, or know no better, cost the gateway no more than their own connection:
//! what they begin has bounds and an end, and everybody else is served meanwhile.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::Full;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::pb::{AttachUserDataRequest, Confirmation};
use switchboard::sandbox::faults::{Fault, Rule};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::ServiceExt;

use crate::support::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING,
    REFUSED_STREAM, RST_STREAM, frame, greeted, head, message, rest,
};
use crate::support::vendor::{Vendor, json};
use crate::support::watch::{in_time, until};
use crate::support::{self, Gateway, SESSION, get, patient, relocate, untimed};

const GET: &str = "/contactcenter.v1.SmsSessionData/GetSession";
const ATTACH: &str = "/contactcenter.v1.SmsSessionData/AttachUserData";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const LIST: &str = "/contactcenter.v1.SmsSessionData/ListSessions";

/// A connection of its own.
fn channel(gateway: &Gateway) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.address));
    endpoint.unwrap().connect_lazy()
}

/// A well-behaved caller gets its answer.
async fn assert_serves(gateway: &Gateway) {
    let mut sms = SmsSessionDataClient::new(channel(gateway));
    let answer = in_time("the other caller's answer", sms.get_session(get())).await;
    answer.unwrap();
}

/// The tasks of this process: every connection and every call of the gateway is one.
fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Until nothing is left of what a caller began.
async fn forgotten(gateway: &Gateway) {
    let open = || {
        gateway
            .metrics
            .text()
            .contains("switchboard_connections 0\n")
    };
    until("no connection is left", open).await;
}

/// The odd streams, as clients number theirs.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| 2 * n + 1)
}

#[tokio::test]
async fn what_is_no_http2_is_closed() {
    let gateway = Gateway::start().await;
    let hello = [frames::PREFACE, &frame(frames::SETTINGS, 0, 0, b"")].concat();
    let after = |garbage: &[u8]| [&hello, garbage].concat();
    for garbage in [
        b"GET / HTTP/1.1\r\nhost: gateway\r\naccept: */*\r\n\r\n".to_vec(),
        // How TLS begins.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on, and so on".to_vec(),
        vec![0; 4096],
        vec![0xff; 4096],
        after(&vec![0xff; 4096]),
        after(b"GET / HTTP/1.1\r\n\r\n, after all"),
        after(&frame(HEADERS, END_HEADERS, 1, &[0xff; 100])),
        after(&frame(HEADERS, END_HEADERS, 0, &head(GET))),
        after(&frame(HEADERS, END_HEADERS, 2, &head(GET))),
        after(&frame(DATA, 0, 1, b"before its head")),
        after(&frame(CONTINUATION, END_HEADERS, 1, b"of nothing")),
        after(&frame(PING, 0, 0, b"short")),
        after(&frame(frames::SETTINGS, 0, 0, b"odd")),
        // Longer than a frame may be.
        after(&frame(DATA, 0, 1, &vec![0; 20_000])),
    ] {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        // It may be closed before all of it is written.
        let _ = socket.write_all(&garbage).await;
        rest(&mut socket).await;
    }
    assert_serves(&gateway).await;
    forgotten(&gateway).await;
}

#[tokio::test]
async fn metadata_without_end_ends_the_connection() {
    let gateway = Gateway::start().await;
    let mut socket = greeted(gateway.address, b"").await;
    let begin = frame(HEADERS, END_STREAM, 1, &head(GET));
    socket.write_all(&begin).await.unwrap();
    let more = field_of_16k();
    let mut sent = 0;
    while socket.write_all(&more).await.is_ok() {
        sent += more.len();
        // Far more than is buffered on the way, and far less than a memory.
        assert!(sent < 64 << 20, "it takes everything");
        tokio::task::yield_now().await;
    }
    assert_serves(&gateway).await;
    forgotten(&gateway).await;
}

fn field_of_16k() -> Vec<u8> {
    let value = "x".repeat(100);
    let fields = (0..120).flat_map(|n| frames::field(&format!("x-filler-{n}"), &value));
    let fields: Vec<u8> = fields.collect();
    frame(CONTINUATION, 0, 1, &fields)
}

#[tokio::test]
async fn a_message_of_another_length_than_told_fails_its_call_alone() {
    const PROTOCOL_ERROR: u32 = 1;
    let gateway = Gateway::start().await;
    let told = frames::field("content-length", "1");
    let begin = frame(HEADERS, END_HEADERS, 1, &[head(GET), told].concat());
    let longer = frame(DATA, END_STREAM, 1, b"\0\0\0\0\0");
    let mut socket = greeted(gateway.address, b"").await;
    socket.write_all(&[begin, longer].concat()).await.unwrap();
    let reset = loop {
        let frame = frames::next(&mut socket).await.expect("a reset");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!((reset.stream, reset.error_code()), (1, PROTOCOL_ERROR));
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn metadata_that_is_too_much_fails_its_call_alone() {
    let gateway = Gateway::start().await;
    let mut sms = gateway.sms();
    let mut request = tonic::Request::new(get());
    let filler = "x".repeat(20_000).parse().unwrap();
    request.metadata_mut().insert("x-filler", filler);
    let status = sms.get_session(request).await.unwrap_err();
    assert_ne!(status.code(), Code::Ok);
    assert!(gateway.sandbox.journal().entries().is_empty());
    sms.get_session(get()).await.unwrap();
}

/// User data that is a list in a list, and so on: two bytes of tags and two lengths a level.
fn bomb(depth: usize) -> Vec<u8> {
    let mut value = Vec::new();
    for _ in 0..depth {
        value = tagged(6, &tagged(1, &value));
    }
    let entry = [tagged(1, b"key"), tagged(2, &value)].concat();
    let data = tagged(1, &entry);
    [tagged(1, SESSION.as_bytes()), tagged(2, &data)].concat()
}

fn tagged(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend(bytes);
    field
}

#[tokio::test]
async fn a_bomb_of_nested_values_fails_its_call_alone() {
    let gateway = Gateway::start().await;
    let connection = untimed::connect(gateway.address).await.unwrap();
    for depth in [20, 49, 50, 200, 10_000] {
        let bytes = bomb(depth);
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        let body = Bytes::from([&[0][..], &length, &bytes].concat());
        let request = Request::post(format!("http://{}{ATTACH}", gateway.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::new(body)))
            .unwrap();
        let answer = connection.clone().oneshot(request).await.unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        let known = [Code::InvalidArgument, Code::Internal];
        assert!(known.contains(&status.code()), "{depth}: {status:?}");
        support::reason(&status);
    }
    assert!(gateway.sandbox.journal().entries().is_empty());
    assert_serves(&gateway).await;
}

/// Whatever a packed message would grow to, nobody unpacks it.
#[tokio::test]
async fn a_packed_message_is_refused_unread() {
    let gateway = Gateway::start().await;
    let connection = untimed::connect(gateway.address).await.unwrap();
    for packing in ["gzip", "deflate", "zstd", "snappy"] {
        // Flagged as packed, and holding what no packing makes.
        let body = Bytes::from_static(&[1, 0, 0, 0, 4, 0x1f, 0x8b, 8, 0]);
        let request = Request::post(format!("http://{}{ATTACH}", gateway.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", packing)
            .body(Body::new(Full::new(body)))
            .unwrap();
        let answer = connection.clone().oneshot(request).await.unwrap();
        let status = tonic::Status::from_header_map(answer.headers()).unwrap();
        assert_eq!(status.code(), Code::Unimplemented, "{packing}: {status:?}");
        assert_eq!(support::reason(&status), "INVALID_MESSAGE");
        // What it should have been, as gRPC's rules for compression have it.
        assert_eq!(answer.headers()["grpc-accept-encoding"], "identity");
    }
    assert!(gateway.sandbox.journal().entries().is_empty());
}

/// Whoever sends two would take the answer to the first for that to both, and endless ones would be read until
/// the deadline.
#[tokio::test]
async fn a_call_has_one_message() {
    let gateway = Gateway::start().await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let send = async |path: &str, parts: &[&[u8]], ends: bool| {
        let request = Request::post(format!("http://{}{path}", gateway.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        for (number, part) in parts.iter().enumerate() {
            let last = number + 1 == parts.len();
            let part = Bytes::copy_from_slice(part);
            body.send_data(part, last && ends).unwrap();
        }
        let answer = in_time("the answer", answer).await.unwrap();
        tonic::Status::from_header_map(answer.headers())
    };
    let attach = message(&AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    });
    let check = message(&HealthCheckRequest::default());
    for (path, one) in [(ATTACH, &attach), (CHECK, &check)] {
        for more in [&one[..], b"x"] {
            let both = [&one[..], more].concat();
            for (parts, ends) in [
                (vec![&both[..]], true),
                (vec![&one[..], more], true),
                (vec![&one[..], more], false),
            ] {
                let refused = send(path, &parts, ends).await.expect("a refusal");
                assert_eq!(refused.code(), Code::Internal, "{path}: {refused:?}");
                assert!(refused.message().contains("one message"), "{refused:?}");
                if path == ATTACH {
                    assert_eq!(support::reason(&refused), "INVALID_MESSAGE");
                }
            }
        }
    }
    assert!(gateway.sandbox.journal().entries().is_empty());
    // However it is cut.
    let bytes: Vec<&[u8]> = attach.chunks(1).collect();
    assert!(send(ATTACH, &bytes, true).await.is_none());
}

/// A page in a browser can have it send such a request, with the certificate of whoever reads the page;
/// and who repeats what fails may repeat a GET.
#[tokio::test]
async fn what_is_no_call_of_grpc_is_not_made_as_one() {
    let gateway = Gateway::start().await;
    let connection = untimed::connect(gateway.address).await.unwrap();
    let send = async |method: Method, path: &str, content_type: Option<&str>| {
        let body = Body::new(Full::new(Bytes::from(message(&get()))));
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://{}{path}", gateway.address).parse().unwrap();
        if let Some(content_type) = content_type {
            let content_type = content_type.parse().unwrap();
            request.headers_mut().insert("content-type", content_type);
        }
        connection.clone().oneshot(request).await.unwrap()
    };
    let odd = [
        (Method::POST, None, 415),
        (Method::POST, Some(""), 415),
        (Method::POST, Some("text/plain"), 415),
        (Method::POST, Some("application/json"), 415),
        (Method::POST, Some("application/grpc-web"), 415),
        (Method::POST, Some("application/grpcx"), 415),
        (Method::GET, Some("application/grpc"), 405),
        (Method::PUT, Some("application/grpc"), 405),
    ];
    for (method, content_type, http) in odd {
        for path in [GET, CHECK, "/", "/index.html"] {
            let told = format!("{method} {path} of {content_type:?}");
            let answer = send(method.clone(), path, content_type).await;
            assert_eq!(answer.status().as_u16(), http, "{told}");
            assert!(answer.headers().contains_key("x-request-id"), "{told}");
            let status = tonic::Status::from_header_map(answer.headers()).unwrap();
            assert_eq!(status.code(), Code::Internal, "{told}");
            assert_eq!(support::reason(&status), "INVALID_MESSAGE", "{told}");
        }
    }
    assert!(gateway.sandbox.journal().entries().is_empty());
    for fine in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "Application/GRPC",
    ] {
        let answer = send(Method::POST, GET, Some(fine)).await;
        assert_eq!(answer.status(), 200, "{fine}");
        let failed = tonic::Status::from_header_map(answer.headers());
        assert!(failed.is_none(), "{fine}: {failed:?}");
    }
}

/// Its caller counts on a deadline: to be served under another one would be no answer to it.
#[tokio::test]
async fn a_deadline_that_cannot_be_read_is_refused() {
    let gateway = Gateway::start().await;
    let connection = untimed::connect(gateway.address).await.unwrap();
    let failure = async |path: &str, timeout: &str| {
        let body = Body::new(Full::new(Bytes::from(message(&get()))));
        let request = Request::post(format!("http://{}{path}", gateway.address))
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout);
        let request = request.body(body).unwrap();
        let answer = connection.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        tonic::Status::from_header_map(answer.headers())
    };
    for path in [GET, ATTACH, CHECK] {
        for timeout in ["", "5", "1.5S", "30s", "-1S", "123456789m"] {
            let status = failure(path, timeout).await.expect(timeout);
            assert_eq!(status.code(), Code::Internal, "{timeout:?}: {status:?}");
            assert_eq!(support::reason(&status), "INVALID_MESSAGE");
            assert!(status.message().contains("grpc-timeout"), "{status:?}");
        }
    }
    assert!(gateway.sandbox.journal().entries().is_empty());
    assert!(failure(GET, "5S").await.is_none());
}

/// One that is cut short by its answer is a failure to many clients of HTTP, and one that never ends is not
/// waited for.
#[tokio::test]
async fn what_is_no_call_of_grpc_is_answered_when_it_ends_or_takes_long() {
    let gateway = Gateway::start().await;
    let mut get_request = head(GET);
    // GET of the static table, in place of POST.
    get_request[0] = 0x82;
    let begin = |stream| frame(HEADERS, END_HEADERS, stream, &get_request);
    let mut socket = greeted(gateway.address, b"").await;
    socket.write_all(&begin(1)).await.unwrap();
    // Time enough to be answered in.
    assert_serves(&gateway).await;
    let ping = frame(PING, 0, 0, b"halfway.");
    socket.write_all(&ping).await.unwrap();
    loop {
        let frame = frames::next(&mut socket).await.unwrap();
        assert_eq!(frame.stream, 0, "answered at its head: {frame:?}");
        if frame.kind == PING {
            break;
        }
    }
    let end = frame(DATA, END_STREAM, 1, b"the rest");
    socket.write_all(&[end, begin(3)].concat()).await.unwrap();
    frames::answered(&mut socket, 1).await;
    loop {
        let frame = frames::next(&mut socket).await.unwrap();
        assert_ne!(frame.stream, 1, "its answer is whole: {frame:?}");
        if (frame.kind, frame.stream) == (HEADERS, 3) {
            break;
        }
    }
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn calls_begun_and_reset_by_the_thousand_end_the_connection() {
    let gateway = Gateway::start().await;
    assert_serves(&gateway).await;
    forgotten(&gateway).await;
    let before = tasks();
    let mut socket = greeted(gateway.address, b"").await;
    let begin = |stream| frame(HEADERS, END_HEADERS, stream, &head(GET));
    let storm = streams(10_000).flat_map(|stream| [begin(stream), frames::reset(stream)].concat());
    let storm: Vec<u8> = storm.collect();
    // It is closed long before all of it is written.
    let _ = socket.write_all(&storm).await;
    let frames = rest(&mut socket).await;
    if let Some(end) = frames.iter().find(|frame| frame.kind == GOAWAY) {
        assert_eq!(end.error_code(), ENHANCE_YOUR_CALM);
    }
    drop(socket);
    assert_serves(&gateway).await;
    forgotten(&gateway).await;
    until("their tasks are gone", || tasks() <= before).await;
}

/// As a service does that stalls, or whose callers' deadlines pass all at once: what it cancels must
/// not cost it the calls that it still wants.
#[tokio::test]
async fn as_many_calls_as_a_connection_carries_may_be_cancelled_at_once() {
    const CARRIED: u32 = 1024;
    let gateway = Gateway::start().await;
    let mut socket = greeted(gateway.address, b"").await;
    let begin = |stream| frame(HEADERS, END_HEADERS, stream, &head(GET));
    let cancelled = streams(CARRIED).flat_map(|it| [begin(it), frames::reset(it)].concat());
    let wanted = 2 * CARRIED + 1;
    let call = [
        begin(wanted),
        frame(DATA, END_STREAM, wanted, &message(&get())),
    ];
    let all: Vec<u8> = cancelled.chain(call.concat()).collect();
    socket.write_all(&all).await.unwrap();
    loop {
        let frame = frames::next(&mut socket).await;
        let frame = frame.expect("the connection was ended");
        assert_ne!(frame.kind, GOAWAY, "{}", frame.error_code());
        if frame.kind == HEADERS && frame.stream == wanted {
            break;
        }
    }
}

/// What has been begun of such a write goes on; but only as much as the vendor's limit lets.
#[tokio::test]
async fn writes_that_outlive_their_callers_are_bounded() {
    let gateway = Gateway::start_with(|config| {
        patient(config);
        let limit = &mut config.genesys.as_mut().unwrap().upstream.limit;
        (limit.in_flight, limit.queue) = (4, 8);
    })
    .await;
    assert_serves(&gateway).await;
    let hang = Rule::new(Fault::Hang).operation("AttachUserData");
    gateway.sandbox.faults().push(hang).unwrap();
    let before = tasks();
    let attach = message(&AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Colour", "green")])),
        ..Default::default()
    });
    for _ in 0..5 {
        let mut socket = greeted(gateway.address, b"").await;
        for stream in streams(40) {
            let begin = frame(HEADERS, END_HEADERS, stream, &head(ATTACH));
            let body = frame(DATA, END_STREAM, stream, &attach);
            socket.write_all(&[begin, body].concat()).await.unwrap();
        }
        // Answers of those that found no place say that all have been looked at.
        let mut answers = 0;
        while answers < 28 {
            let frame = frames::next(&mut socket).await.expect("an answer");
            answers += usize::from(frame.kind == HEADERS);
        }
    }
    forgotten(&gateway).await;
    // Those at the vendor, those in the queue, and the vendor's own side of a connection.
    assert!(tasks() <= before + 4 + 8 + 4, "{} of {before}", tasks());
    let sent = gateway.sandbox.journal().count("genesys", "AttachUserData");
    assert_eq!(sent, 4);
    assert_serves_another(&gateway).await;
}

/// Those that are to be seen in place wait where no limit of the vendor's counts them.
#[tokio::test]
async fn confirmed_writes_that_outlive_their_callers_keep_their_places() {
    let session = r#"{"statusCode":0,"smssession":{"id":"1","state":"Chatting","userData":{}}}"#;
    let vendor = Vendor::saying(json(session)).await;
    let gateway = Gateway::start_with(|config| {
        relocate(config, &vendor.url);
        config.server.max_in_flight = 3;
        config.server.default_deadline = Duration::from_secs(30);
    })
    .await;
    let mut calls = Vec::new();
    for number in 1..=3 {
        let mut sms = gateway.sms();
        let attach = AttachUserDataRequest {
            session_id: number.to_string(),
            user_data: Some(support::data(&[("Colour", "green")])),
            confirmation: Confirmation::Confirmed.into(),
            ..Default::default()
        };
        calls.push(tokio::spawn(
            async move { sms.attach_user_data(attach).await },
        ));
        let attaches = || {
            vendor
                .calls()
                .into_iter()
                .filter(|it| it.method == Method::POST && it.target.contains("smssessions/"))
        };
        until("it is at the vendor", || attaches().count() == number).await;
    }
    for call in calls {
        call.abort();
    }
    let left = |line: &str| {
        line.contains("AttachUserData") && line.contains("CANCELLED") && line.ends_with(" 3")
    };
    until("all callers have left", || {
        gateway.metrics.text().lines().any(left)
    })
    .await;
    let refused = support::calls::Call::ListSessions.send(&gateway).await;
    assert_eq!(support::reason(&refused.unwrap_err()), "OVERLOADED");
}

/// The other vendor is not touched by the limit of the first.
async fn assert_serves_another(gateway: &Gateway) {
    let call = support::calls::Call::QuerySettings.send(gateway);
    in_time("the other vendor's answer", call).await.unwrap();
}

#[tokio::test]
async fn calls_beyond_the_streams_of_a_connection_are_refused() {
    let gateway = Gateway::start().await;
    let mut socket = greeted(gateway.address, b"").await;
    // Each waits for its message.
    let begin = |stream| frame(HEADERS, END_HEADERS, stream, &head(GET));
    let calls: Vec<u8> = streams(1100).flat_map(begin).collect();
    socket.write_all(&calls).await.unwrap();
    for _ in 1024..1100 {
        let refused = loop {
            let frame = frames::next(&mut socket).await.expect("no end");
            if frame.kind == RST_STREAM {
                break frame;
            }
        };
        assert_eq!(refused.error_code(), REFUSED_STREAM);
    }
    assert_serves(&gateway).await;
    drop(socket);
    forgotten(&gateway).await;
}

/// Whoever does not read the answers to its pings is not read from either.
#[tokio::test]
async fn a_flood_of_pings_is_not_taken_in_when_nobody_reads_the_answers() {
    let gateway = Gateway::start().await;
    let mut socket = greeted(gateway.address, b"").await;
    let pings = frame(PING, 0, 0, b"flooding").repeat(4096);
    let mut sent = 0;
    let pause = Duration::from_secs(1);
    // Until it is not read any more.
    while let Ok(written) = timeout(pause, socket.write(&pings[sent % pings.len()..])).await {
        sent += written.unwrap();
        // The buffers of both sockets take some; beyond them nothing does.
        assert!(sent < 256 << 20, "it takes everything");
    }
    assert_serves(&gateway).await;
    drop(socket);
    forgotten(&gateway).await;
}

/// No window for any answer, in an otherwise lively connection.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

#[tokio::test]
async fn a_caller_that_never_reads_its_answers_keeps_no_drain() {
    let sessions = r#"{"statusCode":0,"smssessions":[{"id":"1","state":"Chatting"}]}"#;
    let vendor = Vendor::saying(json(sessions)).await;
    let mut gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
    let mut socket = greeted(gateway.address, &NO_WINDOW).await;
    for stream in streams(50) {
        let begin = frame(HEADERS, END_HEADERS, stream, &head(LIST));
        let body = frame(DATA, END_STREAM, stream, &[0; 5]);
        socket.write_all(&[begin, body].concat()).await.unwrap();
    }
    vendor.arrived(50 + 1).await;
    assert_serves_any(&gateway).await;
    gateway.terminate();
    in_time("the drain", gateway.ended()).await.unwrap();
}

/// Whoever asks for the health need not be known, so all of it has bounds.
#[tokio::test]
async fn a_health_check_that_never_comes_keeps_no_drain() {
    let mut gateway = Gateway::start().await;
    let mut socket = greeted(gateway.address, b"").await;
    let begin = frame(HEADERS, END_HEADERS, 1, &head(CHECK));
    socket.write_all(&begin).await.unwrap();
    // Answered after the first one was begun.
    let check = frame(HEADERS, END_HEADERS, 3, &head(CHECK));
    let body = frame(DATA, END_STREAM, 3, &[0; 5]);
    socket.write_all(&[check, body].concat()).await.unwrap();
    frames::answered(&mut socket, 3).await;
    gateway.terminate();
    in_time("the drain", gateway.ended()).await.unwrap();
}

#[tokio::test]
async fn a_health_check_that_never_comes_is_answered_at_the_deadline() {
    let gateway = Gateway::start_with(|config| {
        config.server.default_deadline = Duration::from_millis(100);
    })
    .await;
    let mut socket = greeted(gateway.address, b"").await;
    let begin = frame(HEADERS, END_HEADERS, 1, &head(CHECK));
    socket.write_all(&begin).await.unwrap();
    frames::answered(&mut socket, 1).await;
}

#[tokio::test]
async fn health_checks_whose_answers_nobody_takes_are_bounded() {
    const HELD: usize = 4096;
    let gateway = Gateway::start().await;
    let check = |stream| {
        let begin = frame(HEADERS, END_HEADERS, stream, &head(CHECK));
        [begin, frame(DATA, END_STREAM, stream, &[0; 5])].concat()
    };
    let (mut sockets, mut refused) = (Vec::new(), 0);
    for _ in 0..5 {
        let mut socket = greeted(gateway.address, &NO_WINDOW).await;
        let checks: Vec<u8> = streams(1000).flat_map(check).collect();
        socket.write_all(&checks).await.unwrap();
        let mut answers = 0;
        while answers < 1000 {
            let frame = frames::next(&mut socket).await.expect("an answer");
            let answer = frame.kind == HEADERS;
            answers += usize::from(answer);
            refused += usize::from(answer && frame.flags & END_STREAM != 0);
        }
        sockets.push(socket);
    }
    assert_eq!(refused, 5 * 1000 - HELD);
    let mut health = HealthClient::new(channel(&gateway));
    let status = health.check(HealthCheckRequest::default()).await;
    let status = status.unwrap_err();
    assert_eq!(support::reason(&status), "OVERLOADED");
    assert_serves(&gateway).await;
    drop(sockets);
    let left = || {
        gateway
            .metrics
            .text()
            .contains("switchboard_connections 1\n")
    };
    until("their connections have ended", left).await;
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_health_check_is_no_larger_than_a_name() {
    let gateway = Gateway::start().await;
    let mut health = HealthClient::new(channel(&gateway));
    for (length, code) in [(4000, Code::NotFound), (5000, Code::OutOfRange)] {
        let service = "s".repeat(length);
        let answer = health.check(HealthCheckRequest { service }).await;
        assert_eq!(answer.unwrap_err().code(), code);
    }
}

async fn assert_serves_any(gateway: &Gateway) {
    let call = support::calls::Call::ListSessions.send(gateway);
    in_time("the other caller's answer", call).await.unwrap();
}

#[tokio::test]
async fn callers_that_vanish_leave_nothing_behind() {
    let gateway = Gateway::start_with(|config| {
        patient(config);
        config.server.max_in_flight = 300;
    })
    .await;
    assert_serves(&gateway).await;
    forgotten(&gateway).await;
    let before = tasks();
    let slow = Rule::new(Fault::Hang).operation("GetSession").times(300);
    gateway.sandbox.faults().push(slow).unwrap();
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = greeted(gateway.address, b"").await;
        for stream in streams(100) {
            let begin = frame(HEADERS, END_HEADERS, stream, &head(GET));
            let body = frame(DATA, END_STREAM, stream, &message(&get()));
            socket.write_all(&[begin, body].concat()).await.unwrap();
        }
        sockets.push(socket);
    }
    let journal = gateway.sandbox.journal();
    until("all are at the vendor", || {
        journal.count("genesys", "GetSession") == 301
    })
    .await;
    for socket in sockets {
        // A reset, as by a machine that is gone.
        socket.set_zero_linger().unwrap();
    }
    forgotten(&gateway).await;
    until("their tasks are gone", || tasks() <= before).await;
    assert_serves(&gateway).await;
}

#[tokio::test]
async fn connections_that_only_wait_keep_nobody_out() {
    let gateway = Gateway::start().await;
    let sockets = join_all((0..400).map(|n| begun(&gateway, n % 24))).await;
    assert_serves(&gateway).await;
    drop(sockets);
    forgotten(&gateway).await;
}

/// A connection that has said so many bytes of its greeting.
async fn begun(gateway: &Gateway, bytes: usize) -> TcpStream {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(&frames::PREFACE[..bytes]).await.unwrap();
    socket
}
