//! What telemetry costs: user instructions of one call, counted by valgrind, from a gateway that
//! measures and logs nothing to one whose every call is traced.
//!
//! It holds the two promises of docs/PERFORMANCE.md, and ends with a panic when one is broken.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise, and its output is its purpose"
)]
#![allow(dead_code, reason = "the load benchmark needs more of it")]

#[path = "../tests/it/support/binary.rs"]
mod binary;
#[path = "load/callers.rs"]
mod callers;
#[path = "load/count.rs"]
mod count;
#[path = "load/server.rs"]
mod server;
#[path = "load/vendor.rs"]
mod vendor;

use std::path::Path;
use std::time::Duration;

use mimalloc::MiMalloc;
use switchboard::app::{App, Listeners};
use switchboard::config::Config;
use switchboard::lifecycle;
use switchboard::settings::layers::environment;
use switchboard::telemetry::Metrics;
use tokio::runtime::Builder;

use self::server::Kind;
use self::vendor::Vendor;

/// The muted gateway runs in this executable, and has to have the allocator of the other one.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Over the same call with nothing measured and nothing logged, in percent.
const METRICS_AND_LINES: f64 = 15.0;

/// On top of that, for tracing that is there and samples nothing.
const UNSAMPLED: f64 = 3.0;

/// A collector that is away: spans are made, queued, encoded and lost.
const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1");

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    match arguments.next().as_deref() {
        Some("muted") => muted(Path::new(&arguments.next().expect("a configuration"))),
        None => {
            server::pin_self();
            let mut runtime = Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(report());
        }
        Some(other) => panic!("no such part: {other}"),
    }
}

async fn report() {
    let vendor = Vendor::start(Duration::ZERO).await;
    let traced = |sampler, ratio| {
        let sampler = ("OTEL_TRACES_SAMPLER", sampler);
        [COLLECTOR, sampler, ("OTEL_TRACES_SAMPLER_ARG", ratio)]
    };
    let muted = count::count(Kind::Muted, &vendor, &[]).await;
    let told = |name: &str, count: u64, before: u64| {
        let more = (count as f64 / before as f64 - 1.0) * 100.0;
        println!("{name:44}{count:>10} instructions/call {more:>+8.1} %");
        more
    };
    told("nothing measured, nothing logged", muted, muted);
    let plain = count::count(Kind::Gateway, &vendor, &[]).await;
    let lines = told("metrics, access and audit lines", plain, muted);
    let never = traced("always_off", "0");
    let never = count::count(Kind::Gateway, &vendor, &never).await;
    let unsampled = told("and a collector, nothing sampled", never, plain);
    for (name, ratio) in [("1 % sampled", "0.01"), ("all sampled", "1")] {
        let variables = traced("traceidratio", ratio);
        let count = count::count(Kind::Gateway, &vendor, &variables).await;
        told(&format!("and a collector, {name}"), count, plain);
    }
    assert!(
        lines <= METRICS_AND_LINES,
        "metrics and lines: {lines:.1} %"
    );
    assert!(unsampled <= UNSAMPLED, "unsampled: {unsampled:.1} %");
}

/// The gateway as `serve` starts it, but for telemetry.
fn muted(config: &Path) {
    let config = Config::load(config, environment()).unwrap();
    let app = App::new(&config, Metrics::unread()).unwrap();
    let mut runtime = Builder::new_multi_thread();
    runtime.enable_all().build().unwrap().block_on(async {
        let signals = lifecycle::signals().unwrap();
        let server = &config.server;
        let listeners = Listeners::bind(server.listen, server.admin_listen).await;
        app.run(listeners.unwrap(), signals).await.unwrap();
    });
}
