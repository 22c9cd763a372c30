//! Callers' connections: how many there are, how long each lives, and what each may cost.
//!
//! The gRPC library's own accept loop knows no bound on connections, waits for ever for one that
//! says nothing, and ends all of the same age at once; so this one is ours
//! ([ADR 10](../../../docs/adr/0010-own-accept-loop.md)).

mod arrivals;
mod calls;
mod door;
mod peer;
mod secured;
mod tls;
mod wire;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use opentelemetry::metrics::Meter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::body::Body;
use tower::Service;

pub(super) use self::arrivals::Arrival;
use self::arrivals::{Arrivals, Tasks};
use self::calls::Calls;
use self::door::Door;
pub(super) use self::peer::{Certificate, Peer};
pub use self::tls::{Tls, TlsError, TlsFiles};
use self::wire::Wire;
use crate::lifecycle::accept;

/// How often an idle connection is asked whether somebody is still there, and how long the
/// answer may take.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);

/// Headers of one request in all; beyond it the request is refused.
const LARGEST_HEADERS: u32 = 16 * 1024;

/// Calls that one connection may have in flight; others wait at the client.
const STREAMS_PER_CONNECTION: u32 = 1024;

/// Calls that a caller took back before they were looked at, all at one time: as many as it may
/// have in flight, since a machine that is busy finds them all cancelled once their deadlines have
/// passed. A rapid reset is over it at once.
const RESETS_PENDING: usize = STREAMS_PER_CONNECTION as usize;

/// Calls that we had to reset for breaking the protocol, in a connection's whole life.
const RESETS_BY_US: usize = 1024;

/// What waits, per stream, for a caller that reads slowly.
const SEND_BUFFER: usize = 64 * 1024;

/// Beyond it a connection has no age worth counting; and sums with it never overflow.
const EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the operator allows callers' connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// In the whole process.
    pub max: usize,
    /// Then the caller is asked to open another one; each connection's own is up to a tenth
    /// longer or shorter.
    pub max_age: Duration,
    /// What calls in flight have to end once their connection is to end.
    pub grace: Duration,
}

/// Among the extensions of each request, for streams without an end of their own: they end when their
/// connection is to end.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    token: CancellationToken,
    streams: TaskTracker,
}

impl Leaving {
    pub(super) fn hold(&self) -> Hold {
        Hold {
            token: self.token.clone(),
            _stream: self.streams.token(),
        }
    }
}

/// A stream's, for as long as it is open: its connection does not end early then.
#[derive(Debug, Clone)]
pub struct Hold {
    token: CancellationToken,
    _stream: TaskTrackerToken,
}

impl Hold {
    /// Waits until the connection is to end all the same.
    pub async fn leaving(&self) {
        self.token.cancelled().await;
    }
}

/// Serves every connection until `closing`, and then until the last of them has ended.
pub(super) async fn serve<S, B>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    service: S,
    limits: ConnectionLimits,
    meter: &Meter,
    closing: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let door = Door::new(limits.max, meter);
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            stream = accept(&listener, "gRPC") => stream,
        };
        // Closing it at once sends its caller to another replica; left waiting in the queue of
        // the kernel it would look like a gateway that hangs.
        let Some(place) = door.admit() else { continue };
        let (service, leaving) = (service.clone(), closing.child_token());
        let tls = tls.clone();
        connections.spawn(async move {
            match tls {
                Some(tls) => secured::serve(&tls, stream, service, limits, leaving).await,
                None => plain(stream, service, limits, leaving).await,
            }
            drop(place);
        });
    }
    // Now, so that who comes too late is refused and does not wait.
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// A connection in clear, from its first byte to its last.
async fn plain<S, B>(
    stream: TcpStream,
    service: S,
    limits: ConnectionLimits,
    leaving: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let peer = Peer {
        address: prepare(&stream),
        certificate: None,
    };
    connection(stream, peer, service, limits, leaving).await;
}

/// Makes a connection ready, and says whose it is.
fn prepare(stream: &TcpStream) -> Option<Arc<str>> {
    // Answers are small, and each is waited for. Where it cannot be set they are only slower.
    let _ = stream.set_nodelay(true);
    stream.peer_addr().ok().map(host)
}

/// A caller over IPv4 is known by its own address, also where the port is one of IPv6 that takes both.
fn host(address: SocketAddr) -> Arc<str> {
    address.ip().to_canonical().to_string().into()
}

/// One connection from its greeting to its last byte.
async fn connection<T, S, B>(
    stream: T,
    peer: Peer,
    service: S,
    limits: ConnectionLimits,
    leaving: CancellationToken,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let calls = Calls::default();
    let greeted = tokio::select! {
        () = leaving.cancelled() => return,
        greeted = Wire::greeted(stream, calls.clone()) => greeted,
    };
    let Ok(wire) = greeted.inspect_err(|error| tracing::debug!(%error, "no greeting")) else {
        return;
    };
    let arrivals = Arrivals {
        stack: service,
        peer,
        leaving: leaving.clone(),
        calls: calls.clone(),
    };
    let serving = http2().serve_connection(TokioIo::new(wire), arrivals);
    let ended = until_the_end(
        serving,
        http2::Connection::graceful_shutdown,
        &calls,
        limits,
        &leaving,
    );
    if let Some(Err(error)) = ended.await {
        tracing::debug!(%error, cause = ?error.source(), "a connection failed");
    }
}

/// Serves until the connection ends by itself, or is asked to (`shut`) and has; none when it had
/// to be cut.
async fn until_the_end<C: Future>(
    serving: C,
    shut: impl FnOnce(Pin<&mut C>),
    calls: &Calls,
    limits: ConnectionLimits,
    leaving: &CancellationToken,
) -> Option<C::Output> {
    let mut serving = pin!(serving);
    tokio::select! {
        biased;
        ended = &mut serving => return Some(ended),
        () = leaving.cancelled() => {}
        () = tokio::time::sleep(jittered(limits.max_age)) => {}
        () = calls.outgrown() => {}
    }
    // GOAWAY first, so that no caller opens a stream of before again on this connection.
    shut(serving.as_mut());
    leaving.cancel();
    tokio::select! {
        biased;
        ended = serving => return Some(ended),
        () = calls.over() => {}
        () = tokio::time::sleep(limits.grace.min(EVER)) => {}
    }
    tracing::debug!("a connection was cut: its caller did not close it");
    None
}

fn http2() -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(Tasks);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .max_header_list_size(LARGEST_HEADERS)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .max_pending_accept_reset_streams(RESETS_PENDING)
        .max_local_error_reset_streams(RESETS_BY_US)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// Between nine and eleven tenths: what began together does not end together.
fn jittered(age: Duration) -> Duration {
    age.min(EVER).mul_f64(rand::random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_one_address_whichever_port_it_came_to() {
        for (address, told) in [
            ("10.0.0.7:4711", "10.0.0.7"),
            ("[::ffff:10.0.0.7]:4711", "10.0.0.7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
        ] {
            assert_eq!(&*host(address.parse().unwrap()), told);
        }
    }

    #[test]
    fn ages_differ_by_a_tenth_at_most() {
        let age = Duration::from_secs(1800);
        let ages: Vec<_> = (0..1000).map(|_| jittered(age).as_secs()).collect();
        assert!(
            ages.iter().all(|age| (1620..=1980).contains(age)),
            "{ages:?}"
        );
        let (young, old) = (ages.iter().min().unwrap(), ages.iter().max().unwrap());
        assert!(*young < 1700 && *old > 1900, "{young} to {old}");
        assert!(jittered(Duration::MAX) <= EVER * 2);
    }
}
