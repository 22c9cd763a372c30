//! User instructions per call, counted by valgrind: the same from run to run, whatever else the
//! machine is doing.

use std::path::Path;
use std::time::Duration;

use super::callers::Callers;
use super::server::{FULL, Kind, Server};
use super::vendor::Vendor;

/// Until pools, tokens and lazily made things are there.
const WARM_UP: usize = 400;
const CALLS: usize = 1600;
const CONNECTIONS: usize = 8;

/// How much dearer than last time a call may get before somebody has to say why, in percent.
const TOLERANCE: f64 = 5.0;

/// Prints the counts of all, and what a call costs that the gateway refuses. With `--guard FILE`
/// only the gateway's calls are counted, and compared with the count in the file; `--write` puts
/// a new one there. `--profile FILE` leaves what `callgrind_annotate` reads.
pub(crate) async fn report(arguments: &[String]) {
    let vendor = Vendor::start(Duration::ZERO).await;
    match arguments {
        [] => {
            for kind in Kind::all() {
                println!(
                    "{:24}{:>10} instructions/call",
                    kind.name(),
                    count(kind, &vendor, &[]).await
                );
            }
            let refusal = refusal().await;
            println!("{:24}{refusal:>10} instructions/call", "the same, full");
        }
        [guard, file] if guard == "--guard" => {
            let now = count(Kind::Gateway, &vendor, &[]).await;
            let then = std::fs::read_to_string(file).expect("the file with the last count");
            let then: u64 = then.trim().parse().expect("a count");
            let change = (now as f64 / then as f64 - 1.0) * 100.0;
            println!("{now} instructions/call, {then} before: {change:+.1} %");
            assert!(
                change <= TOLERANCE,
                "dearer by more than {TOLERANCE} %: find out why, or say so with --write {file}"
            );
        }
        [write, file] if write == "--write" => {
            let now = count(Kind::Gateway, &vendor, &[]).await;
            std::fs::write(file, format!("{now}\n")).unwrap();
            println!("{now} instructions/call");
        }
        [profile, file] if profile == "--profile" => {
            let calls = WARM_UP + CALLS;
            run(Kind::Gateway, &vendor, &[], true, calls, Path::new(file)).await;
        }
        _ => panic!("instructions [--guard FILE | --write FILE | --profile FILE]"),
    }
}

/// Of a call that is served.
pub(crate) async fn count(kind: Kind, vendor: &Vendor, variables: &[(&str, &str)]) -> u64 {
    per_call(kind, vendor, variables, true).await
}

/// Of a call that the gateway refuses, as its only place is taken.
async fn refusal() -> u64 {
    let vendor = Vendor::start(Duration::from_secs(3600)).await;
    per_call(Kind::Gateway, &vendor, &FULL, false).await
}

/// The difference between a long run and a short one: what a start and an end cost is in both.
async fn per_call(kind: Kind, vendor: &Vendor, variables: &[(&str, &str)], served: bool) -> u64 {
    let short = total(kind, vendor, variables, served, WARM_UP).await;
    let long = total(kind, vendor, variables, served, WARM_UP + CALLS).await;
    (long - short) / CALLS as u64
}

/// Of a whole process that gets so many calls.
async fn total(
    kind: Kind,
    vendor: &Vendor,
    variables: &[(&str, &str)],
    served: bool,
    calls: usize,
) -> u64 {
    let name = format!("switchboard-callgrind-{}", std::process::id());
    let out = std::env::temp_dir().join(name);
    run(kind, vendor, variables, served, calls, &out).await;
    let text = std::fs::read_to_string(&out).unwrap();
    std::fs::remove_file(&out).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    line.expect("a total").trim().parse().unwrap()
}

async fn run(
    kind: Kind,
    vendor: &Vendor,
    variables: &[(&str, &str)],
    served: bool,
    calls: usize,
    out: &Path,
) {
    let file = format!("--callgrind-out-file={}", out.display());
    let before = ["valgrind", "-q", "--tool=callgrind", &file];
    let server = Server::start_under(kind, vendor, &before, variables).await;
    let callers = Callers::connect(server.address, CONNECTIONS).await;
    if !served {
        callers.hold().await;
    }
    callers.calls(calls, served).await;
    drop(callers);
    server.end().await;
}
