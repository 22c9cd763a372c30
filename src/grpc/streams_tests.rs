//! What a drain does to a stream, and what it does not do to a short answer.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tonic::Code;
use tower::ServiceExt;

use super::*;

type Frames = mpsc::Sender<Frame<Bytes>>;

/// A body that its sender writes.
struct Channel(mpsc::Receiver<Frame<Bytes>>);

impl HttpBody for Channel {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// An open stream below the layer.
async fn stream(closing: &CancellationToken) -> (Frames, Body) {
    let (frames, channel) = mpsc::channel(16);
    let mut body = Some(Body::new(Channel(channel)));
    let inner = tower::service_fn(move |_: Request<()>| {
        let body = body.take().expect("one call");
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let service = EndOnDrainLayer::new(closing.clone(), 10, 10).layer(inner);
    let response = service.oneshot(Request::new(())).await.unwrap();
    (frames, response.into_body())
}

fn data(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

/// The status that a stream ended with.
async fn ended(body: &mut Body) -> Status {
    let frame = body.frame().await.expect("trailers").expect("no failure");
    let trailers = frame.into_trailers().expect("trailers and no data");
    assert!(!trailers.contains_key("content-type"), "{trailers:?}");
    Status::from_header_map(&trailers).expect("a status")
}

#[tokio::test]
async fn a_stream_passes_until_the_drain_ends_it() {
    let closing = CancellationToken::new();
    let (frames, mut body) = stream(&closing).await;
    frames.send(data("serving")).await.unwrap();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "serving");
    assert!(!body.is_end_stream());
    closing.cancel();
    let status = ended(&mut body).await;
    assert_eq!(status.code(), Code::Unavailable);
    // At once and somewhere else: this replica goes away.
    assert_eq!(
        status.metadata().get("grpc-retry-pushback-ms").unwrap(),
        "1"
    );
    assert!(body.frame().await.is_none());
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn the_drain_wakes_every_stream_that_waits() {
    let closing = CancellationToken::new();
    let streams = join_all((0..50).map(|_| stream(&closing))).await;
    let waiting = streams.into_iter().map(|(frames, mut body)| async move {
        let status = ended(&mut body).await;
        drop(frames);
        status.code()
    });
    let drain = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        closing.cancel();
    };
    let (codes, ()) = tokio::join!(join_all(waiting), drain);
    assert_eq!(codes, [Code::Unavailable; 50]);
}

#[tokio::test]
async fn what_was_ready_goes_out_before_the_end() {
    let closing = CancellationToken::new();
    let (frames, mut body) = stream(&closing).await;
    frames.send(data("answer")).await.unwrap();
    closing.cancel();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "answer");
    assert_eq!(ended(&mut body).await.code(), Code::Unavailable);
}

#[tokio::test]
async fn an_answer_that_is_complete_is_not_touched() {
    let closing = CancellationToken::new();
    closing.cancel();
    let (frames, mut body) = stream(&closing).await;
    frames.send(data("answer")).await.unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    frames.send(Frame::trailers(trailers)).await.unwrap();
    drop(frames);
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert_eq!(ended(&mut body).await.code(), Code::Ok);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_stream_that_ends_by_itself_ends_as_it_did() {
    let closing = CancellationToken::new();
    let (frames, mut body) = stream(&closing).await;
    drop(frames);
    assert!(body.frame().await.is_none());
}

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

fn is_refused(answer: &Response<Body>) -> bool {
    let status = Status::from_header_map(answer.headers());
    status.is_some_and(|it| it.code() == Code::ResourceExhausted)
}

#[tokio::test]
async fn there_are_only_so_many_streams_and_checks_are_none() {
    let layer = EndOnDrainLayer::new(CancellationToken::new(), 2, 2);
    let streams = layer.layer(tower::service_fn(|_: Request<()>| {
        let open = Body::new(Channel(mpsc::channel(1).1));
        std::future::ready(Ok::<_, Infallible>(Response::new(open)))
    }));
    let ask = |path: &str| {
        let request = Request::post(path).body(()).unwrap();
        streams.clone().oneshot(request)
    };
    let (first, _second) = (ask(WATCH).await.unwrap(), ask(WATCH).await.unwrap());
    assert!(is_refused(&ask(WATCH).await.unwrap()));
    for _ in 0..10 {
        assert!(!is_refused(&ask(CHECK).await.unwrap()));
    }
    drop(first);
    assert!(!is_refused(&ask(WATCH).await.unwrap()), "a place was lost");
    // And of answers that nobody takes.
    let (first, _second) = (ask(CHECK).await.unwrap(), ask(CHECK).await.unwrap());
    assert!(is_refused(&ask(CHECK).await.unwrap()));
    drop(first);
    assert!(!is_refused(&ask(CHECK).await.unwrap()), "a place was lost");
}

/// Whether they would be streams or not.
#[tokio::test]
async fn there_are_only_so_many_calls_that_wait_for_their_message() {
    let never = tower::service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let service = EndOnDrainLayer::new(CancellationToken::new(), 10, 2).layer(never);
    let ask = |path: &str| {
        let request = Request::post(path).body(()).unwrap();
        Box::pin(service.clone().oneshot(request))
    };
    let (mut check, mut watch) = (ask(CHECK), ask(WATCH));
    assert!(futures_util::poll!(&mut check).is_pending());
    assert!(futures_util::poll!(&mut watch).is_pending());
    for path in [CHECK, WATCH] {
        assert!(is_refused(&ask(path).await.unwrap()));
    }
    drop(watch);
    assert!(futures_util::poll!(&mut ask(CHECK)).is_pending());
}

#[tokio::test]
async fn a_call_that_waits_for_its_message_ends_with_the_drain() {
    let closing = CancellationToken::new();
    let never = tower::service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let service = EndOnDrainLayer::new(closing.clone(), 1, 1).layer(never);
    let mut call = Box::pin(service.oneshot(Request::post(CHECK).body(()).unwrap()));
    assert!(futures_util::poll!(&mut call).is_pending());
    closing.cancel();
    let status = Status::from_header_map(call.await.unwrap().headers()).unwrap();
    assert_eq!(status.code(), Code::Unavailable);
}
