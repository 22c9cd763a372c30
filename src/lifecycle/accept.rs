//! The next connection to a port, whatever keeps the process from taking it for a while.

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// Trying again at once would only spin, as there is nothing to accept it with.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

pub async fn accept(listener: &TcpListener, port: &'static str) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, port, "a connection could not be accepted");
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            }
        }
    }
}
