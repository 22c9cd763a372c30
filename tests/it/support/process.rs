//! A gateway as its users run it, in a process of its own, and what the kernel tells of it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use switchboard::sandbox::{aicc, genesys};
use tokio::net::TcpStream;

use super::binary::switchboard;
use super::port::Port;

/// Nothing that is waited for here takes this long unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Secrets, configurations and logs; gone with its owner, unless it is kept to be read.
pub struct Folder {
    path: PathBuf,
    pub keep: bool,
}

impl Folder {
    pub fn new(name: &str) -> Folder {
        let name = format!("switchboard-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        let folder = Folder { path, keep: false };
        folder.write("password", genesys::GENESYS_PASSWORD);
        folder.write("app_secret", aicc::AICC_SECRET);
        folder
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// What all gateways wrote that begins with `word`, or holds it.
    pub fn logged(&self, word: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "log") {
                let text = fs::read_to_string(&path).unwrap();
                let lines = text.lines().filter(|line| line.contains(word));
                found.extend(lines.map(str::to_owned));
            }
        }
        found
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Ended by its id, at the latest with its owner.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    /// Nobody else is given them, not even when this one has ended.
    _ports: [Port; 2],
}

/// Of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident, in KiB.
    pub memory: u64,
    pub handles: usize,
    pub threads: usize,
}

impl Process {
    /// `server` are further lines of that section, `sections` all others. Returns at once.
    pub fn spawn(folder: &Folder, name: &str, server: &str, sections: &str) -> Process {
        let ports = [(); 2].map(|()| Port::reserve());
        let [address, admin] = [ports[0].address, ports[1].address];
        let text = format!(
            "server:\n  listen: {address}\n  admin_listen: {admin}\n{server}\n{sections}\n"
        );
        let config = folder.write(&format!("{name}.yaml"), &text);
        let log = File::create(folder.path().join(format!("{name}.log"))).unwrap();
        let child = Command::new(switchboard())
            .args(["serve", "--config", &config])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Process {
            child,
            address,

            _ports: ports,
        }
    }

    /// Until it accepts connections.
    pub async fn listening(&mut self) {
        let listens = async {
            while TcpStream::connect(self.address).await.is_err() {
                let ended = self.child.try_wait().unwrap();
                assert!(ended.is_none(), "the gateway ended at its start: {ended:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let listens = tokio::time::timeout(PATIENCE, listens).await;
        listens.expect("a gateway that listens");
    }

    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        ended.expect("a gateway that ends")
    }

    /// `None` once it has ended.
    pub fn usage(&self) -> Option<Usage> {
        let root = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(root.join("status")).ok()?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Usage {
            memory: field("VmRSS:")?,
            handles: fs::read_dir(root.join("fd")).ok()?.count(),
            threads: usize::try_from(field("Threads:")?).ok()?,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
