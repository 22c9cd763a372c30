//! A client that sends a deadline and keeps none: tonic's own would answer an expired one with
//! CANCELLED before the gateway's answer is there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use tokio::net::TcpStream;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;

pub type Untimed = BoxCloneSyncService<Request<Body>, Response<Incoming>, hyper::Error>;

/// One connection to the gateway.
pub async fn connect(address: SocketAddr) -> io::Result<Untimed> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(BoxCloneSyncService::new(tower::service_fn(
        move |request| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        },
    )))
}

pub async fn sms(address: SocketAddr) -> SmsSessionDataClient<Untimed> {
    SmsSessionDataClient::with_origin(connect(address).await.unwrap(), origin(address))
}

pub async fn settings(address: SocketAddr) -> AgentSettingsClient<Untimed> {
    AgentSettingsClient::with_origin(connect(address).await.unwrap(), origin(address))
}

/// A request whose caller waits so long: `grpc-timeout` says so, and nothing else does.
pub fn within<T>(timeout: Duration, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(timeout);
    request
}

pub fn origin(address: SocketAddr) -> Uri {
    format!("http://{address}").parse().unwrap()
}
