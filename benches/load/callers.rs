//! Callers that cost little: one encoded message, sent again and again over a few connections.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use switchboard::pb::UpdateUserDataRequest;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

const METHOD: &str = "/contactcenter.v1.SmsSessionData/UpdateUserData";

/// Longer than any call takes where a server is not asked for more than it can do.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Callers {
    address: SocketAddr,
    connections: Vec<Mutex<SendRequest<Bytes>>>,
    uri: String,
    message: Bytes,
}

/// What came of a run.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) done: usize,
    /// Answered by an error, or not at all.
    pub(crate) failed: usize,
    /// Those of them that were answered.
    pub(crate) refused: usize,
    /// Connections that the server ended, whose callers opened others.
    pub(crate) lost: usize,
    took: Duration,
    /// In milliseconds, of the calls that succeeded; sorted.
    latencies: Vec<f64>,
}

impl Callers {
    pub(crate) async fn connect(address: SocketAddr, connections: usize) -> Callers {
        let connect = (0..connections).map(|_| async move { Mutex::new(open(address).await) });
        Callers {
            address,
            connections: join_all(connect).await,
            uri: format!("http://{address}{METHOD}"),
            message: message(),
        }
    }

    /// So many calls in flight at any time, for so long.
    pub(crate) async fn closed(&self, in_flight: usize, time: Duration) -> Run {
        // A server may have ended connections meanwhile.
        for number in 0..self.connections.len() {
            self.reopen(number).await;
        }
        let begun = Instant::now();
        let caller = |number: usize| {
            let mut calls = self.connection(number);
            async move {
                let mut run = Run::default();
                while begun.elapsed() < time {
                    let start = Instant::now();
                    let answer = self.call(&mut calls).await;
                    run.count(Some(answer), start);
                }
                run
            }
        };
        let all = join_all((0..in_flight).map(caller)).await;
        let mut run = Run::default();
        all.into_iter().for_each(|part| run.add(part));
        run.over(begun)
    }

    /// So many calls a second, whatever became of those before; their time runs from the moment
    /// that each was due.
    pub(crate) async fn open(&self, rate: f64, time: Duration) -> Run {
        self.open_within(PATIENCE, rate, time).await
    }

    /// The same, and callers that give up after so long: their calls have failed.
    pub(crate) async fn open_within(&self, patience: Duration, rate: f64, time: Duration) -> Run {
        let (tell, mut told) = mpsc::unbounded_channel();
        let begun = Instant::now();
        let number = (rate * time.as_secs_f64()) as usize;
        let mut run = Run::default();
        for call in 0..number {
            let due = begun + Duration::from_secs_f64(call as f64 / rate);
            if due > Instant::now() {
                sleep_until(due).await;
            }
            if self.reopen(call).await {
                run.lost += 1;
            }
            let mut calls = self.connection(call);
            let request = self.request(patience);
            let (message, tell) = (self.message.clone(), tell.clone());
            tokio::spawn(async move {
                let call = send(&mut calls, request, message);
                let answer = timeout_at(due + patience, call).await;
                let mut run = Run::default();
                run.count(answer.ok().and_then(Result::ok), due);
                let _ = tell.send(run);
            });
        }
        drop(tell);
        while let Some(part) = told.recv().await {
            run.add(part);
        }
        run.over(begun)
    }

    /// So many, one after the other on each of the connections; all are served, or none.
    pub(crate) async fn calls(&self, number: usize, served: bool) {
        let each = number / self.connections.len();
        let work = (0..self.connections.len()).map(|number| async move {
            let mut calls = self.connection(number);
            for _ in 0..each {
                assert_eq!(self.call(&mut calls).await, served);
            }
        });
        join_all(work).await;
    }

    /// A call that nobody waits for, and time for it to arrive.
    pub(crate) async fn hold(&self) {
        let mut ready = self.connection(0).ready().await.unwrap();
        let (answer, mut body) = ready.send_request(self.request(PATIENCE), false).unwrap();
        body.send_data(self.message.clone(), true).unwrap();
        tokio::spawn(answer);
        sleep(Duration::from_secs(1)).await;
    }

