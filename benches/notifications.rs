//! What watching many accounts costs: memory, CPU at rest, delivery, and a mass reconnect.
//!
//! The gateway runs as its users run it, in a process of its own; this one plays the vendor and
//! the callers. `cargo bench --bench notifications`; the numbers and how to read them are in
//! docs/PERFORMANCE.md.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise, and its output is its purpose"
)]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, json};
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::pb::watch_sessions_response::Event;
use switchboard::pb::{SessionNotification, WatchSessionsRequest};
use switchboard::sandbox::{Options, Sandbox};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

const ACCOUNTS: usize = 1000;

/// Beside the first one of each account.
const FURTHER_WATCHERS: usize = 4;

/// Streams that one connection carries: below the gateway's bound.
const STREAMS: usize = 500;

const REST: Duration = Duration::from_secs(20);
const CHANGES: usize = 400;

#[tokio::main]
async fn main() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    for account in 0..ACCOUNTS {
        sandbox.genesys().add_agent(&agent(account), "sandbox");
        sandbox
            .genesys()
            .add_session(&agent(account), &session(account));
    }
    let folder = std::env::temp_dir().join(format!("switchboard-bench-{}", std::process::id()));
    let gateway = Gateway::start(&sandbox, &folder).await;
    let report = measure(&sandbox, &gateway).await;
    drop(gateway);
    std::fs::remove_dir_all(&folder).unwrap();
    println!("{report}");
}

async fn measure(sandbox: &Sandbox, gateway: &Gateway) -> String {
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut callers = Callers {
        address: gateway.address,
        tell,
        snapshots: Arc::default(),
        opened: 0,
        channel: None,
    };
    // Whatever the first of anything costs is not a cost of each.
    callers.open(0).await;
    callers.settled().await;
    let empty = gateway.memory();
    for account in 1..ACCOUNTS {
        callers.open(account).await;
    }
    callers.settled().await;
    let (watched, connects) = (gateway.memory(), sandbox.genesys().comet_clients().len());
    for _ in 0..FURTHER_WATCHERS {
        for account in 0..ACCOUNTS {
            callers.open(account).await;
        }
    }
    callers.settled().await;
    let further = gateway.memory();

    let before = gateway.cpu();
    tokio::time::sleep(REST).await;
    let at_rest = (gateway.cpu() - before).as_secs_f64() / REST.as_secs_f64();

    let (lags, lost) = deliver(sandbox, &mut told).await;
    let handshakes = reconnect(sandbox, &callers).await;

    let accounts = (ACCOUNTS - 1) as f64;
    let watchers = (FURTHER_WATCHERS * ACCOUNTS) as f64;
    format!(
        "accounts watched                  {connects}\n\
         memory before                     {empty} KiB\n\
         memory per idle watched account   {:.1} KiB   (goal: at most 100)\n\
         memory per further watcher        {:.1} KiB   (goal: at most 20)\n\
         CPU at rest, {} streams         {:.2} % of a core   (goal: under 5)\n\
         delivery to {} watchers each       p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms   (goal: p50 at most 50)\n\
         notifications that did not arrive {lost}\n\
         handshakes after a mass loss      {} in all; per 250 ms: {:?}\n\
         memory at the end                 {} KiB",
        (watched - empty) as f64 / accounts,
        (further - watched) as f64 / watchers,
        callers.opened,
        at_rest * 100.0,
        FURTHER_WATCHERS + 1,
        quantile(&lags, 0.5),
        quantile(&lags, 0.99),
        quantile(&lags, 1.0),
        handshakes.iter().sum::<u64>(),
        handshakes,
        gateway.memory(),
    )
}

/// Changes sessions one after the other, and waits for every watcher to hear of each.
async fn deliver(
    sandbox: &Sandbox,
    told: &mut mpsc::UnboundedReceiver<(SessionNotification, Instant)>,
) -> (Vec<f64>, usize) {
    let (mut lags, mut lost) = (Vec::new(), 0);
    for change in 0..CHANGES {
        let account = change * 7 % ACCOUNTS;
        let data = Map::from_iter([("Change".to_owned(), json!(change))]);
        let begun = Instant::now();
        sandbox.genesys().set_user_data(&session(account), data);
        for _ in 0..=FURTHER_WATCHERS {
            let heard = tokio::time::timeout(Duration::from_secs(5), told.recv()).await;
            match heard {
                Ok(Some((_, at))) => lags.push((at - begun).as_secs_f64() * 1000.0),
                Ok(None) | Err(_) => lost += 1,
            }
        }
    }
    lags.sort_by(f64::total_cmp);
    (lags, lost)
}

