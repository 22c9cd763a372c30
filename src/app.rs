//! The composition root: a checked configuration becomes a running gateway.

mod circuits;
mod counted;
mod options;
mod readings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::circuits::Circuit;
pub(crate) use self::counted::Counted;
use self::readings::Readings;
use crate::admin::{self, AdminState};
use crate::config::Config;
use crate::grpc::caller::tokens::TokensError;
use crate::grpc::dedupe::Dedupe;
use crate::grpc::{self, ConnectionLimits, Facades, TlsError};
use crate::lifecycle::{Ending, Grace, Lifecycle, about};
use crate::telemetry::recent::Recent;
use crate::telemetry::{LogLevel, Metrics};
use crate::upstream::client::Client;
use crate::upstream::error::LoginError;
use crate::upstream::observer::Observer;
use crate::upstream::operation::Vendor;
use crate::upstream::settings::Settings;
use crate::upstream::stack::Kit;
use crate::upstream::transport::TransportError;
use crate::vendors::{aicc, genesys};

/// Why a gateway could not be set up from a configuration that is valid in itself: all of the files
/// that turned out to be unusable, those of each section on a line of their own.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SetUpError(Vec<Unusable>);

/// A part of the configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{vendor}{}: {source}", place(.source))]
    Vendor {
        vendor: &'static str,
        source: TransportError,
    },
    #[error("server.tls: {0}")]
    Tls(#[from] TlsError),
    #[error("server.jwt: {0}")]
    Tokens(#[from] TokensError),
    #[error("server.jwt: {0}")]
    Jwks(TransportError),
}

/// Which key of a vendor's section an error is about.
fn place(error: &TransportError) -> &'static str {
    match error {
        TransportError::File(_) | TransportError::Key(_) | TransportError::Pem(_) => ".tls",
        TransportError::Proxy | TransportError::Client(_) => "",
    }
}

/// What was made; or none, and why among the others.
fn collect<T>(made: Result<T, Unusable>, unusable: &mut Vec<Unusable>) -> Option<T> {
    made.map_err(|error| unusable.push(error)).ok()
}

/// How a gateway ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Says itself which listener it is about.
    #[error(transparent)]
    SetUp(#[from] io::Error),
    #[error("the drain had to be cut: some calls did not end in time")]
    Cut,
}

/// Where the gateway listens: bound before anything else, so that a port in use is told at once.
pub struct Listeners {
    pub grpc: TcpListener,
    pub admin: std::net::TcpListener,
}

impl Listeners {
    pub async fn bind(grpc: SocketAddr, admin: SocketAddr) -> io::Result<Self> {
        let named = |name: &str, address: SocketAddr, error: io::Error| {
            about(format!("{name}: cannot listen on {address}"), &error)
        };
        Ok(Listeners {
            grpc: TcpListener::bind(grpc)
                .await
                .map_err(|error| named("server.listen", grpc, error))?,
            admin: std::net::TcpListener::bind(admin)
                .map_err(|error| named("server.admin_listen", admin, error))?,
        })
    }
}

/// A gateway, set up and not yet serving.
pub struct App {
    server: grpc::Server,
    metrics: Metrics,
    recent: Recent,
    log_level: Option<LogLevel>,
    lifecycle: Lifecycle,
    grace: Grace,
    connections: ConnectionLimits,
    circuits: Vec<Circuit>,
    genesys: Option<Client<genesys::Genesys>>,
    aicc: Option<Client<aicc::Aicc>>,
}

impl App {
    /// Sets every configured vendor up. Nothing is sent to any of them.
    pub fn new(config: &Config, metrics: Metrics) -> Result<App, SetUpError> {
        let lifecycle = Lifecycle::default();
        let recent = Recent::new(options::accounts(config));
        let counted = Arc::new(Counted::new(&metrics.meter(), recent.clone()));
        let observer: Arc<dyn Observer> = counted.clone();
        let mut unusable = Vec::new();
        let tls = collect(options::tls(&config.server, &metrics), &mut unusable);
        let access = collect(options::access(config, &metrics), &mut unusable);
        let mut kit = |vendor, upstream: Option<&Settings>| {
            let made = upstream.map(|it| Kit::new(vendor, it, Arc::clone(&observer)));
            let named = |source| Unusable::Vendor { vendor, source };
            collect(made.transpose().map_err(named), &mut unusable)
        };
        let genesys = config.genesys.as_ref();
        let genesys_kit = kit(genesys::Genesys::NAME, genesys.map(|it| &it.upstream));
        let aicc = config.aicc.as_ref();
        let aicc_kit = kit(aicc::Aicc::NAME, aicc.map(|it| &it.upstream));
        let (Some(tls), Some(access), Some(genesys_kit), Some(aicc_kit)) =
            (tls, access, genesys_kit, aicc_kit)
        else {
            return Err(SetUpError(unusable));
        };
        let limits = options::limits(&config.server);
        let mut facades = Facades::new(limits, access, lifecycle.cut.clone());
        let tasks = &lifecycle.tasks;
        let remembered = options::dedupe(&config.dedupe);
        let dedupe = Dedupe::new(remembered, tasks.clone(), &metrics.meter());
        let genesys = genesys.zip(genesys_kit).map(|(config, kit)| {
            let meter = metrics.meter();
            genesys::mount(&kit, config, &mut facades, &dedupe, &meter, &lifecycle)
        });
        let aicc = aicc
            .zip(aicc_kit)
            .map(|(config, kit)| aicc::mount(&kit, config, &mut facades, &dedupe, tasks.clone()));
        let vendors = genesys.iter().map(Readings::of);
        let vendors = vendors.chain(aicc.iter().map(Readings::of)).collect();
        readings::observe(&metrics.meter(), vendors);
        Ok(App {
            connections: options::connections(&config.server),
            circuits: options::circuits(config, counted.circuits()),
            genesys,
            aicc,
            server: grpc::Server::new(facades, tls),
            metrics,
            recent,
            log_level: None,
            grace: Grace {
                shutdown_delay: config.server.shutdown_delay,
                drain_timeout: config.server.drain_timeout,
            },
            lifecycle,
        })
    }

