//! Callers that cost little: one encoded message, sent again and again over a few connections.

use std::net::SocketAddr;
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
use tokio::time::{Instant, sleep_until, timeout_at};

const METHOD: &str = "/contactcenter.v1.SmsSessionData/UpdateUserData";

/// Longer than any call takes where a server is not asked for more than it can do.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Callers {
    connections: Vec<SendRequest<Bytes>>,
    uri: String,
    message: Bytes,
}

/// What came of a run.
pub(crate) struct Run {
    pub(crate) done: usize,
    pub(crate) failed: usize,
    took: Duration,
    /// In milliseconds, of the calls that succeeded; sorted.
    latencies: Vec<f64>,
}

impl Callers {
    pub(crate) async fn connect(address: SocketAddr, connections: usize) -> Callers {
        let connect = (0..connections).map(|_| async move {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut builder = h2::client::Builder::new();
            builder.initial_connection_window_size(16 << 20);
            let (calls, connection) = builder.handshake(stream).await.unwrap();
            tokio::spawn(connection);
            calls
        });
        Callers {
            connections: join_all(connect).await,
            uri: format!("http://{address}{METHOD}"),
            message: message(),
        }
    }

    /// So many calls in flight at any time, for so long.
    pub(crate) async fn closed(&self, in_flight: usize, time: Duration) -> Run {
        let begun = Instant::now();
        let caller = |number: usize| {
            let mut calls = self.connections[number % self.connections.len()].clone();
            async move {
                let (mut latencies, mut failed) = (Vec::new(), 0);
                while begun.elapsed() < time {
                    let start = Instant::now();
                    match self.call(&mut calls).await {
                        true => latencies.push(start.elapsed().as_secs_f64() * 1e3),
                        false => failed += 1,
                    }
                }
                (latencies, failed)
            }
        };
        let all = join_all((0..in_flight).map(caller)).await;
        let failed = all.iter().map(|(_, failed)| failed).sum();
        let latencies = all.into_iter().flat_map(|(latencies, _)| latencies);
        Run::new(latencies.collect(), failed, begun.elapsed())
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
        for call in 0..number {
            let due = begun + Duration::from_secs_f64(call as f64 / rate);
            if due > Instant::now() {
                sleep_until(due).await;
            }
            let mut calls = self.connections[call % self.connections.len()].clone();
            let request = self.request(patience);
            let (message, tell) = (self.message.clone(), tell.clone());
            tokio::spawn(async move {
                let call = send(&mut calls, request, message);
                let done = matches!(timeout_at(due + patience, call).await, Ok(Ok(true)));
                let _ = tell.send((done, due.elapsed().as_secs_f64() * 1e3));
            });
        }
        drop(tell);
        let (mut latencies, mut failed) = (Vec::new(), 0);
        while let Some((done, latency)) = told.recv().await {
            match done {
                true => latencies.push(latency),
                false => failed += 1,
            }
        }
        Run::new(latencies, failed, begun.elapsed())
    }

    /// So many, one after the other on each of the connections.
    pub(crate) async fn calls(&self, number: usize) {
        let each = number / self.connections.len();
        let work = self.connections.iter().map(|calls| async move {
            let mut calls = calls.clone();
            for _ in 0..each {
                assert!(self.call(&mut calls).await);
            }
        });
        join_all(work).await;
    }

    /// Connections that the server has closed.
    pub(crate) async fn lost(&self) -> usize {
        let ready = self.connections.iter().map(|calls| calls.clone().ready());
        let all = join_all(ready).await;
        all.iter().filter(|ready| ready.is_err()).count()
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
    fn new(mut latencies: Vec<f64>, failed: usize, took: Duration) -> Run {
        latencies.sort_by(f64::total_cmp);
        Run {
            done: latencies.len(),
            failed,
            took,
            latencies,
        }
    }

    /// Successes per second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    /// Of none, it is not a number.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (q * last as f64).round() as usize;
        self.latencies.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// Whether the answer was an OK; an error where the connection takes no more calls.
async fn send(
    calls: &mut SendRequest<Bytes>,
    request: Request<()>,
    message: Bytes,
) -> Result<bool, h2::Error> {
    let mut ready = calls.clone().ready().await?;
    let (answer, mut body) = ready.send_request(request, false)?;
    body.send_data(message, true)?;
    let Ok(answer) = answer.await else {
        return Ok(false);
    };
    if let Some(done) = is_ok(answer.headers()) {
        return Ok(done);
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            return Ok(false);
        };
        let _ = body.flow_control().release_capacity(data.len());
    }
    let trailers = body.trailers().await.ok().flatten();
    Ok(trailers.is_some_and(|trailers| is_ok(&trailers) == Some(true)))
}

fn is_ok(headers: &HeaderMap) -> Option<bool> {
    headers.get("grpc-status").map(|status| status == "0")
}

/// The vendor's documented sample of an update, as gRPC frames it.
fn message() -> Bytes {
    let value = |kind| Value { kind: Some(kind) };
    let fields = [
        ("UserData1", value(Kind::NumberValue(987_654_321.0))),
        (
            "UserData2",
            value(Kind::StringValue("DATAUPDATE-@123".into())),
        ),
    ];
    let request = UpdateUserDataRequest {
        session_id: "0071023821aec011".into(),
        user_data: Some(Struct {
            fields: fields.map(|(key, value)| (key.to_owned(), value)).into(),
        }),
        ..Default::default()
    };
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(request.encoded_len() as u32);
    request.encode(&mut framed).unwrap();
    framed.freeze()
}
