//! What becomes of a load that meets a server in its first moment.

use std::time::Duration;

use super::callers::{Callers, Run};
use super::server::{Kind, Server};
use super::vendor::Vendor;
use super::{CLOSED, ROUND, ROUNDS, median};

/// What each server can do warm, and most of that from its first moment.
pub(super) async fn cold() {
    println!(
        "{:24}{:>10}{:>10}{:>10}{:>10}{:>14}",
        "from cold", "calls/s", "done/s", "failed", "p99 ms", "connections"
    );
    for kind in Kind::all() {
        let warm = {
            let vendor = Vendor::start(Duration::ZERO).await;
            let server = Server::start(kind, &vendor).await;
            let callers = Callers::connect(server.address, 8).await;
            callers.closed(CLOSED, Duration::from_secs(2)).await;
            callers.closed(CLOSED, ROUND).await.rate()
        };
        for share in [0.7, 0.95] {
            let mut runs = Vec::new();
            let mut connections = 0;
            for _ in 0..ROUNDS {
                let vendor = Vendor::start(Duration::ZERO).await;
                let server = Server::start(kind, &vendor).await;
                let callers = Callers::connect(server.address, 8).await;
                runs.push(callers.open(warm * share, Duration::from_secs(6)).await);
                connections = connections.max(vendor.most_connections());
            }
            let of = |what: fn(&Run) -> f64| median(&runs.iter().map(what).collect::<Vec<_>>());
            println!(
                "{:24}{:>10.0}{:>10.0}{:>10}{:>10.1}{connections:>14}",
                format!("{}, {:.0} %", kind.name(), share * 100.0),
                warm * share,
                of(Run::rate),
                of(|run| run.failed as f64),
                of(|run| run.quantile(0.99)),
            );
        }
    }
}
