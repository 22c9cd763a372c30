//! A soak: real gateways between many callers and vendors that fail at random, restarted all the
//! time, and a ledger of what callers were told against what the vendors hold.
//!
//! `cargo bench --bench soak -- --calls 200000 --restart-every 60s`; with `--gateways 2 --redis`
//! the gateways share a Redis, which is killed and started again halfway. What it found, and how
//! to read it, is in docs/SOAK.md. Ends with 1 when anything was not as promised.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a soak stops at the first surprise of its own, and its output is its purpose"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` says that other files of the benchmark use it"
)]

mod ask;
#[path = "../../tests/it/support/binary.rs"]
mod binary;
mod caller;
#[path = "../../tests/it/support/faults.rs"]
mod faults;
mod fleet;
mod ledger;
#[path = "../../tests/it/support/port.rs"]
mod port;
#[path = "../../tests/it/support/process.rs"]
mod process;
#[path = "../../tests/it/support/redis.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod redis;
mod report;
mod sessions;
#[path = "../../tests/it/support/unsent.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod unsent;
#[path = "../../tests/it/support/untimed.rs"]
#[allow(dead_code, reason = "tests need more of it")]
mod untimed;
mod watcher;
mod weather;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use switchboard::sandbox::{Options, Sandbox, aicc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::caller::Caller;
use self::fleet::Fleet;
use self::ledger::Ledger;
use self::process::Folder;
use self::redis::RedisServer;
use self::report::Report;
use self::sessions::{ACCOUNTS, Sessions, account, agent};

const CALLERS: usize = 160;
const WATCHERS: usize = 16;

/// How long the Redis is away.
const WITHOUT_REDIS: Duration = Duration::from_secs(3);

/// What is left when nobody calls any more.
const REST: Duration = Duration::from_secs(15);

#[derive(Parser)]
struct Arguments {
    /// How many calls; repeats of one are not counted.
    #[arg(long, default_value_t = 20_000)]
    calls: u64,
    /// Calls begun in a second, as far as the machine bears it.
    #[arg(long, default_value_t = 400)]
    rate: u64,
    /// How often a gateway is restarted; 0s for never.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    restart_every: Duration,
    /// Every so manyth restart is a SIGKILL.
    #[arg(long, default_value_t = 3)]
    kill_every: usize,
    #[arg(long, default_value_t = 1)]
    gateways: usize,
    /// The gateways share a Redis.
    #[arg(long)]
    redis: bool,
    /// No faults: what is then left are the restarts.
    #[arg(long)]
    fair_weather: bool,
    /// How long the start of a life is left out when it is looked for growth.
    #[arg(long, default_value = "120s", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    #[arg(long)]
    seed: Option<u64>,
    /// Keeps the gateways' logs.
    #[arg(long)]
    keep: bool,
    /// Said by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What callers share.
pub struct World {
    sandbox: Sandbox,
    fleet: Arc<Fleet>,
    sessions: Sessions,
    ledger: Ledger,
    /// All gateways know all request_ids.
    shared: bool,
    pace: Pace,
}

struct Pace {
    begun: Instant,
    rate: u64,
    calls: u64,
    next: AtomicU64,
}

impl World {
    /// The number of a call that is due; `None` when there have been enough.
    async fn next(&self) -> Option<u64> {
        let call = self.pace.next.fetch_add(1, Ordering::Relaxed);
        if call >= self.pace.calls {
            return None;
        }
        let due = Duration::from_secs_f64(call as f64 / self.pace.rate as f64);
        sleep_until(self.pace.begun + due).await;
        Some(call)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut folder = Folder::new("soak");
    folder.keep = arguments.keep;
    let redis = match arguments.redis {
        true => Some(RedisServer::start_lasting().await.expect("a redis-server")),
        false => None,
    };
    let sections = sections(&folder, redis.as_ref());
    let world = begin(&arguments, Arc::new(folder), &sections).await;
    let report = soak(&arguments, &world, redis, seed).await;
    print!("{report}");
    ExitCode::from(u8::from(!report.is_good()))
}

async fn begin(arguments: &Arguments, folder: Arc<Folder>, sections: &Sections) -> Arc<World> {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let sessions = Sessions::begin(&sandbox);
    let sections = sections.of(&sandbox);
    let fleet = Fleet::start(folder, SERVER, &sections, arguments.gateways).await;
    Arc::new(World {
        sandbox,
        fleet: Arc::new(fleet),
        sessions,
        ledger: Ledger::default(),
        shared: arguments.redis,
        pace: Pace {
            begun: Instant::now(),
            rate: arguments.rate,
            calls: arguments.calls,
            next: AtomicU64::new(0),
        },
    })
}

async fn soak(
    arguments: &Arguments,
    world: &Arc<World>,
    redis: Option<RedisServer>,
    seed: u64,
) -> Report {
    let mut around = JoinSet::new();
    if !arguments.fair_weather {
        around.spawn(weather::weather(world.sandbox.clone(), seed));
    }
    around.spawn(fleet::watch(Arc::clone(&world.fleet)));
    let turning = Arc::clone(world);
    around.spawn(async move { turning.sessions.turn_over(&turning.sandbox).await });
    let mut watchers = JoinSet::new();
    for number in 0..WATCHERS {
        watchers.spawn(watcher::watch(Arc::clone(world), number));
    }
    let (done, restarting) = fleet::restarting(&world.fleet, arguments);
    let half = Duration::from_secs_f64(arguments.calls as f64 / arguments.rate as f64 / 2.0);
    let redis = tokio::spawn(restart_redis(redis, half));

    let callers = (0..CALLERS).map(|number| {
        let seed = seed.wrapping_add(number as u64 + 1);
        Caller::new(Arc::clone(world), number, seed).run()
    });
    callers.collect::<JoinSet<()>>().join_all().await;
    let took = world.pace.begun.elapsed();
    done.cancel();
    restarting.await.unwrap();
    // It has to be there until the last result is kept.
    let redis = redis.await.unwrap();
    watchers.shutdown().await;
    sleep(REST).await;
    around.shutdown().await;
    weather::calm(&world.sandbox);
    let chronicles = world.fleet.finish().await;
    drop(redis);
    Report {
        calls: arguments.calls,
        took,
        warm_up: arguments.warm_up,
        balance: world.ledger.close(&world.sandbox),
        panics: world.fleet.logged("panicked"),
        fleet: world.fleet.violations(),
        chronicles,
    }
}

/// Once, by force: what it said to have kept it must have kept.
async fn restart_redis(redis: Option<RedisServer>, after: Duration) -> Option<RedisServer> {
    let mut redis = redis?;
    sleep(after).await;
    redis.stop();
    sleep(WITHOUT_REDIS).await;
    redis.start_again().await;
    println!("Redis was killed and started again after {after:?}");
    Some(redis)
}

const SERVER: &str = "  max_deadline: 10s\n  default_deadline: 5s\n  shutdown_delay: 1s\n";

struct Sections {
    password: String,
    app_secret: String,
    redis_url: Option<String>,
}

fn sections(folder: &Folder, redis: Option<&RedisServer>) -> Sections {
    let path = |name: &str| folder.path().join(name).display().to_string();
    Sections {
        password: path("password"),
        app_secret: path("app_secret"),
        redis_url: redis.map(|redis| folder.write("redis_url", &redis.url())),
    }
}

impl Sections {
    /// The window is longer than any caller repeats, and so short that a memory is full of
    /// request_ids soon, and grows no more.
    fn of(&self, sandbox: &Sandbox) -> String {
        let shared = self.redis_url.as_ref();
        let shared = shared.map_or(String::new(), |url| format!(", redis_url_file: {url}"));
        let mut text = format!("dedupe: {{ window: 60s{shared} }}\n");
        let common = "timeout: { attempt: 1s }\n  max_answer: 1MiB\n  accounts:\n";
        text += &format!(
            "genesys:\n  base_url: {}\n  {common}",
            sandbox.genesys_url()
        );
        for number in 0..ACCOUNTS {
            let (account, agent, password) = (account(number), agent(number), &self.password);
            text += &format!("    {account}: {{ username: {agent}, password_file: {password} }}\n");
        }
        let (url, app, secret) = (sandbox.aicc_url(), aicc::AICC_APP, &self.app_secret);
        text += &format!("aicc:\n  base_url: {url}\n  {common}");
        text += &format!("    default: {{ app_key: {app}, app_secret_file: {secret} }}\n");
        text
    }
}
