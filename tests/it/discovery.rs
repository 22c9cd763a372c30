//! The gateway says what it serves, and keeps saying so when it is full: health and reflection
//! know exactly the mounted services, and stand outside every limit.

use std::collections::BTreeSet;

use prost::Message;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{FileDescriptorProto, MethodDescriptorProto};
use switchboard::pb;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::admin;
use crate::support::calls::{ALL, Call};
use crate::support::vendor::{Vendor, json};
use crate::support::verdict::{Verdict, retry_info};
use crate::support::watch::total;
use crate::support::{self, Gateway, relocate};

const SMS: &str = "contactcenter.v1.SmsSessionData";
const SETTINGS: &str = "contactcenter.v1.AgentSettings";
const HEALTH: &str = "grpc.health.v1.Health";

/// Asks one question in either version of the protocol.
macro_rules! ask {
    ($version:ident, $gateway:expr, $question:expr) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        let request = $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some($question),
        };
        let mut client = ServerReflectionClient::new($gateway.channel.clone());
        let request = tokio_stream::once(request);
        let mut answers = client
            .server_reflection_info(request)
            .await
            .unwrap()
            .into_inner();
        let answer = answers.next().await.unwrap().unwrap();
        answer.message_response.unwrap()
    }};
}

#[tokio::test]
async fn health_knows_the_gateway_and_each_service() {
    let gateway = Gateway::start().await;
    for service in ["", SMS, SETTINGS] {
        assert_eq!(
            health(&gateway, service).await,
            Ok(ServingStatus::Serving),
            "{service}"
        );
    }
    for service in ["contactcenter.v1", "SmsSessionData", "nobody"] {
        assert_eq!(
            health(&gateway, service).await,
            Err(Code::NotFound),
            "{service}"
        );
    }
}

#[tokio::test]
async fn health_is_not_the_vendors() {
    let gateway = Gateway::start().await;
    gateway.sandbox.stop().await;
    Call::GetSession.send(&gateway).await.unwrap_err();
    assert_eq!(health(&gateway, SMS).await, Ok(ServingStatus::Serving));
}

#[tokio::test]
async fn reflection_lists_exactly_what_is_mounted() {
    let both = Gateway::start().await;
    assert_eq!(
        listed(&both).await,
        BTreeSet::from([SMS, SETTINGS, HEALTH].map(str::to_owned))
    );
    let one = Gateway::start_with(|config| config.aicc = None).await;
    assert_eq!(
        listed(&one).await,
        BTreeSet::from([SMS, HEALTH].map(str::to_owned))
    );
    let other = Gateway::start_with(|config| config.genesys = None).await;
    assert_eq!(
        listed(&other).await,
        BTreeSet::from([SETTINGS, HEALTH].map(str::to_owned))
    );
}

#[tokio::test]
async fn descriptors_carry_comments_and_idempotency() {
    let gateway = Gateway::start().await;
    for service in [SMS, SETTINGS] {
        let file = described(&gateway, service).await;
        let locations = &file.source_code_info.as_ref().expect("comments").location;
        let described = &file.service[0];
        for (index, method) in described.method.iter().enumerate() {
            // Services are field 6 of a file, and methods field 2 of a service.
            let path = [6, 0, 2, i32::try_from(index).unwrap()];
            let place = locations
                .iter()
                .find(|location| location.path == path)
                .unwrap();
            assert!(
                !place.leading_comments().trim().is_empty(),
                "{}",
                method.name()
            );
        }
    }
    let sms = described(&gateway, SMS).await.service[0].method.clone();
    let settings = described(&gateway, SETTINGS).await.service[0]
        .method
        .clone();
    let levels: Vec<_> = sms.iter().chain(&settings).map(level).collect();
    for (call, name) in [
        (Call::Attach, "AttachUserData"),
        (Call::Update, "UpdateUserData"),
        (Call::Delete, "DeleteUserData"),
        (Call::GetSession, "GetSession"),
        (Call::ListSessions, "ListSessions"),
        (Call::CreateSettings, "CreateAgentSettings"),
        (Call::UpdateSettings, "UpdateAgentSettings"),
        (Call::QuerySettings, "GetAgentSettings"),
        (Call::DeleteSettings, "DeleteAgentSettings"),
    ] {
        let expected = match call {
            call if call.once() => IdempotencyLevel::IdempotencyUnknown,
            call if call.reads() => IdempotencyLevel::NoSideEffects,
            _ => IdempotencyLevel::Idempotent,
        };
        assert!(
            levels.contains(&(name.to_owned(), expected)),
            "{name}: {levels:?}"
        );
    }
}

