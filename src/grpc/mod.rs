//! Our face: the server stack, and what every facade needs to serve a call.

mod bare;
mod connections;
mod deadline;
pub mod dedupe;
mod details;
pub mod inbound;
mod panic;
mod shed;
pub mod status;
mod streams;
pub mod validate;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use opentelemetry::metrics::Meter;
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::{LayerExt, Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::{Layer, Service, ServiceBuilder};

use self::bare::BareErrorLayer;
pub use self::connections::ConnectionLimits;
use self::deadline::DeadlineLayer;
use self::inbound::InboundLayer;
use self::shed::ShedLayer;
use self::streams::EndOnDrainLayer;
use crate::pb;
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
    deadline: DeadlineLayer,
}

impl Facades {
    pub fn new(limits: Limits) -> Self {
        Facades {
            routes: Routes::builder(),
            names: Vec::new(),
            shed: ShedLayer::new(limits.max_in_flight),
            deadline: DeadlineLayer {
                default: limits.default_deadline,
                max: limits.max_deadline,
            },
        }
    }

    /// Mounts a service. Health and reflection do not come this way: they answer also when the
    /// gateway is full.
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
            // First, so that a refused call costs next to nothing.
            .layer(self.shed.clone())
            // Last, so that its time begins when the call does.
            .layer(self.deadline)
            .into_inner();
        self.routes.add_service(layers.named_layer(service));
        self.names.push(S::NAME);
    }
}

/// The gateway's gRPC server, ready to listen.
pub struct Server {
    facades: Facades,
    health: HealthReporter,
}

impl Server {
    pub fn new(facades: Facades) -> Self {
        Server {
            facades,
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

    /// THE SERVER STACK: serves until `closing`, then until the last call has ended.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        limits: ConnectionLimits,
        meter: &Meter,
        closing: CancellationToken,
    ) {
        self.facades.shed.observe(meter);
        let methods = Arc::new(methods(&self.facades.names));
        let standard = EndOnDrainLayer::new(closing.clone());
        let health = tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(self.health.clone()),
        );
        let routes = &mut self.facades.routes;
        routes.add_service(standard.named_layer(health));
        routes.add_service(
            standard.named_layer(reflection(&self.facades.names).build_v1().expect(VALID)),
        );
        routes.add_service(
            standard.named_layer(
                reflection(&self.facades.names)
                    .build_v1alpha()
                    .expect(VALID),
            ),
        );

        let layers = ServiceBuilder::new()
            // Outermost, so that it sees what every other layer answered; takes the trace
            // context in.
            .layer(ServerTelemetryLayer::new(meter, names(&methods)))
            // Ids and counters are on every response, so above whatever may answer.
            .layer(InboundLayer)
            // Completes what the library or a panic answers without details.
            .layer(BareErrorLayer::new(methods))
            // A defect costs one call, not the connection with all its calls.
            .map_response(panic::unwrapped)
            .layer(panic::layer())
            .into_inner();
        let stack = layers.layer(self.facades.routes.routes().prepare());
        connections::serve(listener, stack, limits, meter, closing).await;
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

/// The path of every method that is served: telemetry knows no others.
fn methods(mounted: &[&'static str]) -> HashSet<String> {
    let sets = [
        pb::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut paths = HashSet::new();
    for file in sets
        .into_iter()
        .flat_map(|set| FileDescriptorSet::decode(set).expect(VALID).file)
    {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            if name.starts_with("grpc.") || mounted.contains(&name.as_str()) {
                let methods = service.method.iter();
                paths.extend(methods.map(|method| format!("/{name}/{}", method.name())));
            }
        }
    }
    paths
}

/// The same as telemetry names them: without the first slash.
fn names(paths: &HashSet<String>) -> Vec<String> {
    paths.iter().map(|path| path[1..].to_owned()).collect()
}
