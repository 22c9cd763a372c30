//! Our face: the server stack, and what every facade needs to serve a call.

mod arriving;
mod bare;
pub mod caller;
mod connections;
mod cut;
mod deadline;
pub mod dedupe;
mod details;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod inbound;
mod lateness;
pub mod methods;
mod panic;
mod shed;
pub mod status;
mod streams;
mod turns;
pub mod validate;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use opentelemetry::metrics::Meter;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{LayerExt, Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::{Layer, Service, ServiceBuilder};

use self::bare::BareErrorLayer;
use self::caller::tokens::TokensError;
use self::caller::{Access, CallerLayer};
pub use self::connections::{ConnectionLimits, Hold, Tls, TlsError, TlsFiles};
use self::cut::CutLayer;
use self::deadline::DeadlineLayer;
use self::inbound::InboundLayer;
use self::shed::ShedLayer;
use self::streams::{EndOnDrainLayer, MOST_CALLS, MOST_STREAMS};
use crate::pb;
use crate::telemetry::recent::Recent;
use crate::telemetry::server::ServerTelemetryLayer;

/// What the operator allows callers.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub max_in_flight: usize,
    pub default_deadline: Duration,
    pub max_deadline: Duration,
}

/// Collects the services of the vendors, each within the facade's part of the server stack.
pub struct Facades {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    shed: ShedLayer,
    access: Arc<Access>,
    caller: CallerLayer,
    cut: CutLayer,
    deadline: DeadlineLayer,
}

impl Facades {
    /// Calls that are in flight at `cut` have to end.
    pub fn new(limits: Limits, access: Access, cut: CancellationToken) -> Self {
        let access = Arc::new(access);
        let deadline = DeadlineLayer {
            default: limits.default_deadline,
            max: limits.max_deadline,
        };
        Facades {
            routes: Routes::builder(),
            names: Vec::new(),
            shed: ShedLayer::new(limits.max_in_flight, deadline),
            caller: CallerLayer::new(Arc::clone(&access), methods::all(), deadline),
            access,
            cut: CutLayer::new(cut),
            deadline,
        }
    }

    /// Mounts a service. Health and reflection do not come this way.
    pub fn add<S>(&mut self, service: S)
    where
        S: Service<Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        let layers = ServiceBuilder::new()
            // Before anything is done for a caller. What the message names is looked at by
            // `inbound::open`.
            .layer(self.caller.clone())
            // Below the audit, which has to say what was answered.
            .layer(self.cut.clone())
            // Last: it bounds the arrival of the message, which is read below.
            .layer(self.deadline)
            .into_inner();
        self.routes.add_service(layers.named_layer(service));
        self.names.push(S::NAME);
    }
}

/// The gateway's gRPC server, ready to listen.
pub struct Server {
    facades: Facades,
    tls: Option<Arc<Tls>>,
    health: HealthReporter,
}

impl Server {
    /// Serves in clear without `tls`.
    pub fn new(facades: Facades, tls: Option<Tls>) -> Self {
        Server {
            facades,
            tls: tls.map(Arc::new),
            health: HealthReporter::new(),
        }
    }

    /// Says of the gateway and of each of its services whether they serve.
    pub fn health(&self) -> Health {
        let own = self.facades.names.iter().copied();
        Health {
            reporter: self.health.clone(),
            names: std::iter::once("").chain(own).collect(),
        }
    }

    /// Until some caller can be let in, once it serves.
    pub fn opens(&self) -> impl Future<Output = ()> + use<> {
        let access = Arc::clone(&self.facades.access);
        async move { access.opens().await }
    }

    /// Counts the calls that are not answered, writes that outlive their callers among them.
    pub fn in_flight(&self) -> impl Fn() -> usize + use<> {
        let shed = self.facades.shed.clone();
        move || shed.in_flight()
    }

    /// Asks for the keys of callers' tokens once, where they are at a URL.
    pub async fn try_jwks_url(&self) -> Option<Result<(), TokensError>> {
        self.facades.access.tokens.as_ref()?.try_url().await
    }

