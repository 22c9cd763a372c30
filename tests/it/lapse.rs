//! What a stream was opened with ends before the stream does: then the stream ends too, with what
//! a call would be told, and those of others go on.

use std::time::Duration;

use serde_json::json;
use switchboard::config::{Config, Jwks, Jwt, Tls};
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::audit::Audit;
use crate::support::authority::{Authority, Issued};
use crate::support::calls::Call;
use crate::support::dir::Dir;
use crate::support::mint::{ISSUER, Signer, but, claims, from_now, jwks};
use crate::support::watch::in_time;
use crate::support::watcher::{Watcher, request};
use crate::support::wire::Channel;
use crate::support::{Gateway, reason};

/// Long enough to open a stream in, however busy the machine is.
const A_WHILE: Duration = Duration::from_secs(8);

/// Beyond the end of a token it is taken for so many seconds.
const LEEWAY: i64 = 30;

fn with_token<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

/// One that has had its snapshot.
async fn watcher(channel: Channel, token: Option<&str>) -> Watcher {
    let mut sms = SmsSessionDataClient::new(channel);
    let stream = sms
        .watch_sessions(with_token(request("", &[]), token))
        .await;
    let mut watcher = Watcher::of(stream.unwrap().into_inner());
    watcher.snapshot().await;
    watcher
}

/// What a health watch ends with, after its first message.
async fn end_of_health(channel: Channel, token: Option<&str>) -> Status {
    let request = with_token(HealthCheckRequest::default(), token);
    let watch = HealthClient::new(channel).watch(request).await;
    let mut watch = watch.unwrap().into_inner();
    watch.message().await.unwrap().expect("a first message");
    in_time("its end", watch.message()).await.unwrap_err()
}

fn unauthenticated(status: &Status, words: &str) {
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    assert_eq!(reason(status), "CALLER_UNAUTHENTICATED");
    assert_eq!(status.message(), words);
}

/// Notifications still come.
async fn goes_on(channel: Channel, token: Option<&str>, watcher: &mut Watcher) {
    Call::Update.send_over(channel, "", token).await.unwrap();
    watcher.notification().await;
}

#[tokio::test]
async fn with_its_token() {
    let (audit, dir, signer) = (Audit::listen(), Dir::new(), Signer::es256());
    dir.write("jwks.json", &jwks(&[signer.jwk("k1")]));
    let file = Jwks::File(dir.path("jwks.json"));
    let gateway = Gateway::start_with(|config| {
        config.server.open_methods.clear();
        config.server.jwt = Some(Jwt {
            issuer: ISSUER.to_owned(),
            audiences: vec!["switchboard".to_owned()],
            jwks: file,
        });
    })
    .await;
    let channel = || gateway.channel.clone();
    let ends = from_now(A_WHILE.as_secs() as i64 - LEEWAY);
    let short = signer.token("k1", &but("short", "exp", json!(ends)));
    let long = signer.token("k1", &claims("long"));
    let mut ending = watcher(channel(), Some(&short)).await;
    let mut staying = watcher(channel(), Some(&long)).await;
    let (status, health) = tokio::join!(ending.end(), end_of_health(channel(), Some(&short)));
    for end in [&status, &health] {
        unauthenticated(end, "the token has expired");
    }
    assert!(from_now(0) >= ends + LEEWAY, "too early");
    let refused = Call::GetSession
        .send_over(channel(), "", Some(&short))
        .await;
    let refused = refused.unwrap_err();
    unauthenticated(&refused, status.message());
    assert_eq!(refused.details(), status.details());
    let mut refusals = audit.take();
    refusals.retain(|line| line["message"] == "refused" && line.contains_key("caller"));
    let told: Vec<_> = refusals
        .iter()
        .filter(|line| line["caller"] == "jwt:short")
        .map(|line| ["method", "code", "reason", "why"].map(|field| &*line[field]))
        .collect();
    for method in [
        "contactcenter.v1.SmsSessionData/WatchSessions",
        "grpc.health.v1.Health/Watch",
    ] {
        let line = [
            method,
            "UNAUTHENTICATED",
            "CALLER_UNAUTHENTICATED",
            "the token has expired",
        ];
        assert!(told.contains(&line), "{told:?}");
    }
    goes_on(channel(), Some(&long), &mut staying).await;
}

/// A gateway that demands certificates, and what signs them.
struct Site {
    dir: Dir,
    ours: Authority,
}

impl Site {
    fn new() -> Site {
        let (dir, ours) = (Dir::new(), Authority::new("ours"));
        let server = ours.server();
        dir.write("tls.crt", &server.cert);
        dir.write("tls.key", &server.key);
        dir.write("ca.crt", &ours.pem());
        dir.write("crl.pem", &ours.revoking(&[]));
        Site { dir, ours }
    }

    async fn start(&self) -> Gateway {
        let tls = |config: &mut Config| {
            config.server.open_methods.clear();
            config.server.tls = Some(Tls {
                cert_file: self.dir.path("tls.crt"),
                key_file: self.dir.path("tls.key"),
                client_ca_file: Some(self.dir.path("ca.crt")),
                crl_file: Some(self.dir.path("crl.pem")),
            });
        };
        Gateway::start_with(tls).await
    }

    fn channel(&self, gateway: &Gateway, own: &Issued) -> Channel {
        let endpoint = Endpoint::from_shared(format!("https://{}", gateway.address)).unwrap();
        let tls = self.ours.client(Some(own));
        endpoint.tls_config(tls).unwrap().connect_lazy().into()
    }
}

const WITHDRAWN: &str = "the client certificate is no longer accepted";

#[tokio::test]
async fn with_its_certificate() {
    let site = Site::new();
    let gateway = site.start().await;
    let (short, long) = (site.ours.ending("short", A_WHILE), site.ours.dns("long"));
    let (ending, staying) = (
        site.channel(&gateway, &short),
        site.channel(&gateway, &long),
    );
    let mut watcher_that_ends = watcher(ending.clone(), None).await;
    let mut watcher_that_stays = watcher(staying.clone(), None).await;
    let (status, health) =
        tokio::join!(watcher_that_ends.end(), end_of_health(ending.clone(), None));
    for end in [&status, &health] {
        unauthenticated(end, WITHDRAWN);
    }
    // Neither on this connection nor on another.
    for _ in 0..5 {
        Call::GetSession
            .send_over(ending.clone(), "", None)
            .await
            .unwrap_err();
    }
    goes_on(staying, None, &mut watcher_that_stays).await;
}

#[tokio::test]
async fn with_a_certificate_that_is_taken_back() {
    let site = Site::new();
    let gateway = site.start().await;
    let (revoked, good) = (site.ours.dns("revoked"), site.ours.dns("good"));
    let staying = site.channel(&gateway, &good);
    let mut ends = watcher(site.channel(&gateway, &revoked), None).await;
    let mut stays = watcher(staying.clone(), None).await;
    site.dir
        .replace("crl.pem", &site.ours.revoking(&[&revoked]));
    unauthenticated(&ends.end().await, WITHDRAWN);
    goes_on(staying, None, &mut stays).await;
}
