//! The real binary as a process of its own, in front of a sandbox in this one.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::sandbox::{Options, Sandbox, aicc, genesys};
use tonic::transport::Endpoint;

use super::port::Port;
use super::scan;
use super::watch::{in_time, until};
use super::wire::Channel;

pub struct Observed {
    pub sandbox: Sandbox,
    listen: SocketAddr,
    pub admin: SocketAddr,
    channel: Channel,
    child: Child,
    folder: PathBuf,
    _ports: [Port; 2],
}

impl Observed {
    /// Serving, with these variables in its environment and no others that it reads.
    pub async fn start(variables: &[(&str, &str)]) -> Observed {
        Self::launch(variables, true).await
    }

    /// The same, logging into a pipe that nobody reads.
    pub async fn start_unread() -> Observed {
        Self::launch(&[], false).await
    }

    /// Whoever was to read the log is gone.
    pub fn hang_up_on_log(&mut self) {
        drop(self.child.stderr.take());
    }

    /// One that ends by itself at its start: how, and with which words.
    pub async fn refused(variables: &[(&str, &str)]) -> (ExitStatus, String) {
        let mut process = Self::spawn(variables, true).await;
        let status = process.ended().await;
        (status, process.log())
    }

    async fn launch(variables: &[(&str, &str)], kept: bool) -> Observed {
        let process = Self::spawn(variables, kept).await;
        let listen = process.listen;
        until("the process to listen", || {
            std::net::TcpStream::connect(listen).is_ok()
        })
        .await;
        process
    }

    async fn spawn(variables: &[(&str, &str)], kept: bool) -> Observed {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("switchboard-process-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let ports = [Port::reserve(), Port::reserve()];
        let [listen, admin] = [&ports[0], &ports[1]].map(|port| port.address);
        fs::write(folder.join("password"), genesys::GENESYS_PASSWORD).unwrap();
        fs::write(folder.join("secret"), aicc::AICC_SECRET).unwrap();
        let config = format!(
            "server: {{ listen: \"{listen}\", admin_listen: \"{admin}\", shutdown_delay: 0s }}\n\
             genesys:\n  base_url: {}\n  retry: {{ base: 1ms, cap: 1ms }}\n  accounts:\n    \
             default: {{ username: agent1, password_file: {folder}/password }}\n\
             aicc:\n  base_url: {}\n  retry: {{ base: 1ms, cap: 1ms }}\n  accounts:\n    \
             default: {{ app_key: {}, app_secret_file: {folder}/secret }}\n",
            sandbox.genesys_url(),
            sandbox.aicc_url(),
            aicc::AICC_APP,
            folder = folder.display(),
        );
        fs::write(folder.join("config.yaml"), config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
        let ours = |name: &str| name.starts_with("SWITCHBOARD") || name.starts_with("OTEL_");
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.env_remove("RUST_LOG").envs(scan::loud());
        command.envs(variables.iter().copied());
        command
            .args(["serve", "--config"])
            .arg(folder.join("config.yaml"));
        let log = folder.join("stderr");
        command.stderr(match kept {
            true => Stdio::from(fs::File::create(log).unwrap()),
            false => Stdio::piped(),
        });
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Observed {
            sandbox,
            listen,
            admin,
            channel: Endpoint::from_shared(format!("http://{listen}"))
                .unwrap()
                .connect_lazy()
                .into(),
            child,
            folder,
            _ports: ports,
        }
    }

    pub fn sms(&self) -> SmsSessionDataClient<Channel> {
        SmsSessionDataClient::new(self.channel.clone())
    }

    pub fn settings(&self) -> AgentSettingsClient<Channel> {
        AgentSettingsClient::new(self.channel.clone())
    }

    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.admin);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// What the collector did not get of a signal, for whatever reason.
    pub async fn dropped(&self, signal: &str) -> u64 {
        let text = self.metrics().await;
        let lines = text.lines().filter(|line| {
            line.starts_with("switchboard_telemetry_dropped_total{")
                && line.contains(&format!("signal=\"{signal}\""))
        });
        let counts = lines.map(|line| line.rsplit(' ').next().unwrap());
        counts.map(|count| count.parse::<u64>().unwrap()).sum()
    }

    /// Asks it to end, and waits until it has: what it held back is sent then.
    pub async fn end(&mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.unwrap().success());
        self.ended().await
    }

    async fn ended(&mut self) -> ExitStatus {
        in_time("the process to end", async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap()
    }

    /// The same, line by line.
    pub fn lines(&self) -> Vec<serde_json::Value> {
        let text = self.log();
        let line = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        text.lines().map(line).collect()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Of one that logs into a pipe there is nothing to read.
        if let Ok(log) = fs::read_to_string(self.folder.join("stderr")) {
            scan::emit("processes", &log);
        }
        scan::confide_all(self.sandbox.journal());
        let _ = fs::remove_dir_all(&self.folder);
    }
}