    /// THE SERVER STACK: serves until `closing`, then until the last call has ended.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        limits: ConnectionLimits,
        meter: &Meter,
        recent: Recent,
        closing: CancellationToken,
    ) {
        self.facades.shed.observe(meter);
        let mounted = &self.facades.names;
        // Telemetry knows no others.
        let methods = Arc::new(methods::paths(|method| method.is_served(mounted)));
        let _kept = self.keep_up_to_date();
        let standard = ServiceBuilder::new()
            .layer(EndOnDrainLayer::new(
                closing.clone(),
                MOST_STREAMS,
                MOST_CALLS,
            ))
            .layer(self.facades.caller.clone())
            .into_inner();
        let health = tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(self.health.clone()),
        );
        let health = health.max_decoding_message_size(LONGEST_NAME);
        // Bounds the arrival of the message only: a watch ends when its caller wants it to.
        let health = self.facades.deadline.named_layer(health);
        let names = &self.facades.names;
        let v1 = reflection(names).build_v1().expect(VALID);
        let v1 = v1.max_decoding_message_size(LONGEST_NAME);
        let v1alpha = reflection(names).build_v1alpha().expect(VALID);
        let v1alpha = v1alpha.max_decoding_message_size(LONGEST_NAME);
        let routes = &mut self.facades.routes;
        routes.add_service(standard.named_layer(health));
        routes.add_service(standard.named_layer(v1));
        routes.add_service(standard.named_layer(v1alpha));

        let layers = ServiceBuilder::new()
            // Outermost, so that it sees what every other layer answered; takes the trace
            // context in.
            .layer(ServerTelemetryLayer::new(meter, served(&methods), recent))
            // Ids and counters are on every response, so above whatever may answer.
            .layer(InboundLayer)
            // Before anything is done for a call, and when it arrives: what lies below the routes
            // begins only when the call's task has its turn.
            .layer(self.facades.shed.clone())
            // Completes what the library or a panic answers without details.
            .layer(BareErrorLayer::new(methods))
            // A defect costs one call, not the connection with all its calls.
            .map_response(panic::unwrapped)
            .layer(panic::layer())
            .into_inner();
        let stack = layers.layer(self.facades.routes.routes().prepare());
        connections::serve(listener, self.tls, stack, limits, meter, closing).await;
    }

    /// Tasks that look at files and keys again while the server runs: not in its own, as a slow
    /// disk must not keep it from accepting.
    fn keep_up_to_date(&self) -> [Option<AbortOnDropHandle<()>>; 2] {
        let tls = self.tls.clone();
        let tokens = self.facades.access.tokens.clone();
        [
            tls.map(|tls| AbortOnDropHandle::new(tokio::spawn(async move { tls.keep().await }))),
            tokens.map(|it| AbortOnDropHandle::new(tokio::spawn(async move { it.keep().await }))),
        ]
    }
}

/// Sets what `grpc.health.v1` answers.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    /// Of the gateway and of all that it serves.
    pub async fn set(&self, serving: bool) {
        for name in &self.names {
            self.set_service(name, serving).await;
        }
    }

    pub async fn set_service(&self, name: &str, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.reporter.set_service_status(name, status).await;
    }
}

/// The most that a message of health or reflection may have: it holds a name. Who sends it need not
/// be known to the gateway.
const LONGEST_NAME: usize = 4096;

const VALID: &str = "descriptors made by the build are valid";

/// What `grpcurl list` and `describe` read: the mounted services, with comments and options.
fn reflection<'a>(names: &[&'static str]) -> tonic_reflection::server::Builder<'a> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that tools show the details of errors as what they are.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health");
    names
        .iter()
        .fold(builder, |builder, name| builder.with_service_name(*name))
}

/// The same as telemetry names them: without the first slash.
fn served(paths: &HashSet<String>) -> Vec<String> {
    paths.iter().map(|path| path[1..].to_owned()).collect()
}
