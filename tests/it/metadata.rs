//! Every response, errors too, tells its `x-request-id` and how many requests it cost at the
//! vendor in `x-switchboard-attempts`.

use std::collections::BTreeSet;

use switchboard::pb::GetSessionRequest;
use switchboard::sandbox::faults::{Fault, Rule};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::calls::ALL;
use crate::support::{self, Gateway, SESSION, impatient};

const ID: &str = "x-request-id";

#[tokio::test]
async fn the_callers_id_is_kept() {
    let gateway = Gateway::start().await;
    let longest = "~".repeat(128);
    for id in ["4711", "order 4711", "~!\"%", &longest] {
        for session in [SESSION, "absent", ""] {
            let told = read(&gateway, session, Some(id.as_bytes())).await;
            assert_eq!(told.get(ID).unwrap(), id, "{session:?}");
        }
    }
}

#[tokio::test]
async fn an_unfit_id_is_replaced_and_a_missing_one_made() {
    let gateway = Gateway::start().await;
    let too_long = "x".repeat(129);
    let unfit = [
        None,
        Some(&b""[..]),
        Some(too_long.as_bytes()),
        Some(b"a\tb"),
        Some(b"k\xe4se"),
    ];
    let mut ids = BTreeSet::new();
    for id in unfit {
        for session in [SESSION, "absent", ""] {
            let told = read(&gateway, session, id).await;
            let made = told.get(ID).unwrap().as_bytes().to_vec();
            assert!(made.iter().all(u8::is_ascii_graphic), "{made:?}");
            assert_ne!(Some(made.as_slice()), id);
            assert!(ids.insert(made), "an id was made twice");
        }
    }
    assert_eq!(ids.len(), 15);
}

#[tokio::test]
async fn health_and_unknown_methods_have_them_too() {
    let gateway = Gateway::start().await;
    let mut health = HealthClient::new(gateway.channel.clone());
    for (service, code) in [("", Code::Ok), ("nobody", Code::NotFound)] {
        let mut request = Request::new(HealthCheckRequest {
            service: service.into(),
        });
        request.metadata_mut().insert(ID, "probe".parse().unwrap());
        let answer = health.check(request).await;
        let seen = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        assert_eq!(seen, code);
        let told = metadata(answer);
        assert_eq!(told.get(ID).unwrap(), "probe");
        assert_eq!(support::attempts(&told), 0);
    }
    let mut client = tonic::client::Grpc::new(gateway.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = http::uri::PathAndQuery::from_static("/no.such.Service/Method");
    let error = client
        .unary(Request::new(()), path, codec)
        .await
        .unwrap_err();
    assert!(error.metadata().get(ID).is_some());
    assert_eq!(support::attempts(error.metadata()), 0);
}

#[tokio::test]
async fn attempts_are_counted_and_logins_are_not() {
    let gateway = Gateway::start_with(impatient).await;
    for call in ALL {
        // The first one of each vendor logs in.
        let told = call.send(&gateway).await.unwrap();
        assert_eq!(support::attempts(&told), 1, "{call:?}");
    }
    let journal = gateway.sandbox.journal();
    assert_eq!(
        (
            journal.count("genesys", "Login"),
            journal.count("aicc", "Token")
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn attempts_are_counted_over_repeats() {
    for call in ALL.into_iter().filter(|call| !call.once()) {
        for (failing, expected) in [(1, 2), (2, 3), (5, 3)] {
            let gateway = Gateway::start_with(impatient).await;
            let fault = Rule::new(Fault::status(502)).times(failing);
            gateway.sandbox.faults().push(fault).unwrap();
            let answer = call.send(&gateway).await;
            assert_eq!(answer.is_ok(), failing < 3, "{call:?}: {answer:?}");
            let told = answer.unwrap_or_else(|error| error.metadata().clone());
            assert_eq!(support::attempts(&told), expected, "{call:?}");
            let sent = gateway
                .sandbox
                .journal()
                .count(call.vendor(), call.operation());
            assert_eq!(sent, u64::from(expected), "{call:?}");
        }
    }
}

async fn read(gateway: &Gateway, session: &str, id: Option<&[u8]>) -> MetadataMap {
    let mut request = Request::new(GetSessionRequest {
        session_id: session.into(),
        ..Default::default()
    });
    if let Some(id) = id {
        let id = AsciiMetadataValue::try_from(id).unwrap();
        request.metadata_mut().insert(ID, id);
    }
    metadata(gateway.sms().get_session(request).await)
}

fn metadata<T>(answer: Result<tonic::Response<T>, Status>) -> MetadataMap {
    answer.map_or_else(
        |error| error.metadata().clone(),
        |answer| answer.metadata().clone(),
    )
}
