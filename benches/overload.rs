//! More calls than can be carried, and a vendor that hangs: what callers of the gateway notice.
//!
//! The load is open: calls begin when they are due, whether or not earlier ones have ended, and
//! their time counts from when they were due. `cargo bench --bench overload`; it takes about four
//! minutes. What it measured is in docs/PERFORMANCE.md.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise, and its output is its purpose"
)]
#![allow(
    unreachable_pub,
    reason = "`pub` says that other files of the benchmark use it"
)]

#[path = "../tests/it/support/binary.rs"]
mod binary;
#[path = "../tests/it/support/port.rs"]
mod port;
#[path = "../tests/it/support/process.rs"]
#[allow(dead_code, reason = "the soak needs more of it")]
mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::pb::{GetAgentSettingsRequest, GetSessionRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::{Options, Sandbox, aicc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use self::process::{Folder, Process};

const SESSION: &str = "0071023821aec011";
const USER: &str = "1660270845627002401";

/// Below the number of streams that one connection may carry, at three times the load.
const CONNECTIONS: usize = 16;

const DEADLINE: Duration = Duration::from_secs(2);

/// Places at the vendor, and how long it takes for each call: this much can be carried.
const PLACES: u64 = 12;
const VENDOR_MS: u64 = 100;
const CAPACITY: u64 = PLACES * 1000 / VENDOR_MS;

const PHASE: Duration = Duration::from_secs(15);
const HANG: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    overload().await;
    hang().await;
}

async fn overload() {
    println!("{CAPACITY} calls in a second can be carried: {PLACES} at once, {VENDOR_MS} ms each");
    let limits = format!(
        "  limit: {{ in_flight: {PLACES}, queue: {} }}\n",
        2 * PLACES
    );
    let scene = Scene::set("overload", &limits).await;
    let slow = Rule::new(Fault::Latency { ms: VENDOR_MS });
    scene.sandbox.faults().push(slow).unwrap();
    scene.load("warming up", CAPACITY / 2, 0, PHASE).await;
    let before = scene.memory();
    for (name, tenths) in [
        ("half of it", 5),
        ("all of it", 10),
        ("one and a half", 15),
        ("three times", 30),
        ("half of it again", 5),
    ] {
        scene.load(name, CAPACITY * tenths / 10, 0, PHASE).await;
    }
    sleep(REST).await;
    println!(
        "memory before {before} KiB, afterwards {} KiB",
        scene.memory()
    );
}

async fn hang() {
    println!("\nboth vendors at 100 calls in a second, and one of them hangs for a minute");
    // The breaker would keep the calls away from the hung vendor: this is the harder case.
    let scene = Scene::set("hang", "  breaker: { enabled: false }\n").await;
    scene.load("warming up", 100, 100, PHASE).await;
    let before = scene.memory();
    scene.load("both answer", 100, 100, HANG).await;
    let hang = Rule::new(Fault::Hang).vendor("genesys");
    scene.sandbox.faults().push(hang).unwrap();
    scene.load("genesys hangs", 100, 100, HANG).await;
    scene.sandbox.faults().clear();
    scene.load("both answer again", 100, 100, PHASE).await;
    sleep(REST).await;
    println!(
        "memory before {before} KiB, afterwards {} KiB",
        scene.memory()
    );
}

/// A gateway between a sandbox and some connections.
struct Scene {
    sandbox: Sandbox,
    process: Process,
    channels: Vec<Channel>,
    _folder: Folder,
}

impl Scene {
    /// `further` are lines of both vendors' sections.
    async fn set(name: &str, further: &str) -> Scene {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let folder = Folder::new(name);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let sections = format!(
            "genesys:\n  base_url: {}\n{further}  accounts:\n    \
             default: {{ username: agent1, password_file: {} }}\n\
             aicc:\n  base_url: {}\n{further}  accounts:\n    \
             default: {{ app_key: {}, app_secret_file: {} }}\n",
            sandbox.genesys_url(),
            path("password"),
            sandbox.aicc_url(),
            aicc::AICC_APP,
            path("app_secret"),
        );
        let mut process = Process::spawn(&folder, "gateway", "", &sections);
        process.listening().await;
        let endpoint = Endpoint::from_shared(format!("http://{}", process.address)).unwrap();
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            channels.push(endpoint.connect().await.unwrap());
        }
        Scene {
            sandbox,
            process,
            channels,
            _folder: folder,
        }
    }

    fn memory(&self) -> u64 {
        self.process.usage().unwrap().memory
    }

    /// So many calls in a second to each vendor, and what came of them.
    async fn load(&self, name: &str, genesys: u64, aicc: u64, lasting: Duration) {
        let loads = async {
            tokio::join!(
                open(genesys, lasting, |call| get_session(self.channel(call))),
                open(aicc, lasting, |call| get_settings(self.channel(call))),
            )
        };
        let mut most = 0;
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        let mut loads = std::pin::pin!(loads);
        let (of_genesys, of_aicc) = loop {
            tokio::select! {
                calls = &mut loads => break calls,
                _ = ticks.tick() => most = self.memory().max(most),
            }
        };
        println!("{name}: memory {most} KiB at most");
        for (vendor, calls) in [("genesys", of_genesys), ("aicc", of_aicc)] {
            if !calls.took.is_empty() {
                println!("  {vendor}: {calls}");
            }
        }
    }

    fn channel(&self, call: u64) -> Channel {
        self.channels[call as usize % CONNECTIONS].clone()
    }
}

