//! An address that can be closed, with all its connections, and opened again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wire::Wire;

/// Serves one connection until it ends.
pub(in crate::sandbox) type Serve = Arc<dyn Fn(Wire) -> BoxFuture<'static, ()> + Send + Sync>;

const BACKLOG: u32 = 1024;
/// Accepting fails when the process is out of file descriptors; trying again at once would only spin.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(20);

pub struct Listener {
    address: SocketAddr,
    /// Bound and never listening: keeps the port from everybody else while the listener is
    /// stopped, so that it refuses connections instead of being somebody else's.
    _reserved: TcpSocket,
    serve: Serve,
    running: Mutex<Running>,
}

#[derive(Clone, Default)]
struct Running {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    pub(in crate::sandbox) fn open(address: SocketAddr, serve: Serve) -> io::Result<Self> {
        let reserved = bind(address)?;
        let address = reserved.local_addr()?;
        let running = Running::default();
        running.accept(bind(address)?.listen(BACKLOG)?, Arc::clone(&serve));
        Ok(Self {
            address,
            _reserved: reserved,
            serve,
            running: Mutex::new(running),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        let running = self.running.lock().expect("no holder of this lock panics");
        // One of the tasks is the one that accepts.
        running.tasks.len().saturating_sub(1)
    }

    /// Listens again, on the port of before; nothing to do if it never stopped.
    /// Like all that opens sockets, it needs a Tokio runtime around it.
    pub fn start(&self) -> io::Result<()> {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        if !running.stop.is_cancelled() {
            return Ok(());
        }
        let socket = bind(self.address)?.listen(BACKLOG)?;
        *running = Running::default();
        running.accept(socket, Arc::clone(&self.serve));
        Ok(())
    }

    /// Returns when nobody listens on the port any more and every connection has been reset.
    pub async fn stop(&self) {
        let running = self
            .running
            .lock()
            .expect("no holder of this lock panics")
            .clone();
        running.stop.cancel();
        running.tasks.close();
        running.tasks.wait().await;
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Ok(running) = self.running.get_mut() {
            running.stop.cancel();
        }
    }
}

impl Running {
    fn accept(&self, socket: TcpListener, serve: Serve) {
        let running = self.clone();
        self.tasks.spawn(async move {
            let stop = running.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = running.accept_all(socket, serve) => {}
            }
        });
    }

    async fn accept_all(self, socket: TcpListener, serve: Serve) {
        loop {
            let Ok((stream, _)) = socket.accept().await else {
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                continue;
            };
            // Without it the small frames of a trickled body would wait for each other.
            let _ = stream.set_nodelay(true);
            self.tasks.spawn(connection(
                Wire::new(stream),
                Arc::clone(&serve),
                self.stop.clone(),
            ));
        }
    }
}

async fn connection(wire: Wire, serve: Serve, stop: CancellationToken) {
    let abort = wire.abort();
    let killed = async {
        stop.cancelled().await;
        // Before the stream is dropped, that is, while this future is still being polled.
        abort.engage();
    };
    tokio::select! {
        () = killed => {}
        () = serve(wire) => {}
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // Beside the socket that keeps the port, and while connections of before may be in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