    /// Lets the admin port change the level of the process's log.
    #[must_use]
    pub fn with_log_level(self, level: LogLevel) -> App {
        App {
            log_level: Some(level),
            ..self
        }
    }

    /// Logs every account of every vendor in, and says how it went.
    pub async fn log_in(&self) -> Vec<Login> {
        let mut logins = Vec::new();
        if let Some(client) = &self.genesys {
            logins.extend(log_in(client).await);
        }
        if let Some(client) = &self.aicc {
            logins.extend(log_in(client).await);
        }
        logins
    }

    /// Asks for the keys of callers' tokens once, where they are at a URL.
    pub async fn try_jwks_url(&self) -> Option<Result<(), TokensError>> {
        self.server.try_jwks_url().await
    }

    /// Serves until a signal comes, then drains.
    pub async fn run(
        self,
        listeners: Listeners,
        signals: impl Stream<Item = ()>,
    ) -> Result<(), RunError> {
        let App {
            server,
            metrics,
            recent,
            lifecycle,
            connections,
            circuits,
            log_level,
            genesys,
            aicc,
            ..
        } = self;
        let renewals = [
            genesys.as_ref().map(Client::renewal),
            aicc.as_ref().map(Client::renewal),
        ];
        let _kept = renewals.map(|it| it.map(|it| AbortOnDropHandle::new(tokio::spawn(it.keep()))));
        let stop_admin = CancellationToken::new();
        let state = AdminState {
            readiness: lifecycle.readiness.clone(),
            metrics: metrics.clone(),
            recent: recent.clone(),
            log_level,
        };
        let admin_closed = admin::start(listeners.admin, state, stop_admin.clone())
            .map_err(|error| about("server.admin_listen: cannot be served", &error))?;
        let (health, opens, in_flight) = (server.health(), server.opens(), server.in_flight());
        let meter = metrics.meter();
        let closing = lifecycle.closing.clone();
        let serving = server.serve(listeners.grpc, connections, &meter, recent, closing);
        health.set(false).await;
        let ending = {
            let warm = async {
                opens.await;
                lifecycle.readiness.ready();
                health.set(true).await;
            };
            let told = tell_health(&health, warm, circuits, &lifecycle.draining);
            let run = lifecycle.run(serving, in_flight, signals, self.grace);
            // In this order: who is warm at once is so before anybody can ask.
            tokio::join!(biased; told, run).1
        };
        stop_admin.cancel();
        // Within half a second. That nothing is sent before the end is what tells of it.
        let _ = admin_closed.await;
        match ending {
            Ending::Stopped | Ending::Drained => Ok(()),
            Ending::Cut => Err(RunError::Cut),
        }
    }
}

/// Health turns before the server does, so that callers look elsewhere in time; from then on
/// nothing turns it back, be it the end of the start or a vendor's circuit.
async fn tell_health(
    health: &grpc::Health,
    warm: impl Future<Output = ()>,
    circuits: Vec<Circuit>,
    draining: &CancellationToken,
) {
    let open = async {
        warm.await;
        circuits::show(circuits, health).await;
    };
    tokio::select! {
        biased;
        () = draining.cancelled() => {}
        () = open => {}
    }
    health.set(false).await;
}

/// How one account's login went.
pub struct Login {
    pub vendor: &'static str,
    pub account: String,
    pub result: Result<(), LoginError>,
}

async fn log_in<V: Vendor>(client: &Client<V>) -> Vec<Login> {
    let login = |(account, result)| Login {
        vendor: V::NAME,
        account,
        result,
    };
    client.log_in().await.into_iter().map(login).collect()
}

/// How long the runtime may take to end what is left once the gateway has ended.
pub const RUNTIME_GRACE: Duration = Duration::from_secs(1);
