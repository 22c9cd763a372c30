//! What a call costs, beside what it would cost with nothing between the libraries.
//!
//! Servers answer the same call by the same request to the same vendor: the gateway as its users run
//! it, and two floors, tonic over hyper and tonic over reqwest, that check nothing, measure nothing
//! and bound nothing; and Envoy, where it is there. Each runs in a process of its own on one core;
//! the callers and the vendor run here, on the other one. Commands, figures and how noisy they are:
//! docs/PERFORMANCE.md.
//!
//! ```text
//! main      what is measured, and the table         server    one of them, as a process
//! callers   calls in closed and in open loop        floors    the two floors
//! vendor    answers at once, or after a while       envoy     how Envoy does the floors' work
//! count     instructions, by valgrind
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise, and its output is its purpose"
)]

#[path = "../../tests/it/support/binary.rs"]
mod binary;
mod callers;
mod count;
mod floors;
#[allow(dead_code, reason = "the telemetry benchmark needs more of it")]
mod server;
mod vendor;

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::Instant;

use self::callers::{Callers, Run};
use self::server::{FULL, Kind, Server};
use self::vendor::Vendor;

/// Interleaved, so that a machine that is slower for a while is so for all three.
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);

/// Calls in flight in closed loop: enough to keep a core busy.
const CLOSED: usize = 64;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    match arguments.next().as_deref() {
        Some("floor") => floors::run(&arguments.collect::<Vec<_>>()),
        Some("instructions") => here(count::report(&arguments.collect::<Vec<_>>())),
        Some("cpu") => {
            let in_flight = arguments.next().map_or(CLOSED, |it| it.parse().unwrap());
            here(async move {
                costs(
                    &Kind::all(),
                    &Vendor::start(Duration::ZERO).await,
                    in_flight,
                )
                .await;
            });
        }
        Some("tls") => here(async {
            costs(
                &[Kind::Reqwest, Kind::Gateway],
                &Vendor::start_with_tls().await,
                CLOSED,
            )
            .await;
        }),
        Some("rate") => {
            let [rate, delay] = [(); 2].map(|()| arguments.next().unwrap().parse().unwrap());
            here(at_rate(rate, delay));
        }
        Some("slow") => here(slow()),
        Some("connections") => here(connections()),
        Some("cold") => here(cold()),
        Some("flood") => here(flood()),
        None => here(report()),
        Some(other) => {
            panic!(
                "no such part: {other}; try none, `cpu`, `rate`, `tls`, `slow`, `connections`, `cold`, `flood`, `instructions`"
            )
        }
    }
}

/// The vendor and the callers share one thread, on the core that the servers do not have.
fn here(work: impl Future<Output = ()>) {
    server::pin_self();
    Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work);
}

/// Cost per call at saturation, latency at a fixed rate and at 70 % of saturation.
async fn report() {
    let vendor = Vendor::start(Duration::ZERO).await;
    let mut all = warm(&Kind::all(), &vendor).await;
    saturation(&mut all, CLOSED).await;
    latency(&all).await;
}

/// Cost per call at saturation only.
async fn costs(kinds: &[Kind], vendor: &Vendor, in_flight: usize) {
    let mut all = warm(kinds, vendor).await;
    saturation(&mut all, in_flight).await;
    end(all).await;
}

struct Measured {
    server: Server,
    callers: Callers,
    /// By the round.
    rate: Vec<f64>,
    user: Vec<f64>,
    kernel: Vec<f64>,
}

impl Measured {
    fn cpu(&self) -> Vec<f64> {
        let both = self.user.iter().zip(&self.kernel);
        both.map(|(user, kernel)| user + kernel).collect()
    }
}

/// Servers with their pools, caches and the branch predictor used to the work.
async fn warm(kinds: &[Kind], vendor: &Vendor) -> Vec<Measured> {
    let mut all = Vec::new();
    for &kind in kinds {
        let server = Server::start(kind, vendor).await;
        let callers = Callers::connect(server.address, 8).await;
        callers.closed(CLOSED, Duration::from_secs(2)).await;
        all.push(Measured {
            server,
            callers,
            rate: Vec::new(),
            user: Vec::new(),
            kernel: Vec::new(),
        });
    }
    all
}

async fn saturation(all: &mut [Measured], in_flight: usize) {
    for round in 0..ROUNDS {
        for it in &mut *all {
            let before = server::cpu(it.server.id());
            let run = it.callers.closed(in_flight, ROUND).await;
            assert_eq!(run.failed, 0, "{}: round {round}", it.server.kind.name());
            let after = server::cpu(it.server.id());
            let each = |spent| micros(spent, run.done);
            it.rate.push(run.rate());
            it.user.push(each(after.user - before.user));
            it.kernel.push(each(after.kernel - before.kernel));
        }
    }
    println!("one core, {in_flight} calls in flight, medians of {ROUNDS} interleaved rounds");
    println!(
        "{:24}{:>10}{:>16}{:>8}{:>8}",
        "", "calls/s", "CPU us/call", "user", "kernel"
    );
    for it in &*all {
        println!(
            "{:24}{:>10.0}{:>16.1}{:>8.1}{:>8.1}",
            it.server.kind.name(),
            median(&it.rate),
            median(&it.cpu()),
            median(&it.user),
            median(&it.kernel)
        );
    }
    let of = |kind: Kind| all.iter().find(|it| it.server.kind == kind);
    let gateway = of(Kind::Gateway).expect("measured").cpu();
    for other in [Kind::Reqwest, Kind::Envoy].into_iter().filter_map(of) {
        let theirs = other.cpu();
        let ratios = gateway.iter().zip(&theirs).map(|(ours, its)| ours / its);
        println!(
            "CPU, gateway to {}: {:.2}",
            other.server.kind.name(),
            median(&ratios.collect::<Vec<_>>())
        );
    }
}

