//! A gateway in this process in front of a sandbox, and how to read its answers.

pub mod audit;
pub mod authority;
pub mod binary;
pub mod calls;
pub mod child;
pub mod collector;
pub mod dir;
pub mod doors;
pub mod faults;
pub mod frames;
pub mod load;
pub mod mint;
pub mod observed;
pub mod port;
#[allow(dead_code, reason = "benchmarks need more of it")]
pub mod process;
pub mod redis;
pub mod scan;
pub mod secured;
pub mod spans;
pub mod unsent;
pub mod untimed;
pub mod vendor;
pub mod verdict;
pub mod watch;
pub mod watcher;
pub mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use switchboard::app::{App, Listeners, RunError};
use switchboard::config::{Config, Dedupe, Log, Server};
use switchboard::pb::GetSessionRequest;
use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::sandbox::{self, Sandbox, aicc as fake_aicc, genesys as fake_genesys};
use switchboard::telemetry::Metrics;
use switchboard::upstream::secret::Secret;
use switchboard::upstream::settings::Settings;
use switchboard::vendors::{aicc, genesys};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;

use self::wire::Channel;

/// A session that the sandbox is seeded with.
pub const SESSION: &str = "0071023821aec011";

/// An agent whose settings the sandbox is seeded with, and their id.
pub const USER: &str = "1660270845627002401";
pub const RECORD: &str = "1307145259662215169";

