//! What a call costs, beside what it would cost with nothing between the libraries.
//!
//! Three servers answer the same call by the same request to the same vendor: the gateway as its
//! users run it, and two floors, tonic over hyper and tonic over reqwest, that check nothing,
//! measure nothing and bound nothing. Each runs in a process of its own on one core; the callers
//! and the vendor run here, on the other one. Commands, figures and how noisy they are:
//! docs/PERFORMANCE.md.
//!
//! ```text
//! main      what is measured, and the table         server    one of the three, as a process
//! callers   calls in closed and in open loop        floors    the two floors
//! vendor    answers at once, or after a while       count     instructions, by valgrind
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise, and its output is its purpose"
)]

mod callers;
mod count;
mod floors;
#[allow(dead_code, reason = "the telemetry benchmark needs more of it")]
mod server;
mod vendor;

use std::time::Duration;

use tokio::runtime::Builder;

use self::callers::Callers;
use self::server::{Kind, Server};
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
        Some("slow") => here(slow()),
        Some("cold") => here(cold()),
        None => here(report()),
        Some(other) => panic!("no such part: {other}; try none, `slow`, `cold`, `instructions`"),
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
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let server = Server::start(kind, &vendor).await;
        let callers = Callers::connect(server.address, 8).await;
        // Pools, caches and the branch predictor.
        callers.closed(CLOSED, Duration::from_secs(2)).await;
        all.push((server, callers, Samples::default()));
    }
    for round in 0..ROUNDS {
        for (server, callers, samples) in &mut all {
            let cpu = server.cpu();
            let run = callers.closed(CLOSED, ROUND).await;
            assert_eq!(run.failed, 0, "{}: round {round}", server.kind.name());
            let spent = server.cpu() - cpu;
            samples.rate.push(run.rate());
            samples
                .cpu
                .push(spent.as_secs_f64() * 1e6 / run.done as f64);
        }
    }
    println!("one core, {CLOSED} calls in flight, medians of {ROUNDS} interleaved rounds");
    println!("{:24}{:>10}{:>16}", "", "calls/s", "CPU us/call");
    for (server, _, samples) in &all {
        let (rate, cpu) = (median(&samples.rate), median(&samples.cpu));
        println!("{:24}{rate:>10.0}{cpu:>16.1}", server.kind.name());
    }
    let floor = median(&all[Kind::Reqwest as usize].2.cpu);
    let ratios: Vec<f64> = (0..ROUNDS)
        .map(|it| all[Kind::Gateway as usize].2.cpu[it] / all[Kind::Reqwest as usize].2.cpu[it])
        .collect();
    println!(
        "CPU, gateway to tonic + reqwest: {:.2} ({floor:.1} us)",
        median(&ratios)
    );

    let slowest = all
        .iter()
        .map(|it| median(&it.2.rate))
        .fold(f64::MAX, f64::min);
    for (what, share) in [("at 30 % of the slowest", 0.3), ("at 70 % of its own", 0.7)] {
        println!("\nopen loop, {what} saturation: latency in ms");
        println!(
            "{:24}{:>10}{:>8}{:>8}{:>8}",
            "", "calls/s", "p50", "p99", "p99.9"
        );
        for (server, callers, samples) in &all {
            let own = if share > 0.5 {
                median(&samples.rate)
            } else {
                slowest
            };
            let mut runs = Vec::new();
            for _ in 0..ROUNDS {
                runs.push(callers.open(own * share, ROUND).await);
            }
            let quantile = |q| median(&runs.iter().map(|run| run.quantile(q)).collect::<Vec<_>>());
            println!(
                "{:24}{:>10.0}{:>8.2}{:>8.2}{:>8.2}",
                server.kind.name(),
                own * share,
                quantile(0.5),
                quantile(0.99),
                quantile(0.999)
            );
        }
    }
}

/// Memory with many calls at a vendor that takes its time.
async fn slow() {
    println!(
        "{:24}{:>10}{:>10}{:>12}{:>12}{:>12}",
        "RSS in MiB", "in flight", "vendor", "idle", "loaded", "a minute on"
    );
    for (calls, delay) in [(1000, 20), (10_000, 2000)] {
        let vendor = Vendor::start(Duration::from_millis(delay)).await;
        for kind in [Kind::Reqwest, Kind::Gateway] {
            let server = Server::start(kind, &vendor).await;
            let callers = Callers::connect(server.address, 16).await;
            callers.closed(4, Duration::from_secs(1)).await;
            let idle = server.memory();
            let run = callers.closed(calls, Duration::from_secs(10)).await;
            let loaded = server.peak();
            tokio::time::sleep(Duration::from_secs(60)).await;
            let after = server.memory();
            println!(
                "{:24}{calls:>10}{:>10}{idle:>12.1}{loaded:>12.1}{after:>12.1}   {:.0} calls/s, {} refused, {} connections at the vendor",
                server.kind.name(),
                format!("{delay} ms"),
                run.rate(),
                run.failed,
                vendor.most_connections(),
            );
            vendor.forget_connections();
        }
    }
}

/// 95 % of what each server can do warm, from its first moment.
async fn cold() {
    println!(
        "{:24}{:>10}{:>10}{:>10}{:>10}{:>14}",
        "from cold", "calls/s", "done/s", "failed", "p99 ms", "connections"
    );
    for kind in Kind::ALL {
        let vendor = Vendor::start(Duration::from_millis(5)).await;
        let warm = {
            let server = Server::start(kind, &vendor).await;
            let callers = Callers::connect(server.address, 8).await;
            callers.closed(CLOSED, Duration::from_secs(2)).await;
            callers.closed(4 * CLOSED, ROUND).await.rate()
        };
        for share in [0.7, 0.95] {
            vendor.forget_connections();
            let server = Server::start(kind, &vendor).await;
            let callers = Callers::connect(server.address, 8).await;
            let run = callers.open(warm * share, Duration::from_secs(8)).await;
            println!(
                "{:24}{:>10.0}{:>10.0}{:>10}{:>10.1}{:>14}",
                format!("{}, {:.0} %", kind.name(), share * 100.0),
                warm * share,
                run.rate(),
                run.failed,
                run.quantile(0.99),
                vendor.most_connections(),
            );
        }
    }
}

#[derive(Default)]
struct Samples {
    rate: Vec<f64>,
    cpu: Vec<f64>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
