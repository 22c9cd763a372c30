//! The composition root: a checked configuration becomes a running gateway.

mod circuits;
mod readings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::metrics::Meter;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::circuits::{Circuit, Circuits};
use self::readings::Readings;
use crate::admin::{self, AdminState};
use crate::config::{self, Config};
use crate::grpc::caller::Access;
use crate::grpc::caller::tokens::{Rules, Source, Tokens, TokensError};
use crate::grpc::dedupe::{self, Dedupe};
use crate::grpc::{self, ConnectionLimits, Facades, Limits, Tls, TlsError, TlsFiles};
use crate::lifecycle::{Ending, Grace, Lifecycle};
use crate::pb;
use crate::telemetry::client::{ClientMetrics, Request};
use crate::telemetry::recent::{Outcome, Recent};
use crate::telemetry::{self, LogLevel, Metrics};
use crate::upstream::breaker::BreakerState;
use crate::upstream::client::Client;
use crate::upstream::error::LoginError;
use crate::upstream::observer::{Attempt, Observer};
use crate::upstream::operation::Vendor;
use crate::upstream::settings::Settings;
use crate::upstream::transport::{Document, TransportError};
use crate::vendors::{aicc, genesys};

/// Why a gateway could not be set up from a configuration that is valid in itself.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("{vendor}: {source}")]
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

/// How a gateway ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Says itself which listener or signal it is about.
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
            io::Error::new(
                error.kind(),
                format!("{name}: cannot listen on {address}: {error}"),
            )
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
        let recent = Recent::new(accounts(config));
        let counted = Arc::new(Counted::new(&metrics.meter(), recent.clone()));
        let observer: Arc<dyn Observer> = counted.clone();
        let limits = Limits {
            max_in_flight: config.server.max_in_flight,
            default_deadline: config.server.default_deadline,
            max_deadline: config.server.max_deadline,
        };
        let tls = tls(&config.server, &metrics)?;
        let mut facades = Facades::new(limits, access(config, &metrics)?);
        let tasks = &lifecycle.tasks;
        let remembered = dedupe::Options {
            window: config.dedupe.window,
            max_entries: config.dedupe.max_entries,
            redis_url: config.dedupe.redis_url.clone(),
        };
        let dedupe = Dedupe::new(remembered, tasks.clone(), &metrics.meter());
        let genesys = config.genesys.as_ref().map(|config| {
            genesys::mount(
                config,
                &mut facades,
                &dedupe,
                Arc::clone(&observer),
                &metrics.meter(),
                &lifecycle,
            )
            .map_err(|source| SetUpError::Vendor {
                vendor: genesys::Genesys::NAME,
                source,
            })
        });
        let aicc = config.aicc.as_ref().map(|config| {
            aicc::mount(
                config,
                &mut facades,
                &dedupe,
                Arc::clone(&observer),
                tasks.clone(),
            )
            .map_err(|source| SetUpError::Vendor {
                vendor: aicc::Aicc::NAME,
                source,
            })
        });
        let (genesys, aicc) = (genesys.transpose()?, aicc.transpose()?);
        let vendors = genesys.iter().map(Readings::of);
        let vendors = vendors.chain(aicc.iter().map(Readings::of)).collect();
        readings::observe(&metrics.meter(), vendors);
        Ok(App {
            connections: connections(&config.server),
            circuits: circuits(config, &counted.circuits),
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
        let admin = admin::start(listeners.admin, state, stop_admin.clone())?;
        let health = server.health();
        let meter = metrics.meter();
        let closing = lifecycle.closing.clone();
        let serving = server.serve(listeners.grpc, connections, &meter, recent, closing);
        health.set(true).await;
        lifecycle.readiness.ready();
        let ending = {
            let told = tell_health(&health, circuits, &lifecycle.draining);
            let run = lifecycle.run(serving, signals, self.grace);
            tokio::join!(run, told).0
        };
        stop_admin.cancel();
        // It ends within half a second by itself; a panic of its thread changes nothing here.
        let _ = tokio::task::spawn_blocking(move || admin.join()).await;
        match ending {
            Ending::Stopped(()) | Ending::Drained(()) => Ok(()),
            Ending::Cut => Err(RunError::Cut),
        }
    }
}

fn tls(server: &config::Server, metrics: &Metrics) -> Result<Option<Tls>, SetUpError> {
    let Some(files) = &server.tls else {
        return Ok(None);
    };
    let files = TlsFiles {
        cert: files.cert_file.clone(),
        key: files.key_file.clone(),
        client_ca: files.client_ca_file.clone(),
        crl: files.crl_file.clone(),
        // Beside tokens, either will do.
        demanded: server.jwt.is_none(),
    };
    Ok(Some(Tls::new(files, &metrics.meter())?))
}