#[tokio::test]
async fn what_an_error_carries_is_described_too() {
    let gateway = Gateway::start().await;
    for symbol in [
        "contactcenter.v1.ErrorReason",
        "google.protobuf.Struct",
        "google.rpc.ErrorInfo",
        "google.rpc.BadRequest",
    ] {
        let file = described(&gateway, symbol).await;
        assert!(symbol.starts_with(file.package()), "{symbol}");
    }
}

#[tokio::test]
async fn a_vendor_that_is_not_configured_is_not_there() {
    for (vendor, service) in [("genesys", SMS), ("aicc", SETTINGS)] {
        let gateway = Gateway::start_with(|config| match vendor {
            "genesys" => config.genesys = None,
            _ => config.aicc = None,
        })
        .await;
        assert_eq!(health(&gateway, service).await, Err(Code::NotFound));
        assert_eq!(health(&gateway, "").await, Ok(ServingStatus::Serving));
        for call in ALL {
            let answer = call.send(&gateway).await;
            if call.vendor() != vendor {
                answer.unwrap();
                continue;
            }
            let error = answer.unwrap_err();
            assert_eq!(error.code(), Code::Unimplemented, "{call:?}");
            assert_eq!(support::reason(&error), "UNKNOWN_METHOD");
            assert_eq!(support::attempts(error.metadata()), 0);
        }
        assert!(gateway.sandbox.journal().for_vendor(vendor).is_empty());
    }
}

#[tokio::test]
async fn a_full_gateway_refuses_calls_and_answers_probes() {
    let (vendor, gate) = Gate::closed().await;
    let gateway = Gateway::start_with(|config| {
        relocate(config, &vendor.url);
        support::patient(config);
        config.server.max_in_flight = 1;
    })
    .await;
    let hanging = Call::ListSessions.send(&gateway);
    let others = async {
        vendor.arrived(2).await;
        for call in ALL {
            let error = call.send(&gateway).await.unwrap_err();
            assert_eq!(error.code(), Code::ResourceExhausted, "{call:?}");
            assert_eq!(support::reason(&error), "OVERLOADED");
            assert_eq!(support::attempts(error.metadata()), 0);
            assert!(!retry_info(&error).expect("a RetryInfo").is_zero());
        }
        assert_eq!(health(&gateway, SMS).await, Ok(ServingStatus::Serving));
        // A probe comes on a connection of its own.
        let own = Endpoint::from_shared(format!("http://{}", gateway.address)).unwrap();
        let mut probe = HealthClient::new(own.connect_lazy());
        let request = HealthCheckRequest::default();
        let answer = probe.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        assert_eq!(listed(&gateway).await.len(), 3);
        for path in ["/livez", "/readyz", "/metrics", "/"] {
            assert_eq!(admin::get(&gateway, path).await.0, 200, "{path}");
        }
        gate.open();
    };
    let (answer, ()) = tokio::join!(hanging, others);
    answer.unwrap();
    // The place is free again.
    Call::ListSessions.send(&gateway).await.unwrap();
    assert_eq!(vendor.calls().len(), 2);
}

#[tokio::test]
async fn a_full_queue_to_one_vendor_leaves_the_other_alone() {
    let (vendor, gate) = Gate::closed().await;
    let gateway = Gateway::start_with(|config| {
        config.genesys = Some(support::genesys_config(&vendor.url));
        support::patient(config);
        let limit = &mut config.genesys.as_mut().unwrap().upstream.limit;
        (limit.in_flight, limit.queue) = (1, 0);
    })
    .await;
    let hanging = Call::ListSessions.send(&gateway);
    let others = async {
        vendor.arrived(2).await;
        let mut refused = 0;
        for call in ALL {
            let answer = call.send(&gateway).await;
            if call.vendor() == "aicc" {
                answer.unwrap();
                continue;
            }
            let error = answer.unwrap_err();
            let full = Verdict::new(Code::ResourceExhausted, "OVERLOADED");
            full.attempts(0).check(call, &error);
            assert!(!retry_info(&error).expect("a RetryInfo").is_zero());
            refused += 1;
        }
        for (vendor, refused) in [("genesys", refused), ("aicc", 0)] {
            let refusals = "switchboard_queue_refusals_total";
            let counted = total(&gateway.metrics, refusals, &[("vendor", vendor)]);
            assert_eq!(counted, refused, "{vendor}");
        }
        gate.open();
    };
    let (answer, ()) = tokio::join!(hanging, others);
    answer.unwrap();
    Call::ListSessions.send(&gateway).await.unwrap();
    assert_eq!(vendor.calls().len(), 2);
}