    fn connection(&self, number: usize) -> SendRequest<Bytes> {
        self.place(number).lock().unwrap().clone()
    }

    fn place(&self, number: usize) -> &Mutex<SendRequest<Bytes>> {
        &self.connections[number % self.connections.len()]
    }

    /// As gRPC clients do: another connection in place of one that takes no more calls.
    async fn reopen(&self, number: usize) -> bool {
        let ready = self
            .connection(number)
            .poll_ready(&mut Context::from_waker(Waker::noop()));
        let lost = matches!(ready, Poll::Ready(Err(_)));
        if lost {
            let other = open(self.address).await;
            *self.place(number).lock().unwrap() = other;
        }
        lost
    }

    async fn call(&self, calls: &mut SendRequest<Bytes>) -> bool {
        let sent = send(calls, self.request(PATIENCE), self.message.clone());
        sent.await.unwrap()
    }

    fn request(&self, patience: Duration) -> Request<()> {
        let request = Request::post(&self.uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-timeout", format!("{}m", patience.as_millis()))
            .header("user-agent", "bench");
        request.body(()).unwrap()
    }
}

impl Run {
    /// What came of a call that began at this moment: an OK, an error, or no answer.
    fn count(&mut self, answer: Option<bool>, start: Instant) {
        match answer {
            Some(true) => {
                self.done += 1;
                self.latencies.push(start.elapsed().as_secs_f64() * 1e3);
            }
            other => {
                self.failed += 1;
                self.refused += usize::from(other.is_some());
            }
        }
    }

    fn add(&mut self, part: Run) {
        self.done += part.done;
        self.failed += part.failed;
        self.refused += part.refused;
        self.latencies.extend(part.latencies);
    }

    fn over(mut self, begun: Instant) -> Run {
        self.latencies.sort_by(f64::total_cmp);
        self.took = begun.elapsed();
        self
    }

    /// Successes per second.
    pub(crate) fn rate(&self) -> f64 {
        self.per_second(self.done)
    }

    pub(crate) fn per_second(&self, calls: usize) -> f64 {
        calls as f64 / self.took.as_secs_f64()
    }

    /// Of none, it is not a number.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (q * last as f64).round() as usize;
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }
}

async fn open(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_connection_window_size(16 << 20);
    let (calls, connection) = builder.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    calls
}

/// Whether the answer was an OK; an error where there was none.
async fn send(
    calls: &mut SendRequest<Bytes>,
    request: Request<()>,
    message: Bytes,
) -> Result<bool, h2::Error> {
    let mut ready = calls.clone().ready().await?;
    let (answer, mut body) = ready.send_request(request, false)?;
    body.send_data(message, true)?;
    let answer = answer.await?;
    if let Some(done) = is_ok(answer.headers()) {
        return Ok(done);
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let _ = body.flow_control().release_capacity(data?.len());
    }
    let trailers = body.trailers().await?;
    Ok(trailers.is_some_and(|trailers| is_ok(&trailers) == Some(true)))
}

fn is_ok(headers: &HeaderMap) -> Option<bool> {
    headers.get("grpc-status").map(|status| status == "0")
}

/// The vendor's documented sample of an update, as gRPC frames it; with as many fields of user data as
/// `FIELDS` says, in place of its two.
fn message() -> Bytes {
    let fields = std::env::var("FIELDS").map_or(2, |fields| fields.parse().unwrap());
    let field = |number: usize| {
        let kind = match number % 2 {
            1 => Kind::NumberValue(987_654_321.0),
            _ => Kind::StringValue("DATAUPDATE-@123".into()),
        };
        (format!("UserData{number}"), Value { kind: Some(kind) })
    };
    let request = UpdateUserDataRequest {
        session_id: "0071023821aec011".into(),
        user_data: Some(Struct {
            fields: (1..=fields).map(field).collect(),
        }),
        ..Default::default()
    };
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(request.encoded_len() as u32);
    request.encode(&mut framed).unwrap();
    framed.freeze()
}
