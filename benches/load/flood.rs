//! What becomes of calls, and of memory, when far more are asked for than a core can carry.

use std::time::Duration;

use super::callers::Callers;
use super::memory::{a_minute_on, alone};
use super::server::{FULL, Kind, Server};
use super::vendor::Vendor;
use super::{CLOSED, ROUND, busy, micros, spending};

/// More calls than a core can carry, at a vendor that answers at once, from callers that give up
/// after a second.
pub(super) async fn flood() {
    const PATIENCE: Duration = Duration::from_secs(1);
    const CONNECTIONS: usize = 16;
    refusals().await;
    println!(
        "{:28}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}{:>10}{:>8}{:>10}",
        "a second",
        "asked",
        "done",
        "refused",
        "given up",
        "p50 ms",
        "p99 ms",
        "RSS in MiB",
        "vendor's",
        "lost",
        "our core"
    );
    for kind in [Kind::Reqwest, Kind::Gateway] {
        let vendor = Vendor::start(Duration::ZERO).await;
        let server = Server::start(kind, &vendor).await;
        let callers = Callers::connect(server.address, CONNECTIONS).await;
        callers.closed(4, Duration::from_secs(1)).await;
        let idle = server.memory();
        callers.closed(CLOSED, Duration::from_secs(2)).await;
        let peak = callers.closed(CLOSED, ROUND).await.rate();
        // What an ordinary load leaves, so that what a flood adds to it can be told.
        let used = a_minute_on(&server, &callers).await;
        for times in [1.0, 2.0, 3.0] {
            let time = Duration::from_secs(8);
            let (run, busy) = busy(callers.open_within(PATIENCE, peak * times, time)).await;
            println!(
                "{:28}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>10.1}{:>10.1}{:>12.1}{:>10}{:>8}{:>8.0} %",
                format!("{}, {times} times", kind.name()),
                run.per_second(run.done + run.failed),
                run.rate(),
                run.per_second(run.refused),
                run.per_second(run.failed - run.refused),
                run.quantile(0.5),
                run.quantile(0.99),
                server.peak(),
                vendor.most_connections(),
                run.lost,
                busy
            );
        }
        let back = callers.open(0.7 * peak, ROUND).await.rate();
        let after = a_minute_on(&server, &callers).await;
        println!(
            "{:28}then {back:.0} of {:.0} calls/s; MiB: new {idle:.1}, a minute after {CLOSED} calls in flight {used:.1}, a minute after the flood {after:.1}, callers gone {:.1}",
            "",
            0.7 * peak,
            alone(&server, callers).await
        );
    }
}

/// What the gateway spends on a call that it refuses, as its only place is taken.
async fn refusals() {
    let vendor = Vendor::start(Duration::from_secs(3600)).await;
    let server = Server::start_with(Kind::Gateway, &vendor, &FULL).await;
    let callers = Callers::connect(server.address, 8).await;
    callers.hold().await;
    callers.closed(CLOSED, Duration::from_secs(2)).await;
    let (run, spent) = spending(server.id(), callers.closed(CLOSED, ROUND)).await;
    println!(
        "full: {:.0} refusals/s, {:.1} us of CPU each",
        run.per_second(run.refused),
        micros(spent, run.refused)
    );
}
