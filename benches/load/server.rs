//! One of the servers that are compared, as a process of its own on one core.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::binary::switchboard;
use super::vendor::Vendor;

#[path = "envoy.rs"]
mod envoy;

/// The core of the servers, and that of everything else.
const THEIRS: &str = "0";
const OURS: &str = "1";

/// Room for one call: a gateway that has it is full.
pub(crate) const FULL: [(&str, &str); 1] = [("SWITCHBOARD__SERVER__MAX_IN_FLIGHT", "1")];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hyper,
    Reqwest,
    Gateway,
    /// The gateway, and nothing measured or logged: this executable again.
    Muted,
    Envoy,
}

impl Kind {
    /// Those that are there, in the order of their values.
    pub(crate) fn all() -> Vec<Kind> {
        let envoy = envoy::binary().map(|_| Kind::Envoy);
        let ours = [Kind::Hyper, Kind::Reqwest, Kind::Gateway];
        ours.into_iter().chain(envoy).collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Hyper => "tonic + hyper",
            Kind::Reqwest => "tonic + reqwest",
            Kind::Gateway => "switchboard",
            Kind::Muted => "switchboard, muted",
            Kind::Envoy => "Envoy",
        }
    }
}

pub(crate) struct Cpu {
    pub(crate) user: Duration,
    pub(crate) kernel: Duration,
}

impl Cpu {
    pub(crate) fn sum(&self) -> Duration {
        self.user + self.kernel
    }
}

/// Ended by its id when it is dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    process: Child,
    folder: PathBuf,
}

impl Server {
    pub(crate) async fn start(kind: Kind, vendor: &Vendor) -> Server {
        Self::start_with(kind, vendor, &[]).await
    }

    pub(crate) async fn start_with(
        kind: Kind,
        vendor: &Vendor,
        variables: &[(&str, &str)],
    ) -> Server {
        Self::start_under(kind, vendor, &["taskset", "-c", THEIRS], variables).await
    }

    /// With the words of another command before its own, and with these variables.
    pub(crate) async fn start_under(
        kind: Kind,
        vendor: &Vendor,
        before: &[&str],
        variables: &[(&str, &str)],
    ) -> Server {
        let [address, admin] = [(); 2].map(|()| free());
        let name = format!("switchboard-load-{}-{}", std::process::id(), address.port());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new(before[0]);
        command.args(&before[1..]);
        command.envs(variables.iter().copied());
        match kind {
            Kind::Gateway | Kind::Muted => {
                let password = folder.join("password");
                std::fs::write(&password, "secret").unwrap();
                let config = folder.join("switchboard.yaml");
                let tls = vendor.ca_file.as_ref().map_or(String::new(), |file| {
                    format!("  tls: {{ ca_file: {} }}\n", file.display())
                });
                let text = format!(
                    "server: {{ listen: \"{address}\", admin_listen: \"{admin}\", shutdown_delay: 0s, max_connections: 8192 }}\n\
                     genesys:\n  base_url: {}\n{tls}  accounts:\n    \
                     default: {{ username: agent1, password_file: {} }}\n",
                    vendor.url,
                    password.display()
                );
                std::fs::write(&config, text).unwrap();
                if kind == Kind::Gateway {
                    command.arg(switchboard()).args(["serve", "--config"]);
                } else {
                    command.arg(std::env::current_exe().unwrap()).arg("muted");
                }
                command.arg(&config);
            }
            Kind::Hyper | Kind::Reqwest => {
                command.arg(std::env::current_exe().unwrap());
                command.args(["floor", kind.name()]);
                command.args([address.to_string(), vendor.url.clone()]);
                command.args(&vendor.ca_file);
            }
            Kind::Envoy => {
                command.arg(envoy::binary().expect("its path in ENVOY"));
                command.args(envoy::set_up(&folder, address, &vendor.url));
            }
        }
        // The log goes into a pipe, as it does in production.
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = process.stderr.take().unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while log.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
        let server = Server {
            kind,
            address,
            process,
            folder,
        };
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Resident, in MiB: now, and at most so far.
    pub(crate) fn memory(&self) -> f64 {
        self.status("VmRSS:")
    }

    pub(crate) fn peak(&self) -> f64 {
        self.status("VmHWM:")
    }

    /// Asks it to end, and waits; the vendor and the callers go on meanwhile.
    pub(crate) async fn end(mut self) {
        let id = self.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        while self.process.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn status(&self, name: &str) -> f64 {
        let status = read(self.id(), "status");
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Processor time of a process so far.
pub(crate) fn cpu(id: u32) -> Cpu {
    let stat = read(id, "stat");
    // In ticks of 10 ms, counted behind the name in parentheses.
    let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
    let mut next = || Duration::from_millis(fields.next().unwrap().parse::<u64>().unwrap() * 10);
    Cpu {
        user: next(),
        kernel: next(),
    }
}

fn read(id: u32, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{id}/{name}")).unwrap()
}

/// Moves this process to the core that the servers do not have.
pub(crate) fn pin_self() {
    let id = std::process::id().to_string();
    let mut taskset = Command::new("taskset");
    taskset.args(["-acp", OURS, &id]).stdout(Stdio::null());
    assert!(taskset.status().unwrap().success());
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}