fn get_session(channel: Channel) -> BoxFuture<'static, Result<(), Status>> {
    Box::pin(async move {
        let request = within(GetSessionRequest {
            session_id: SESSION.to_owned(),
            ..Default::default()
        });
        let mut client = SmsSessionDataClient::new(channel);
        client.get_session(request).await.map(drop)
    })
}

fn get_settings(channel: Channel) -> BoxFuture<'static, Result<(), Status>> {
    Box::pin(async move {
        let request = within(GetAgentSettingsRequest {
            user_id: USER.to_owned(),
            ..Default::default()
        });
        let mut client = AgentSettingsClient::new(channel);
        client.get_agent_settings(request).await.map(drop)
    })
}

fn within<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// What came of a load: the times in milliseconds, by the kind of answer.
struct Calls {
    lasting: Duration,
    took: BTreeMap<String, Vec<f64>>,
    /// How late the benchmark itself began with a call.
    late: Vec<f64>,
}

/// Calls begin when they are due.
async fn open(
    rate: u64,
    lasting: Duration,
    call: impl Fn(u64) -> BoxFuture<'static, Result<(), Status>>,
) -> Calls {
    let begun = Instant::now();
    let mut running = JoinSet::new();
    let mut late = Vec::new();
    for number in 0..rate * lasting.as_secs() {
        let due = begun + Duration::from_secs_f64(number as f64 / rate as f64);
        sleep_until(due).await;
        late.push(milliseconds(due));
        let call = call(number);
        running.spawn(async move {
            let what = kind(call.await);
            (what, milliseconds(due))
        });
    }
    let mut took: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (what, milliseconds) in running.join_all().await {
        took.entry(what).or_default().push(milliseconds);
    }
    took.values_mut().for_each(|it| it.sort_by(f64::total_cmp));
    late.sort_by(f64::total_cmp);
    Calls {
        lasting,
        took,
        late,
    }
}

fn kind(answer: Result<(), Status>) -> String {
    match answer {
        Ok(()) => "done".to_owned(),
        Err(status) if status.code() == Code::ResourceExhausted => "rejected".to_owned(),
        Err(status) => format!("{:?}", status.code()),
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, took) in &self.took {
            let rate = took.len() as f64 / self.lasting.as_secs_f64();
            let [median, most] = [0.5, 0.99].map(|q| quantile(took, q));
            write!(f, "{what} {rate:.0}/s, p50 {median:.1} p99 {most:.1} ms; ")?;
        }
        write!(f, "begun late by p99 {:.1} ms", quantile(&self.late, 0.99))
    }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let index = (q * (sorted.len() - 1) as f64).round() as usize;
    sorted[index]
}
