//! The real binary as a process of its own, in front of a sandbox in this one.

use std::fs;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};

use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::sandbox::{Options, Sandbox, aicc, genesys};
use tonic::transport::Endpoint;

use super::child::{Running, switchboard};
use super::dir::Dir;
use super::port::Port;
use super::scan;
use super::watch::until;
use super::wire::Channel;

pub struct Observed {
    pub sandbox: Sandbox,
    listen: SocketAddr,
    pub admin: SocketAddr,
    channel: Channel,
    process: Running,
    dir: Dir,
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
        drop(self.process.0.stderr.take());
    }

    /// One that ends by itself at its start: how, and with which words.
    pub async fn refused(variables: &[(&str, &str)]) -> (ExitStatus, String) {
        let mut observed = Self::spawn(variables, true).await;
        let status = observed.process.ended().await;
        (status, observed.log())
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
        let dir = Dir::new();
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let ports = [Port::reserve(), Port::reserve()];
        let [listen, admin] = [&ports[0], &ports[1]].map(|port| port.address);
        let password = dir.write("password", genesys::GENESYS_PASSWORD);
        let secret = dir.write("secret", aicc::AICC_SECRET);
        let config = format!(
            "server: {{ listen: \"{listen}\", admin_listen: \"{admin}\", shutdown_delay: 0s }}\n\
             genesys:\n  base_url: {}\n  retry: {{ base: 1ms, cap: 1ms }}\n  accounts:\n    \
             default: {{ username: agent1, password_file: {} }}\n\
             aicc:\n  base_url: {}\n  retry: {{ base: 1ms, cap: 1ms }}\n  accounts:\n    \
             default: {{ app_key: {}, app_secret_file: {} }}\n",
            sandbox.genesys_url(),
            password.display(),
            sandbox.aicc_url(),
            aicc::AICC_APP,
            secret.display(),
        );
        let config = dir.write("config.yaml", &config);
        let mut command = switchboard(&["serve", "--config", config.to_str().unwrap()]);
        command.envs(scan::loud());
        command.envs(variables.iter().copied());
        command.stderr(match kept {
            true => Stdio::from(fs::File::create(dir.path("stderr")).unwrap()),
            false => Stdio::piped(),
        });
        Observed {
            sandbox,
            listen,
            admin,
            channel: Endpoint::from_shared(format!("http://{listen}"))
                .unwrap()
                .connect_lazy()
                .into(),
            process: Running::spawn(command),
            dir,
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
        self.process.terminate();
        self.process.ended().await
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path("stderr")).unwrap()
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
        self.process.kill();
        // Of one that logs into a pipe there is nothing to read.
        if let Ok(log) = fs::read_to_string(self.dir.path("stderr")) {
            scan::emit("processes", &log);
        }
        scan::confide_all(self.sandbox.journal());
    }
}