/// The server forgets every client at once; how many shake hands again in each quarter second.
async fn reconnect(sandbox: &Sandbox, callers: &Callers) -> Vec<u64> {
    let mut before = sandbox.genesys().handshakes();
    let snapshots = callers.snapshots.load(Ordering::Relaxed);
    sandbox.genesys().drop_clients();
    let mut rates = Vec::new();
    while callers.snapshots.load(Ordering::Relaxed) < snapshots + callers.opened {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = sandbox.genesys().handshakes();
        rates.push(now - before);
        before = now;
        assert!(rates.len() < 240, "some watchers never heard of the gap");
    }
    rates
}

/// Opens streams, and hears what they tell.
struct Callers {
    address: SocketAddr,
    tell: mpsc::UnboundedSender<(SessionNotification, Instant)>,
    snapshots: Arc<AtomicUsize>,
    opened: usize,
    channel: Option<Channel>,
}

impl Callers {
    async fn open(&mut self, account: usize) {
        if self.opened.is_multiple_of(STREAMS) {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
            self.channel = Some(endpoint.connect().await.unwrap());
        }
        self.opened += 1;
        let mut client = SmsSessionDataClient::new(self.channel.clone().unwrap());
        let (tell, snapshots) = (self.tell.clone(), Arc::clone(&self.snapshots));
        tokio::spawn(async move {
            let account = format!("account{account}");
            let request = WatchSessionsRequest {
                account,
                ..Default::default()
            };
            let mut stream = client.watch_sessions(request).await.unwrap().into_inner();
            while let Ok(Some(message)) = stream.message().await {
                match message.event.unwrap() {
                    Event::Snapshot(_) => {
                        snapshots.fetch_add(1, Ordering::Relaxed);
                    }
                    Event::Notification(told) => {
                        let _ = tell.send((told, Instant::now()));
                    }
                }
            }
        });
    }

    /// Every stream has told its snapshot, and the connections that it took have closed.
    async fn settled(&self) {
        while self.snapshots.load(Ordering::Relaxed) < self.opened {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
}

/// A gateway in a process of its own; ended by its id.
struct Gateway {
    process: Child,
    address: SocketAddr,
}

impl Gateway {
    async fn start(sandbox: &Sandbox, folder: &Path) -> Gateway {
        std::fs::create_dir_all(folder).unwrap();
        let (address, admin) = (free(), free());
        let password = folder.join("password");
        std::fs::write(&password, "sandbox").unwrap();
        let config = folder.join("switchboard.yaml");
        std::fs::write(&config, settings(sandbox, address, admin, &password)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_switchboard"))
            .args(["serve", "--config"])
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let gateway = Gateway { process, address };
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway
    }

    /// Resident, in KiB.
    fn memory(&self) -> i64 {
        let status = self.read("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn cpu(&self) -> Duration {
        let stat = self.read("stat");
        // User and system time, in ticks of 10 ms, counted behind the name in parentheses.
        let fields: Vec<_> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11..13]
            .iter()
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.process.id())).unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn settings(sandbox: &Sandbox, address: SocketAddr, admin: SocketAddr, password: &Path) -> String {
    let mut accounts = String::new();
    for account in 0..ACCOUNTS {
        let (agent, password) = (agent(account), password.display());
        accounts +=
            &format!("    account{account}: {{ username: {agent}, password_file: {password} }}\n");
    }
    format!(
        "server: {{ listen: \"{address}\", admin_listen: \"{admin}\" }}\n\
         genesys:\n  base_url: {}\n  accounts:\n{accounts}",
        sandbox.genesys_url(),
    )
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn agent(account: usize) -> String {
    format!("bench{account}")
}

fn session(account: usize) -> String {
    format!("session-of-{account}")
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let index = (q * (sorted.len() - 1) as f64).round() as usize;
    sorted[index]
}
