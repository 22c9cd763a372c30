//! The admin port: probes, metrics and a status page.
//!
//! It has a thread and a runtime of its own, so that a gateway whose workers are
//! all busy still answers its probes and is not killed for being busy.

use std::io;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::{Phase, Readiness};
use crate::telemetry::recent::Recent;
use crate::telemetry::{LogLevel, Metrics};

mod connections;
mod status;

/// What Prometheus calls its text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// For answers under way when the port closes. It holds up the end of the process.
const CLOSING: Duration = Duration::from_millis(500);

/// What the admin port shows.
#[derive(Clone, Debug)]
pub struct AdminState {
    pub readiness: Readiness,
    pub metrics: Metrics,
    pub recent: Recent,
    /// None where the log is not the gateway's own.
    pub log_level: Option<LogLevel>,
}

/// Serves the admin port until `stop`. What is returned resolves when the port is closed, be it by
/// a panic: to join the thread would take one for what blocks, and there may be none left.
pub fn start(
    listener: TcpListener,
    state: AdminState,
    stop: CancellationToken,
) -> io::Result<oneshot::Receiver<()>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    listener.set_nonblocking(true)?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (open, closed) = oneshot::channel();
    thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            let _open = open;
            serve(&runtime, listener, state, &stop);
        })?;
    Ok(closed)
}

fn serve(
    runtime: &Runtime,
    listener: tokio::net::TcpListener,
    state: AdminState,
    stop: &CancellationToken,
) {
    let serving = connections::serve(listener, routes(state), stop.clone());
    // A client that never finishes its request must not keep the process.
    let enough = async {
        stop.cancelled().await;
        tokio::time::sleep(CLOSING).await;
    };
    runtime.block_on(async {
        tokio::select! {
            () = serving => {}
            () = enough => {}
        }
    });
}

fn routes(state: AdminState) -> Router {
    Router::new()
        .route("/", get(status::page))
        .route("/status.json", get(status::json))
        .route("/livez", get("ok"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/log", get(log).put(set_log))
        .with_state(state)
}

async fn readyz(State(state): State<AdminState>) -> (StatusCode, &'static str) {
    match state.readiness.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Phase::Ready => (StatusCode::OK, "ok"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

async fn metrics(State(state): State<AdminState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], state.metrics.text())
}

async fn log(State(state): State<AdminState>) -> (StatusCode, String) {
    match state.log_level {
        Some(level) => (StatusCode::OK, level.get() + "\n"),
        None => (StatusCode::NOT_FOUND, String::new()),
    }
}

async fn set_log(State(state): State<AdminState>, level: String) -> (StatusCode, String) {
    let Some(current) = state.log_level else {
        return (StatusCode::NOT_FOUND, String::new());
    };
    match current.set(level.trim()) {
        Ok(()) => (StatusCode::OK, current.get() + "\n"),
        Err(unknown) => (StatusCode::BAD_REQUEST, format!("{unknown}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::connections::MOST;
    use super::*;
    use crate::lifecycle::{Grace, Lifecycle};
    use crate::telemetry::client::ClientMetrics;
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};

    const PATIENCE: Duration = Duration::from_secs(30);

    struct Port {
        address: SocketAddr,
        lifecycle: Lifecycle,
        stop: CancellationToken,
        closed: oneshot::Receiver<()>,
    }

    fn port() -> Port {
        let (lifecycle, metrics) = (Lifecycle::default(), Metrics::new().unwrap());
        ClientMetrics::new(&metrics.meter()).record_retry("aicc", "throttled");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = AdminState {
            readiness: lifecycle.readiness.clone(),
            metrics,
            recent: Recent::new([("aicc", ["default".to_owned()])]),
            log_level: None,
        };
        let stop = CancellationToken::new();
        let closed = start(listener, state, stop.clone()).unwrap();
        Port {
            address,
            lifecycle,
            stop,
            closed,
        }
    }

    impl Port {
        fn ask(&self, method: &str, path: &str) -> String {
            let mut socket = TcpStream::connect(self.address).unwrap();
            write!(
                socket,
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            )
            .unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer
        }

        fn get(&self, path: &str) -> (u16, String) {
            let answer = self.ask("GET", path);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), body.to_owned())
        }

        fn close(self) {
            self.stop.cancel();
            let _ = self.closed.blocking_recv();
            assert!(TcpStream::connect(self.address).is_err());
        }
    }

    #[test]
    fn alive_from_the_first_moment_and_nothing_else_known() {
        let port = port();
        assert_eq!(port.get("/livez"), (200, "ok".to_owned()));
        assert_eq!(port.get("/nothing").0, 404);
        assert!(port.get("/").1.contains("/readyz"));
        assert!(port.ask("POST", "/livez").starts_with("HTTP/1.1 405"));
        port.close();
    }

    // No runtime on this thread: the port has its own.
    #[test]
    fn ready_follows_the_process() {
        let port = port();
        assert_eq!(port.get("/readyz"), (503, "starting".to_owned()));
        port.lifecycle.readiness.ready();
        assert_eq!(port.get("/readyz"), (200, "ok".to_owned()));

        let grace = Grace {
            shutdown_delay: Duration::ZERO,
            drain_timeout: Duration::ZERO,
        };
        let signals = futures_util::stream::iter([()]);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let serving = std::future::pending::<()>();
        let run = port.lifecycle.run(serving, || 0, signals, grace);
        let _ = runtime.block_on(run);
        assert_eq!(port.get("/readyz"), (503, "draining".to_owned()));
        assert_eq!(port.get("/livez").0, 200);
        port.close();
    }

    #[test]
    fn metrics_are_prometheus_text() {
        let port = port();
        let answer = port.ask("GET", "/metrics");
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
        assert!(answer.contains("\nswitchboard_retries_total{"), "{answer}");
        port.close();
    }

    #[test]
    fn a_silent_client_does_not_keep_the_port_open() {
        let port = port();
        let mut silent = TcpStream::connect(port.address).unwrap();
        silent.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
        port.get("/livez");
        port.close();
    }

    /// Each takes a file descriptor, and callers and vendors have none of their own.
    #[test]
    fn silent_clients_make_room_for_those_who_come_after() {
        let port = port();
        let mut silent: Vec<_> = (0..=MOST)
            .map(|_| {
                let mut socket = TcpStream::connect(port.address).unwrap();
                socket.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
                socket
            })
            .collect();
        assert_eq!(port.get("/livez"), (200, "ok".to_owned()));
        let first = &mut silent[0];
        first.set_read_timeout(Some(PATIENCE)).unwrap();
        match first.read(&mut [0]) {
            Ok(read) => assert_eq!(read, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        // The newest are as good as ever.
        let last = &mut silent[MOST];
        let rest = b"host: x\r\nconnection: close\r\n\r\n";
        last.write_all(rest).unwrap();
        let mut answer = String::new();
        last.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        port.close();
    }
}
