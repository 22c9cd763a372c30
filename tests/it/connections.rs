//! Connections have bounds and ends: an old one is replaced without a failed call, one too many
//! is refused while the others go on, and one that says nothing is not waited for.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use switchboard::sandbox::faults::{Fault, Rule};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::unsent::transparently;
use crate::support::watch::{in_time, until};
use crate::support::wire::Channel;
use crate::support::{Gateway, get};
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;

/// The value of a series without labels.
fn value(gateway: &Gateway, series: &str) -> u64 {
    let text = gateway.metrics.text();
    let prefix = format!("{series} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no {series}"))
        .parse()
        .unwrap()
}

fn open(gateway: &Gateway) -> u64 {
    value(gateway, "switchboard_connections")
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
        .into()
}

async fn aging(age: Duration) -> Gateway {
    Gateway::start_with(|config| config.server.max_connection_age = age).await
}

#[tokio::test]
async fn an_old_connection_is_replaced_and_no_call_fails() {
    let gateway = aging(Duration::from_millis(200)).await;
    let slow = Rule::new(Fault::Latency { ms: 100 }).operation("GetSession");
    gateway.sandbox.faults().push(slow).unwrap();
    let sms = gateway.sms();
    let callers = (0..8).map(|_| {
        let sms = sms.clone();
        async move {
            // Several ages in all, with calls in flight at each end.
            for _ in 0..12 {
                let call = || {
                    let mut sms = sms.clone();
                    async move { sms.get_session(get()).await }
                };
                let answer = transparently(call).await;
                answer.expect("the end of a connection fails no call");
            }
        }
    });
    in_time("the calls", join_all(callers)).await;
    // None was cut and done again either.
    let asked = gateway.sandbox.journal().count("genesys", "GetSession");
    assert_eq!(asked, 8 * 12);
    until("the last one ends, too", || open(&gateway) == 0).await;
}

#[tokio::test]
async fn a_call_may_be_longer_than_its_connections_age() {
    let gateway = aging(Duration::from_millis(100)).await;
    let slow = Rule::new(Fault::Latency { ms: 1000 }).operation("GetSession");
    gateway.sandbox.faults().push(slow).unwrap();
    let mut sms = SmsSessionDataClient::new(channel(gateway.address));
    sms.get_session(get()).await.unwrap();
}

#[tokio::test]
async fn an_open_stream_does_not_keep_an_old_connection() {
    let gateway = aging(Duration::from_millis(200)).await;
    let mut client = HealthClient::new(gateway.channel.clone());
    let answer = client.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = answer.into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let end = in_time("the watch's end", watch.message()).await;
    let status = end.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    assert_eq!(pushback, "1");
    // Opened again, on another connection, it is served.
    let answer = client.watch(HealthCheckRequest::default()).await.unwrap();
    let again = answer.into_inner().message().await.unwrap().unwrap();
    assert_eq!(again.status(), ServingStatus::Serving);
}

/// So many at one time, all of them answered.
async fn calls(channel: &Channel, number: usize) {
    let calls = (0..number).map(|_| {
        let mut sms = SmsSessionDataClient::new(channel.clone());
        async move { sms.get_session(get()).await }
    });
    for answer in in_time("the calls", join_all(calls)).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_had_many_calls_ends_when_it_has_none() {
    let gateway = Gateway::start().await;
    let slow = Rule::new(Fault::Latency { ms: 200 }).operation("GetSession");
    gateway.sandbox.faults().push(slow).unwrap();
    let [few, many, watching] = [(); 3].map(|()| channel(gateway.address));
    let mut client = HealthClient::new(watching.clone());
    let answer = client.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watch = answer.into_inner();
    watch.message().await.unwrap().unwrap();
    calls(&few, 16).await;
    calls(&many, 64).await;
    calls(&watching, 64).await;
    assert_eq!(open(&gateway), 3);

    let ended = until("the connection's end", || open(&gateway) == 2);
    tokio::select! {
        biased;
        end = watch.message() => panic!("a stream keeps its connection: {end:?}"),
        () = ended => {}
    }
    // Its caller opens another one.
    calls(&many, 1).await;
    assert_eq!(open(&gateway), 3);
}

/// A socket that the other side closes, sooner or later.
async fn closed(mut socket: TcpStream) {
    let mut rest = Vec::new();
    // By a reset or in peace: it is closed either way.
    let _ = in_time("the close", socket.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_the_others_go_on() {
    let gateway = Gateway::start_with(|config| config.server.max_connections = 3).await;
    let mut sms = gateway.sms();
    sms.get_session(get()).await.unwrap();
    let second = TcpStream::connect(gateway.address).await.unwrap();
    let third = TcpStream::connect(gateway.address).await.unwrap();
    until("all places are taken", || open(&gateway) == 3).await;

    closed(TcpStream::connect(gateway.address).await.unwrap()).await;
    let mut late = SmsSessionDataClient::new(channel(gateway.address));
    late.get_session(get()).await.unwrap_err();
    assert!(value(&gateway, "switchboard_connections_refused_total") >= 2);
    sms.get_session(get()).await.unwrap();

    drop((second, third));
    until("places are free again", || open(&gateway) == 1).await;
    late.get_session(get()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_keep_a_drain() {
    let mut gateway = Gateway::start().await;
    gateway.sms().get_session(get()).await.unwrap();
    let silent = TcpStream::connect(gateway.address).await.unwrap();
    until("it is accepted", || open(&gateway) == 2).await;
    gateway.terminate();
    in_time("the drain", gateway.ended()).await.unwrap();
    closed(silent).await;
}
