//! What a call costs, beside what it would cost with nothing between the libraries.
//!
//! Servers answer the same call by the same request to the same vendor: the gateway as its users run
//! it, and two floors, tonic over hyper and tonic over reqwest, that check nothing, measure nothing
//! and bound nothing; and Envoy, where it is there. Each runs in a process of its own on one core;
//! the callers and the vendor run here, on the other one. Commands, figures and how noisy they are:
//! docs/PERFORMANCE.md.
//!
//! ```text
//! main      which part is asked for                 server    one of them, as a process
//! cost      CPU and latency of a call               floors    the two floors
//! memory    of calls and of connections             envoy     how Envoy does the floors' work
//! cold      a load in a server's first moment       callers   calls in closed and in open loop
//! flood     more calls than a core can carry        vendor    answers at once, or after a while
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
mod cold;
mod cost;
mod count;
mod flood;
mod floors;
mod memory;
#[allow(dead_code, reason = "the telemetry benchmark needs more of it")]
mod server;
mod vendor;

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::Instant;

use self::cold::cold;
use self::cost::{at_rate, costs, report};
use self::flood::flood;
use self::memory::{connections, slow};
use self::server::Kind;
use self::vendor::Vendor;

/// Interleaved, so that a machine that is slower for a while is so for all of them.
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