/// In good order, as one that is instrumented writes at its end what it has seen.
async fn end(all: Vec<Measured>) {
    for Measured {
        server, callers, ..
    } in all
    {
        drop(callers);
        server.end().await;
    }
}

/// At rates that are the same for all, and at one that is each server's own.
async fn latency(all: &[Measured]) {
    let saturation = |it: &Measured| median(&it.rate);
    let slowest = all.iter().map(saturation).fold(f64::MAX, f64::min);
    let floor = all.iter().find(|it| it.server.kind == Kind::Reqwest);
    let floor = saturation(floor.expect("measured"));
    latency_at("30 % of the slowest saturation", all, |_| 0.3 * slowest).await;
    latency_at("70 % of tonic + reqwest's saturation", all, |_| 0.7 * floor).await;
    latency_at("70 % of its own saturation", all, |it| 0.7 * saturation(it)).await;
}

/// At so many calls a second, and a vendor that takes so many milliseconds.
async fn at_rate(rate: f64, delay: f64) {
    let vendor = Vendor::start(Duration::from_secs_f64(delay / 1e3)).await;
    let all = warm(&[Kind::Reqwest, Kind::Gateway], &vendor).await;
    latency_at(&format!("a vendor of {delay} ms"), &all, |_| rate).await;
}

async fn latency_at(what: &str, all: &[Measured], rate: impl Fn(&Measured) -> f64) {
    let mut runs: Vec<Vec<Run>> = all.iter().map(|_| Vec::new()).collect();
    let mut shares: Vec<Vec<f64>> = all.iter().map(|_| Vec::new()).collect();
    let mut spent: Vec<Vec<f64>> = all.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for (at, it) in all.iter().enumerate() {
            let work = spending(it.server.id(), it.callers.open(rate(it), ROUND));
            let ((run, cpu), share) = busy(work).await;
            spent[at].push(micros(cpu, run.done));
            runs[at].push(run);
            shares[at].push(share);
        }
    }
    println!("\nopen loop, {what}, medians of {ROUNDS} interleaved rounds: latency in ms");
    println!(
        "{:24}{:>10}{:>8}{:>8}{:>8}{:>14}{:>28}",
        "", "calls/s", "p50", "p99", "p99.9", "CPU us/call", "core of callers and vendor"
    );
    for (at, it) in all.iter().enumerate() {
        let quantile = |q| {
            median(
                &runs[at]
                    .iter()
                    .map(|run| run.quantile(q))
                    .collect::<Vec<_>>(),
            )
        };
        println!(
            "{:24}{:>10.0}{:>8.2}{:>8.2}{:>8.2}{:>14.1}{:>26.0} %",
            it.server.kind.name(),
            rate(it),
            quantile(0.5),
            quantile(0.99),
            quantile(0.999),
            median(&spent[at]),
            median(&shares[at])
        );
    }
}

/// Memory with many calls at a vendor that takes its time.
async fn slow() {
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
async fn connections() {
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

/// What each server can do warm, and most of that from its first moment.
async fn cold() {
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

/// More calls than a core can carry, at a vendor that answers at once, from callers that give up
/// after a second.
async fn flood() {
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

/// Memory after a minute of as little as probes are: a server that does nothing at all gives nothing
/// back.
async fn a_minute_on(server: &Server, callers: &Callers) -> f64 {
    callers.open(10.0, Duration::from_secs(60)).await;
    server.memory()
}

/// Memory once these callers have closed their connections, and few calls come over another one.
async fn alone(server: &Server, callers: Callers) -> f64 {
    drop(callers);
    let few = Callers::connect(server.address, 1).await;
    few.open(10.0, Duration::from_secs(5)).await;
    server.memory()
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

/// What came of it, and how busy the core of callers and vendor was, in percent.
async fn busy<T>(work: impl Future<Output = T>) -> (T, f64) {
    let begun = Instant::now();
    let (out, spent) = spending(std::process::id(), work).await;
    let share = spent.as_secs_f64() / begun.elapsed().as_secs_f64();
    (out, 100.0 * share)
}

/// What came of it, and the CPU time that a process took meanwhile.
async fn spending<T>(process: u32, work: impl Future<Output = T>) -> (T, Duration) {
    let spent = || server::cpu(process).sum();
    let before = spent();
    let out = work.await;
    (out, spent() - before)
}

/// Of one call.
fn micros(spent: Duration, calls: usize) -> f64 {
    spent.as_secs_f64() * 1e6 / calls as f64
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