/// A running gateway; its sandbox too, unless the test brought a vendor of its own.
pub struct Gateway {
    pub sandbox: Sandbox,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: Metrics,
    pub channel: Channel,
    signal: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Gateway {
    /// With the sandbox as both vendors.
    pub async fn start() -> Gateway {
        Self::start_with(|_| {}).await
    }

    /// The same with a changed configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Gateway {
        let sandbox = Sandbox::start(sandbox::Options::default()).await.unwrap();
        let mut config = config(&sandbox);
        change(&mut config);
        scan::begin(&config);
        let metrics = Metrics::new().unwrap();
        let app = App::new(&config, metrics.clone()).unwrap();
        let listeners = Listeners::bind(config.server.listen, config.server.admin_listen)
            .await
            .unwrap();
        let address = listeners.grpc.local_addr().unwrap();
        let admin = listeners.admin.local_addr().unwrap();
        let (signal, signalled) = oneshot::channel();
        let signals = Box::pin(stream::once(async move {
            // A dropped sender is a test that ended: nobody waits for a drain.
            if signalled.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        let running = tokio::spawn(app.run(listeners, signals));
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy()
            .into();
        Gateway {
            sandbox,
            address,
            admin,
            metrics,
            channel,
            signal: Some(signal),
            running,
        }
    }

    pub fn sms(&self) -> SmsSessionDataClient<Channel> {
        SmsSessionDataClient::new(self.channel.clone())
    }

    pub fn settings(&self) -> AgentSettingsClient<Channel> {
        AgentSettingsClient::new(self.channel.clone())
    }

    /// What SIGTERM does.
    pub fn terminate(&mut self) {
        self.signal.take().unwrap().send(()).unwrap();
    }

    /// Waits for the gateway to end.
    pub async fn ended(&mut self) -> Result<(), RunError> {
        (&mut self.running).await.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        scan::end(&self.metrics, self.admin);
        scan::confide_all(self.sandbox.journal());
    }
}

/// The sandbox's accounts: `default` and `other` of each vendor.
pub fn config(sandbox: &Sandbox) -> Config {
    Config {
        server: Server {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            shutdown_delay: Duration::ZERO,
            ..Server::default()
        },
        policy: None,
        log: Log::default(),
        dedupe: Dedupe::default(),
        genesys: Some(genesys_config(&sandbox.genesys_url())),
        aicc: Some(aicc_config(&sandbox.aicc_url())),
    }
}

pub fn genesys_config(base_url: &str) -> genesys::Config {
    let account = |username: &str| genesys::config::Account {
        username: username.into(),
        password: Secret::fixed(fake_genesys::GENESYS_PASSWORD),
    };
    genesys::Config {
        base_url: base_url.parse().unwrap(),
        allow_undocumented_values: false,
        notifications: genesys::config::Notifications::default(),
        accounts: BTreeMap::from([
            ("default".to_owned(), account("agent1")),
            ("other".to_owned(), account("agent2")),
        ]),
        upstream: upstream(),
    }
}

pub fn aicc_config(base_url: &str) -> aicc::Config {
    let account = |app_key: &str, secret: &str| aicc::config::Account {
        app_key: app_key.into(),
        secret: Secret::fixed(secret),
    };
    let base_url = base_url.parse().unwrap();
    aicc::Config {
        token_url: aicc::Config::default_token_url(&base_url),
        base_url,
        token_lifetime: aicc::Config::DEFAULT_TOKEN_LIFETIME,
        accounts: BTreeMap::from([
            (
                "default".to_owned(),
                account(fake_aicc::AICC_APP, fake_aicc::AICC_SECRET),
            ),
            (
                "other".to_owned(),
                account(fake_aicc::AICC_OTHER_APP, fake_aicc::AICC_OTHER_SECRET),
            ),
        ]),
        upstream: upstream(),
    }
}

/// The defaults, but for the breaker: tests fail a vendor more often than a breaker bears, and
/// one that is about it switches it on.
fn upstream() -> Settings {
    let mut settings = Settings::default();
    settings.breaker.enabled = false;
    settings
}

/// Waits between attempts as good as not at all; and many retries do not use the budget up.
pub fn impatient(config: &mut Config) {
    for upstream in upstreams(config) {
        upstream.retry.base = Duration::from_millis(1);
        upstream.retry.cap = Duration::from_millis(1);
        upstream.retry.budget_floor = 1000;
    }
}

/// Time enough for everything, for tests that hold an answer back: no timeout may come first.
pub fn patient(config: &mut Config) {
    let long = Duration::from_secs(120);
    (config.server.default_deadline, config.server.max_deadline) = (long, long);
    for upstream in upstreams(config) {
        upstream.timeout.attempt = long;
    }
}

/// The settings that both vendors have.
pub fn upstreams(config: &mut Config) -> impl Iterator<Item = &mut Settings> {
    let genesys = config
        .genesys
        .iter_mut()
        .map(|genesys| &mut genesys.upstream);
    let aicc = config.aicc.iter_mut().map(|aicc| &mut aicc.upstream);
    genesys.chain(aicc)
}

/// Both vendors at these addresses instead of the sandbox's.
pub fn relocate(config: &mut Config, url: &str) {
    config.genesys = Some(genesys_config(url));
    config.aicc = Some(aicc_config(url));
    impatient(config);
}

pub fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

pub fn number(value: f64) -> Value {
    Value {
        kind: Some(Kind::NumberValue(value)),
    }
}

/// A read of that session.
pub fn get() -> GetSessionRequest {
    GetSessionRequest {
        session_id: SESSION.into(),
        ..Default::default()
    }
}

/// User data.
pub fn fields<const N: usize>(pairs: [(&str, Value); N]) -> Struct {
    let fields = pairs.map(|(key, value)| (key.to_owned(), value));
    Struct {
        fields: fields.into(),
    }
}

/// The same of strings.
pub fn data(pairs: &[(&str, &str)]) -> Struct {
    let fields = pairs.iter().map(|(k, v)| ((*k).to_owned(), text(v)));
    Struct {
        fields: fields.collect(),
    }
}

/// The `reason` of an error; every error has one.
pub fn reason(status: &tonic::Status) -> String {
    let info = status.get_details_error_info();
    let info = info.unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "contactcenter.v1");
    info.reason
}

/// A fact of the error's `ErrorInfo`; empty when it is not there.
pub fn fact(status: &tonic::Status, name: &str) -> String {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    info.metadata.get(name).cloned().unwrap_or_default()
}

/// What `x-switchboard-attempts` says.
pub fn attempts(metadata: &MetadataMap) -> u32 {
    let value = metadata.get("x-switchboard-attempts").expect("attempts");
    value.to_str().unwrap().parse().unwrap()
}
