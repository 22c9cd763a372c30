//! The floors: what is left of the gateway when everything that makes it one is left out.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use prost_types::value::Kind as ValueKind;
use reqwest::Certificate;
use serde_json::{Map, Value, json};
use switchboard::pb::sms_session_data_server::{SmsSessionData, SmsSessionDataServer};
use switchboard::pb::{
    AttachUserDataRequest, AttachUserDataResponse, DeleteUserDataRequest, DeleteUserDataResponse,
    GetSessionRequest, GetSessionResponse, ListSessionsRequest, ListSessionsResponse, Outcome,
    UpdateUserDataRequest, UpdateUserDataResponse, WatchSessionsRequest, WatchSessionsResponse,
};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::server::Kind;
use super::vendor::AUTHORIZATION;

#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
enum Http {
    Hyper(Box<Client<HttpConnector, Full<Bytes>>>),
    Reqwest(reqwest::Client),
}

struct Floor {
    http: Http,
    vendor: String,
}

/// `NAME LISTEN VENDOR [CA]`, until it is killed.
#[tokio::main]
pub(crate) async fn run(arguments: &[String]) {
    let [name, listen, vendor, ca_file @ ..] = arguments else {
        panic!("NAME LISTEN VENDOR [CA]")
    };
    let http = if *name == Kind::Hyper.name() {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Http::Hyper(Box::new(
            Client::builder(TokioExecutor::new()).build(connector),
        ))
    } else {
        let mut builder = reqwest::Client::builder().no_proxy();
        for file in ca_file {
            let ca = Certificate::from_pem(&std::fs::read(file).unwrap()).unwrap();
            builder = builder.tls_certs_only([ca]);
        }
        Http::Reqwest(builder.build().unwrap())
    };
    let floor = Floor {
        http,
        vendor: vendor.clone(),
    };
    let address: SocketAddr = listen.parse().unwrap();
    let incoming = TcpIncoming::bind(address).unwrap().with_nodelay(Some(true));
    let service = SmsSessionDataServer::new(floor);
    let serving = Server::builder().add_service(service);
    let stopped = async {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate()).unwrap().recv().await;
    };
    serving
        .serve_with_incoming_shutdown(incoming, stopped)
        .await
        .unwrap();
}

impl Floor {
    /// The documented request, and whether the vendor's answer is its yes.
    async fn post(&self, session: &str, body: Vec<u8>) -> Result<(), Status> {
        let url = format!("{}/api/v2/me/smssessions/{session}", self.vendor);
        let failed = |error: &dyn std::error::Error| Status::unavailable(error.to_string());
        let answer = match &self.http {
            Http::Hyper(client) => {
                let request = http::Request::post(url)
                    .header("content-type", "application/json")
                    .header("authorization", AUTHORIZATION);
                let request = request.body(Full::new(body.into())).unwrap();
                let answer = client.request(request).await.map_err(|it| failed(&it))?;
                let body = answer.into_body().collect().await;
                body.map_err(|it| failed(&it))?.to_bytes()
            }
            Http::Reqwest(client) => {
                let request = client
                    .post(url)
                    .header("content-type", "application/json")
                    .header("authorization", AUTHORIZATION);
                let answer = request.body(body).send().await.map_err(|it| failed(&it))?;
                answer.bytes().await.map_err(|it| failed(&it))?
            }
        };
        let answer: Value = serde_json::from_slice(&answer).map_err(|it| failed(&it))?;
        match answer["statusCode"].as_i64() {
            Some(0) => Ok(()),
            _ => Err(Status::internal("refused")),
        }
    }
}

#[tonic::async_trait]
impl SmsSessionData for Floor {
    async fn update_user_data(
        &self,
        request: Request<UpdateUserDataRequest>,
    ) -> Result<Response<UpdateUserDataResponse>, Status> {
        let request = request.into_inner();
        let pairs = request.user_data.unwrap_or_default().fields.into_iter();
        let pairs = pairs.map(|(key, value)| {
            let value = match value.kind {
                Some(ValueKind::StringValue(text)) => Value::from(text),
                Some(ValueKind::NumberValue(number)) => Value::from(number as i64),
                _ => Value::Null,
            };
            (key, value)
        });
        let pairs: Map<String, Value> = pairs.collect();
        let body = json!({"operationName": "UpdateUserData", "userData": pairs});
        let body = serde_json::to_vec(&body).unwrap();
        self.post(&request.session_id, body).await?;
        Ok(Response::new(UpdateUserDataResponse {
            outcome: Outcome::Accepted.into(),
            ..Default::default()
        }))
    }

    async fn attach_user_data(
        &self,
        _: Request<AttachUserDataRequest>,
    ) -> Result<Response<AttachUserDataResponse>, Status> {
        Err(other())
    }

    async fn delete_user_data(
        &self,
        _: Request<DeleteUserDataRequest>,
    ) -> Result<Response<DeleteUserDataResponse>, Status> {
        Err(other())
    }

    async fn get_session(
        &self,
        _: Request<GetSessionRequest>,
    ) -> Result<Response<GetSessionResponse>, Status> {
        Err(other())
    }

    async fn list_sessions(
        &self,
        _: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        Err(other())
    }

    type WatchSessionsStream = futures_util::stream::Empty<Result<WatchSessionsResponse, Status>>;

    async fn watch_sessions(
        &self,
        _: Request<WatchSessionsRequest>,
    ) -> Result<Response<Self::WatchSessionsStream>, Status> {
        Err(other())
    }
}

fn other() -> Status {
    Status::unimplemented("only UpdateUserData is measured")
}