/// What callers have to show, and what they may do then.
fn access(config: &Config, metrics: &Metrics) -> Result<Access, SetUpError> {
    let server = &config.server;
    let tokens = |jwt: &config::Jwt| -> Result<_, SetUpError> {
        let rules = Rules {
            issuer: jwt.issuer.clone(),
            audiences: jwt.audiences.clone(),
        };
        let source = match &jwt.jwks {
            config::Jwks::File(path) => Source::File(path.clone()),
            config::Jwks::Url(url) => {
                Source::Url(Document::new(url.clone()).map_err(SetUpError::Jwks)?)
            }
        };
        Ok(Arc::new(Tokens::new(rules, source, &metrics.meter())?))
    };
    Ok(Access {
        certificates: server.demands_certificates(),
        tokens: server.jwt.as_ref().map(tokens).transpose()?,
        open_methods: server.open_methods.clone(),
        policy: config.policy.clone(),
    })
}

/// Of the vendors that are configured.
fn accounts(config: &Config) -> Vec<(&'static str, Vec<String>)> {
    let genesys = config.genesys.iter().map(|genesys| {
        let accounts = genesys.accounts.keys().cloned().collect();
        (genesys::Genesys::NAME, accounts)
    });
    let aicc = config.aicc.iter().map(|aicc| {
        let accounts = aicc.accounts.keys().cloned().collect();
        (aicc::Aicc::NAME, accounts)
    });
    genesys.chain(aicc).collect()
}

fn connections(server: &config::Server) -> ConnectionLimits {
    ConnectionLimits {
        max: server.max_connections,
        max_age: server.max_connection_age,
        // No call takes longer; what its caller has not read soon after, it never will.
        grace: server.max_deadline.saturating_add(UNREAD),
    }
}

/// Of the vendors that are there.
fn circuits(config: &Config, circuits: &Circuits) -> Vec<Circuit> {
    let circuit = |vendor, upstream: &Settings, service| Circuit {
        state: circuits.of(vendor),
        rest: upstream.breaker.open,
        service,
    };
    let genesys = config.genesys.iter().map(|genesys| {
        let service = pb::sms_session_data_server::SERVICE_NAME;
        circuit(genesys::Genesys::NAME, &genesys.upstream, service)
    });
    let aicc = config.aicc.iter().map(|aicc| {
        let service = pb::agent_settings_server::SERVICE_NAME;
        circuit(aicc::Aicc::NAME, &aicc.upstream, service)
    });
    genesys.chain(aicc).collect()
}

/// Health turns before the server does, so that callers look elsewhere in time; from then on no
/// vendor's circuit turns it back.
async fn tell_health(health: &grpc::Health, circuits: Vec<Circuit>, draining: &CancellationToken) {
    tokio::select! {
        biased;
        () = draining.cancelled() => {}
        () = circuits::show(circuits, health) => {}
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

/// What the kit tells of itself, as metrics, as health and for the status page.
pub(crate) struct Counted {
    metrics: ClientMetrics,
    recent: Recent,
    circuits: Circuits,
}

impl Counted {
    pub(crate) fn new(meter: &Meter, recent: Recent) -> Self {
        Counted {
            metrics: ClientMetrics::new(meter),
            recent,
            circuits: Circuits::new([genesys::Genesys::NAME, aicc::Aicc::NAME]),
        }
    }
}

impl Observer for Counted {
    fn inject(&self, span: &Context, headers: &mut HeaderMap) {
        telemetry::client::inject(span, headers);
    }

    fn attempt(&self, attempt: &Attempt<'_>) {
        let outcome = attempt.error.unwrap_or("ok");
        self.metrics
            .record_attempt(attempt.vendor, attempt.meta.name, outcome);
        self.metrics.record_request(&Request {
            method: method(attempt),
            address: &attempt.server.address,
            port: attempt.server.port,
            template: attempt.server.template(attempt.meta),
            status: attempt.status,
            error: attempt.error,
            duration: attempt.duration,
        });
        if !genesys::is_held(attempt.meta) {
            self.recent
                .attempt(attempt.vendor, health(attempt), attempt.duration);
        }
    }

    fn retry(&self, vendor: &'static str, reason: &'static str) {
        self.metrics.record_retry(vendor, reason);
    }

    fn breaker(&self, vendor: &'static str, state: BreakerState) {
        self.circuits.tell(vendor, state);
        self.recent.breaker(
            vendor,
            match state {
                BreakerState::Closed => "closed",
                BreakerState::HalfOpen => "half_open",
                BreakerState::Open => "open",
            },
        );
        self.metrics.record_breaker(
            vendor,
            match state {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            },
        );
    }

    fn login(&self, vendor: &'static str, account: &str, result: &'static str) {
        self.metrics.record_refresh(vendor, account, result);
        self.recent.login(vendor, account, result);
    }

    fn tls_failures(&self, vendor: &'static str, more: u64) {
        self.metrics.record_tls_failures(vendor, more);
    }
}

/// A no to what was asked is no sign of illness; refused credentials, a limit or no answer are.
fn health(attempt: &Attempt<'_>) -> Outcome {
    match attempt.error {
        None => Outcome::Ok,
        Some("refused") => Outcome::Refused,
        Some(_) => Outcome::Failed,
    }
}

fn method(attempt: &Attempt<'_>) -> &'static str {
    match attempt.meta.method {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        _ => "_OTHER",
    }
}

/// What a caller has to read its last answer when its connection is to end.
const UNREAD: Duration = Duration::from_secs(30);

/// How long the runtime may take to end what is left once the gateway has ended.
pub const RUNTIME_GRACE: Duration = Duration::from_secs(1);
