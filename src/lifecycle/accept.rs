//! The next connection to a port, whatever keeps the process from taking it for a while.

use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// Trying again at once would only spin, as there is nothing to accept it with.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

pub async fn accept(listener: &TcpListener, port: &'static str) -> TcpStream {
    first(|| listener.accept(), port).await.0
}

/// The first that can be had.
async fn first<T, F>(next: impl Fn() -> F, port: &'static str) -> T
where
    F: Future<Output = io::Result<T>>,
{
    let mut failing = false;
    loop {
        match next().await {
            Ok(connection) => {
                if failing {
                    tracing::info!(port, "connections are accepted again");
                }
                return connection;
            }
            Err(error) if failing => tracing::debug!(%error, port, "nor could another"),
            Err(error) => {
                failing = true;
                tracing::warn!(%error, port, "a connection could not be accepted");
            }
        }
        tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::ready;

    use super::*;
    use crate::telemetry::testing::Spans;

    /// As where all handles are used up, for an hour.
    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_told_when_it_begins_and_when_it_ends() {
        let log = Spans::capture();
        let tried = Cell::new(0);
        let next = || {
            tried.set(tried.get() + 1);
            let full = || io::Error::other("too many open files");
            ready((tried.get() > 36_000).then_some(7).ok_or_else(full))
        };
        assert_eq!(first(next, "gRPC").await, 7);
        let lines = log.lines();
        let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str()).collect();
        assert_eq!(levels, [Some("WARN"), Some("INFO")]);
    }
}
