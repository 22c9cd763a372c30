//! What a call costs when a core is full, and how long it takes when it is not.

use std::time::Duration;

use super::callers::{Callers, Run};
use super::server::{self, Kind, Server};
use super::vendor::Vendor;
use super::{CLOSED, ROUND, ROUNDS, busy, median, micros, spending};

/// Cost per call at saturation, latency at a fixed rate and at 70 % of saturation.
pub(super) async fn report() {
    let vendor = Vendor::start(Duration::ZERO).await;
    let mut all = warm(&Kind::all(), &vendor).await;
    saturation(&mut all, CLOSED).await;
    latency(&all).await;
}

/// Cost per call at saturation only.
pub(super) async fn costs(kinds: &[Kind], vendor: &Vendor, in_flight: usize) {
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
pub(super) async fn at_rate(rate: f64, delay: f64) {
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
