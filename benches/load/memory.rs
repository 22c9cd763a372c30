//! What calls and connections take of memory, and what of it is given back.

use std::time::Duration;

use super::callers::Callers;
use super::server::{Kind, Server};
use super::vendor::Vendor;

/// Memory with many calls at a vendor that takes its time.
pub(super) async fn slow() {
    println!(
        "{:24}{:>10}{:>10}{:>12}{:>12}{:>12}{:>12}",
        "RSS in MiB", "in flight", "vendor", "idle", "loaded", "a minute on", "callers gone"
    );
    for (calls, delay) in [(1000, 20), (10_000, 2000)] {
        for kind in [Kind::Reqwest, Kind::Gateway] {
            let vendor = Vendor::start(Duration::from_millis(delay)).await;
            let server = Server::start(kind, &vendor).await;
            let callers = Callers::connect(server.address, 16).await;
            callers.closed(4, Duration::from_secs(1)).await;
            let idle = server.memory();
            let run = callers.closed(calls, Duration::from_secs(10)).await;
            let loaded = server.peak();
            let after = a_minute_on(&server, &callers).await;
            let alone = alone(&server, callers).await;
            println!(
                "{:24}{calls:>10}{:>10}{idle:>12.1}{loaded:>12.1}{after:>12.1}{alone:>12.1}   {:.0} calls/s, {} refused, {} connections at the vendor",
                server.kind.name(),
                format!("{delay} ms"),
                run.rate(),
                run.failed,
                vendor.most_connections(),
            );
        }
    }
}

/// Memory of callers that stay: a call over each connection, and then nothing.
pub(super) async fn connections() {
    const CONNECTIONS: usize = 5000;
    println!(
        "{:24}{:>12}{:>10}{:>10}{:>18}",
        "RSS in MiB", "connections", "idle", "open", "KiB/connection"
    );
    for kind in [Kind::Reqwest, Kind::Gateway] {
        let vendor = Vendor::start(Duration::ZERO).await;
        let server = Server::start(kind, &vendor).await;
        let few = Callers::connect(server.address, 8).await;
        few.calls(800, true).await;
        let idle = server.memory();
        let mut many = Vec::new();
        for _ in 0..CONNECTIONS / 50 {
            let callers = Callers::connect(server.address, 50).await;
            callers.calls(50, true).await;
            many.push(callers);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        let open = server.memory();
        println!(
            "{:24}{CONNECTIONS:>12}{idle:>10.1}{open:>10.1}{:>18.1}",
            server.kind.name(),
            (open - idle) * 1024.0 / CONNECTIONS as f64
        );
    }
}

/// Memory after a minute of as little as probes are: a server that does nothing at all gives nothing
/// back.
pub(super) async fn a_minute_on(server: &Server, callers: &Callers) -> f64 {
    callers.open(10.0, Duration::from_secs(60)).await;
    server.memory()
}

/// Memory once these callers have closed their connections, and few calls come over another one.
pub(super) async fn alone(server: &Server, callers: Callers) -> f64 {
    drop(callers);
    let few = Callers::connect(server.address, 1).await;
    few.open(10.0, Duration::from_secs(5)).await;
    server.memory()
}