/// Behind it a vendor that answers no call until it is opened; logins pass.
struct Gate(watch::Sender<bool>);

impl Gate {
    async fn closed() -> (Vendor, Gate) {
        let (open, gate) = watch::channel(false);
        let vendor = Vendor::start(move |_| {
            let mut gate = gate.clone();
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                json(r#"{"statusCode":0,"returnCode":"0","smssessions":[]}"#)
            }
        })
        .await;
        (vendor, Gate(open))
    }

    fn open(&self) {
        self.0.send_replace(true);
    }
}

async fn health(gateway: &Gateway, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest {
        service: service.into(),
    };
    let answer = HealthClient::new(gateway.channel.clone())
        .check(request)
        .await;
    answer
        .map(|answer| answer.into_inner().status())
        .map_err(|error| error.code())
}

/// The services in both versions of the protocol, but for reflection itself.
async fn listed(gateway: &Gateway) -> BTreeSet<String> {
    let of_v1 = {
        use v1::server_reflection_request::MessageRequest;
        use v1::server_reflection_response::MessageResponse;
        match ask!(v1, gateway, MessageRequest::ListServices(String::new())) {
            MessageResponse::ListServicesResponse(list) => names(list.service, |it| it.name),
            other => panic!("{other:?}"),
        }
    };
    let of_v1alpha = {
        use v1alpha::server_reflection_request::MessageRequest;
        use v1alpha::server_reflection_response::MessageResponse;
        match ask!(
            v1alpha,
            gateway,
            MessageRequest::ListServices(String::new())
        ) {
            MessageResponse::ListServicesResponse(list) => names(list.service, |it| it.name),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(of_v1, of_v1alpha);
    of_v1
}

fn names<T>(services: Vec<T>, name: impl Fn(T) -> String) -> BTreeSet<String> {
    let names = services.into_iter().map(name);
    names
        .filter(|name| !name.starts_with("grpc.reflection."))
        .collect()
}

/// The file that defines a symbol; the same in both versions of the protocol.
async fn described(gateway: &Gateway, symbol: &str) -> FileDescriptorProto {
    let of_v1 = {
        use v1::server_reflection_request::MessageRequest;
        use v1::server_reflection_response::MessageResponse;
        match ask!(
            v1,
            gateway,
            MessageRequest::FileContainingSymbol(symbol.into())
        ) {
            MessageResponse::FileDescriptorResponse(file) => file.file_descriptor_proto,
            other => panic!("{symbol}: {other:?}"),
        }
    };
    let of_v1alpha = {
        use v1alpha::server_reflection_request::MessageRequest;
        use v1alpha::server_reflection_response::MessageResponse;
        match ask!(
            v1alpha,
            gateway,
            MessageRequest::FileContainingSymbol(symbol.into())
        ) {
            MessageResponse::FileDescriptorResponse(file) => file.file_descriptor_proto,
            other => panic!("{symbol}: {other:?}"),
        }
    };
    assert_eq!(of_v1, of_v1alpha);
    FileDescriptorProto::decode(of_v1[0].as_slice()).unwrap()
}

fn level(method: &MethodDescriptorProto) -> (String, IdempotencyLevel) {
    let options = method.options.clone().unwrap_or_default();
    (method.name().to_owned(), options.idempotency_level())
}

#[test]
fn every_method_is_among_the_calls_of_these_tests() {
    let files = prost_types::FileDescriptorSet::decode(pb::DESCRIPTORS)
        .unwrap()
        .file;
    let ours = files
        .iter()
        .filter(|file| file.package() == "contactcenter.v1");
    let methods = ours
        .flat_map(|file| &file.service)
        .flat_map(|service| &service.method);
    let (streams, calls): (Vec<_>, Vec<_>) = methods.partition(|method| method.server_streaming());
    assert_eq!(calls.len(), ALL.len());
    // Streams have files of their own.
    let streams: Vec<_> = streams.iter().map(|method| method.name()).collect();
    assert_eq!(streams, ["WatchSessions"]);
}
