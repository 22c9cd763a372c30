//! `switchboard sandbox`: both vendors simulated, the gateway in front, and a tour.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::{Stream, StreamExt, future, stream};
use tokio::sync::oneshot;
use tonic::transport::Endpoint;
use url::Url;

use super::{Stdout, block_on, fail, say};
use crate::app::{App, Listeners};
use crate::config::{Config, Dedupe, Log, Server};
use crate::lifecycle;
use crate::sandbox::{self, Sandbox, aicc as simulated_aicc, genesys as simulated_genesys, tour};
use crate::telemetry::{self, Telemetry};
use crate::upstream::secret::Secret;
use crate::upstream::settings::Settings;
use crate::vendors::{aicc, genesys};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Ends after the tour, with 0 only if everything was as documented.
    #[arg(long)]
    once: bool,
    /// Where the gateway listens; with --once any free port.
    #[arg(long, default_value = "127.0.0.1:50051", value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Where its admin port listens; with --once any free port.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "IP:PORT")]
    admin_listen: SocketAddr,
    /// Where the faults are set; with --once any free port.
    #[arg(long, default_value = "127.0.0.1:50052", value_name = "IP:PORT")]
    control_listen: SocketAddr,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    // The tour is for reading, so the log keeps quiet; RUST_LOG goes before this.
    let options = telemetry::Options {
        level: "warn".to_owned(),
        format: telemetry::Format::Auto,
        // Everybody is anonymous here, and nothing is real.
        audit: false,
    };
    let telemetry = match telemetry::init(&options) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(1, &error),
    };
    let played = block_on(play(arguments, &telemetry));
    telemetry.shutdown();
    match played {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => fail(1, &"not everything was as documented"),
        Ok(Err(error)) => fail(1, &error),
        Err(error) => fail(1, &error),
    }
}

/// True when the tour went as documented.
async fn play(arguments: &Arguments, telemetry: &Telemetry) -> Result<bool, Error> {
    let signals = lifecycle::signals()?;
    let sandbox = Sandbox::start(sandbox::Options {
        control: arguments.address(arguments.control_listen),
        ..Default::default()
    })
    .await?;
    let config = config(&sandbox, arguments)?;
    let listeners = Listeners::bind(config.server.listen, config.server.admin_listen).await?;
    let address = listeners.grpc.local_addr()?;
    let admin = listeners.admin.local_addr()?;
    let app = App::new(&config, telemetry.metrics())?.with_log_level(telemetry.log_level());

    let (end, ended) = oneshot::channel();
    let running = app.run(listeners, Box::pin(until(signals, ended)));
    tokio::pin!(running);
    let mut out = Stdout;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    let documented = tokio::select! {
        result = &mut running => {
            result?;
            return Err("interrupted before the end of the tour".into());
        }
        documented = tour::play(&sandbox, &channel, &mut out) => documented?,
    };
    if arguments.once {
        // The receiver is gone only when the gateway has ended already.
        let _ = end.send(());
    } else {
        sandbox.journal().clear();
        say(&directions(&sandbox, address, admin))?;
    }
    running.await?;
    sandbox.stop().await;
    Ok(documented)
}

/// The process's signals, and the end of the tour as one more.
fn until(signals: impl Stream<Item = ()>, ended: oneshot::Receiver<()>) -> impl Stream<Item = ()> {
    let ended = stream::once(ended).filter_map(|result| future::ready(result.ok()));
    stream::select(signals, ended)
}

impl Arguments {
    /// A tour in passing must not collide with anything that listens already.
    fn address(&self, address: SocketAddr) -> SocketAddr {
        if self.once {
            (Ipv4Addr::LOCALHOST, 0).into()
        } else {
            address
        }
    }
}

/// The gateway's configuration: the simulated vendors, with every one of their accounts.
fn config(sandbox: &Sandbox, arguments: &Arguments) -> Result<Config, Error> {
    let aicc_url: Url = sandbox.aicc_url().parse()?;
    let agent = |username: &str| genesys::config::Account {
        username: username.to_owned(),
        password: Secret::fixed(simulated_genesys::GENESYS_PASSWORD),
    };
    let app = |app_key: &str, secret: &str| aicc::config::Account {
        app_key: app_key.to_owned(),
        secret: Secret::fixed(secret),
    };
    Ok(Config {
        server: Server {
            listen: arguments.address(arguments.listen),
            admin_listen: arguments.address(arguments.admin_listen),
            // Nobody balances load over a sandbox.
            shutdown_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(2),
            ..Server::default()
        },
        policy: None,
        log: Log::default(),
        dedupe: Dedupe::default(),
        genesys: Some(genesys::Config {
            base_url: sandbox.genesys_url().parse()?,
            allow_undocumented_values: false,
            notifications: genesys::config::Notifications::default(),
            accounts: BTreeMap::from([
                ("default".to_owned(), agent("agent1")),
                ("agent2".to_owned(), agent("agent2")),
            ]),
            upstream: Settings::default(),
        }),
        aicc: Some(aicc::Config {
            token_url: aicc::Config::default_token_url(&aicc_url),
            base_url: aicc_url,
            token_lifetime: aicc::Config::DEFAULT_TOKEN_LIFETIME,
            accounts: BTreeMap::from([
                (
                    "default".to_owned(),
                    app(simulated_aicc::AICC_APP, simulated_aicc::AICC_SECRET),
                ),
                (
                    "other".to_owned(),
                    app(
                        simulated_aicc::AICC_OTHER_APP,
                        simulated_aicc::AICC_OTHER_SECRET,
                    ),
                ),
            ]),
            upstream: Settings::default(),
        }),
    })
}

/// What to try next.
fn directions(sandbox: &Sandbox, address: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "The gateway serves on {address} until you interrupt it; the vendors are as the tour left them.\n\
         \n\
         try        grpcurl -plaintext {address} describe contactcenter.v1.SmsSessionData\n\
         \x20          grpcurl -plaintext -d '{{\"session_id\":\"0071023821aec011\"}}' {address} contactcenter.v1.SmsSessionData/GetSession\n\
         faults     {}/   (its answer explains itself)\n\
         metrics    http://{admin}/metrics\n\
         Genesys    {}   accounts: default (agent1), agent2; password: {}\n\
         AICC       {}   accounts: default ({}, secret {}), other ({}, secret {})",
        sandbox.control_url(),
        sandbox.genesys_url(),
        // So that another gateway can be put in front of the same vendors.
        simulated_genesys::GENESYS_PASSWORD,
        sandbox.aicc_url(),
        simulated_aicc::AICC_APP,
        simulated_aicc::AICC_SECRET,
        simulated_aicc::AICC_OTHER_APP,
        simulated_aicc::AICC_OTHER_SECRET,
    )
}
