//! A Redis of a test's own: a real server on loopback, gone with the test. It persists nothing
//! unless it is asked to.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Debian's package `redis-server` has it.
const BINARY: &str = "redis-server";
const MISSING: &str = "redis-server is missing: install the package of that name";

pub struct RedisServer {
    port: u16,
    /// Keeps the port while the server is stopped.
    _reserved: TcpSocket,
    dir: PathBuf,
    lasting: bool,
    process: Option<Child>,
}

impl RedisServer {
    /// `None`, said aloud, on a machine without the server: a newcomer's need not have one. Where
    /// everything has to be checked (`CI` is set) that is a failure.
    pub async fn start() -> Option<RedisServer> {
        Self::start_as(false).await
    }

    /// One that keeps what it was told over a restart, as operators are asked to have it.
    #[allow(
        dead_code,
        reason = "of those who include this file, not all restart it"
    )]
    pub async fn start_lasting() -> Option<RedisServer> {
        Self::start_as(true).await
    }

    async fn start_as(lasting: bool) -> Option<RedisServer> {
        if !is_installed() {
            assert!(std::env::var_os("CI").is_none(), "{MISSING}");
            skipped();
            return None;
        }
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.set_reuseaddr(true).unwrap();
        reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let port = reserved.local_addr().unwrap().port();
        let name = format!("switchboard-redis-{}-{port}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        let mut server = RedisServer {
            port,
            _reserved: reserved,
            dir,
            lasting,
            process: None,
        };
        server.start_again().await;
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// At the same address; with nothing in it, unless it is a lasting one.
    pub async fn start_again(&mut self) {
        let port = self.port.to_string();
        let appends = if self.lasting { "yes" } else { "no" };
        let spawned = Command::new(BINARY)
            .args(["--port", &port, "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", appends])
            .args(["--appendfsync", "always"])
            .args(["--maxmemory-policy", "noeviction"])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.process = Some(spawned.expect("a Redis server that can be started"));
        let patience = Duration::from_secs(30);
        let answers = async {
            while self.ask("PING").await.is_err() {
                let ended = self.process.as_mut().unwrap().try_wait().unwrap();
                assert!(ended.is_none(), "{BINARY} ended at once: {ended:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let answers = tokio::time::timeout(patience, answers).await;
        answers.expect("a Redis that answers");
    }

    /// Without a farewell; what it knew is lost, but for a lasting one.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Keeps its connections and answers nobody, until it goes on.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    /// The first bytes of the answer to a command, as they travel.
    pub async fn ask(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }

    /// How many scripts it was asked to run since its start.
    #[allow(
        dead_code,
        reason = "of those who include this file, not all count them"
    )]
    pub async fn asked(&self) -> u32 {
        let stats = self.ask("INFO commandstats").await.unwrap();
        let eval = stats.split_once("cmdstat_eval:calls=");
        let calls = eval.and_then(|(_, rest)| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn is_installed() -> bool {
    let asked = Command::new(BINARY)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    !matches!(asked, Err(error) if error.kind() == ErrorKind::NotFound)
}

#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
fn skipped() {
    eprintln!("SKIPPED: {MISSING}");
}
