//! Certificates, authorities, lists and keys change while calls are under way: nobody who is
//! still allowed notices, and what has changed is in force within seconds.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use switchboard::config::{Config, Jwks, Jwt, Tls};
use switchboard::grpc::caller::policy::Pattern;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::admin;
use crate::support::authority::{Authority, Issued};
use crate::support::calls::Call;
use crate::support::dir::{Dir, Mounted};
use crate::support::load::Load;
use crate::support::mint::{ISSUER, Signer, claims, jwks};
use crate::support::observed::Observed;
use crate::support::untimed::{self, within};
use crate::support::vendor::{Vendor, json};
use crate::support::watch::{in_time, until};
use crate::support::wire::Channel;
use crate::support::{Gateway, get, reason};

/// Metrics without labels have their value behind one blank.
fn count(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.metrics.text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// Trusts servers of both authorities.
fn client(authorities: [&Authority; 2], own: &Issued) -> ClientTlsConfig {
    let pems = authorities.map(|it| Certificate::from_pem(it.pem()));
    ClientTlsConfig::new()
        .ca_certificates(pems)
        .identity(Identity::from_pem(&own.cert, &own.key))
}

fn channel(gateway: &Gateway, tls: &ClientTlsConfig) -> Channel {
    let endpoint = Endpoint::from_shared(format!("https://{}", gateway.address)).unwrap();
    endpoint
        .tls_config(tls.clone())
        .unwrap()
        .connect_lazy()
        .into()
}

async fn is_served(channel: Channel, token: Option<&str>) -> bool {
    Call::GetSession.send_over(channel, "", token).await.is_ok()
}

fn mutual(config: &mut Config, pair: &Mounted, trust: &Dir) {
    config.server.tls = Some(Tls {
        cert_file: pair.path("tls.crt"),
        key_file: pair.path("tls.key"),
        client_ca_file: Some(trust.path("ca.crt")),
        crl_file: Some(trust.path("crl.pem")),
    });
}

fn pair(issued: &Issued) -> [(&str, &str); 2] {
    [("tls.crt", &issued.cert), ("tls.key", &issued.key)]
}

#[tokio::test]
async fn certificates_authorities_and_lists() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = old.server();
    let (mounted, trust) = (Mounted::new(&pair(&server)), Dir::new());
    trust.write("ca.crt", &old.pem());
    trust.write("crl.pem", &old.revoking(&[]));
    let gateway = Arc::new(Gateway::start_with(|config| mutual(config, &mounted, &trust)).await);
    let load = |own: &Issued| {
        let (tls, gateway) = (client([&old, &new], own), Arc::clone(&gateway));
        Load::start(move || channel(&gateway, &tls), None)
    };
    let (before, after, taken_back) = (old.dns("before"), new.dns("after"), old.dns("taken-back"));
    let staying = load(&before);
    staying.goes_on().await;

    // Another certificate for the server, of another authority.
    let fresh = new.server();
    mounted.turn(&pair(&fresh));
    let only_new = new.client(Some(&before));
    in_time("the server's new certificate", async {
        while !is_served(channel(&gateway, &only_new), None).await {}
    })
    .await;
    staying.goes_on().await;

    // A second authority for callers.
    let tls = client([&old, &new], &after);
    assert!(!is_served(channel(&gateway, &tls), None).await);
    trust.replace("crl.pem", &(old.revoking(&[]) + &new.revoking(&[])));
    trust.replace("ca.crt", &(old.pem() + &new.pem()));
    in_time("the second authority", async {
        while !is_served(channel(&gateway, &tls), None).await {}
    })
    .await;
    let coming = load(&after);
    coming.goes_on().await;
    staying.goes_on().await;

    // One is taken back, on its open connection too.
    let revoked = channel(&gateway, &client([&old, &new], &taken_back));
    assert!(is_served(revoked.clone(), None).await);
    trust.replace(
        "crl.pem",
        &(old.revoking(&[&taken_back]) + &new.revoking(&[])),
    );
    in_time("the end of the one that was taken back", async {
        while is_served(revoked.clone(), None).await {}
    })
    .await;
    coming.goes_on().await;
    staying.goes_on().await;

    // The first authority goes, and its callers with it.
    let leaving = channel(&gateway, &client([&old, &new], &before));
    assert!(is_served(leaving.clone(), None).await);
    staying.end().await;
    trust.replace("ca.crt", &new.pem());
    in_time("the end of the first authority", async {
        while is_served(leaving.clone(), None).await {}
    })
    .await;
    assert!(!is_served(channel(&gateway, &client([&old, &new], &before)), None).await);
    coming.goes_on().await;

    // What is broken changes nothing, and is counted until it is mended.
    let failures = || count(&gateway, "switchboard_tls_reload_failures_total");
    for broken in ["ca.crt", "crl.pem"] {
        let (whole, counted) = (fs::read_to_string(trust.path(broken)).unwrap(), failures());
        trust.replace(broken, "-----BEGIN CERTIFICATE-----");
        until("two failures", || failures() > counted + 1).await;
        assert!(is_served(channel(&gateway, &tls), None).await, "{broken}");
        trust.replace(broken, &whole);
    }
    mounted.turn(&[("tls.crt", &server.cert), ("tls.key", &fresh.key)]);
    let counted = failures();
    until("a pair that does not fit", || failures() > counted).await;
    coming.goes_on().await;
    coming.end().await;
}

fn tokens(config: &mut Config, jwks: Jwks) {
    config.server.jwt = Some(Jwt {
        issuer: ISSUER.to_owned(),
        audiences: vec!["switchboard".to_owned()],
        jwks,
    });
}

#[tokio::test]
async fn keys_in_a_file() {
    let (dir, one, two) = (Dir::new(), Signer::rs256(), Signer::es256());
    dir.write("jwks.json", &jwks(&[one.jwk("k1")]));
    let file = Jwks::File(dir.path("jwks.json"));
    let gateway = Gateway::start_with(|config| tokens(config, file)).await;
    let (first, second) = (one.token("k1", &claims("a")), two.token("k2", &claims("b")));
    let lasting = gateway.channel.clone();
    let over = move || lasting.clone();
    let leaving = Load::start(over.clone(), Some(first.clone()));
    leaving.goes_on().await;
    assert!(!is_served(over(), Some(&second)).await);

    dir.replace("jwks.json", &jwks(&[one.jwk("k1"), two.jwk("k2")]));
    in_time("the second key", async {
        while !is_served(over(), Some(&second)).await {}
    })
    .await;
    let coming = Load::start(over.clone(), Some(second));
    coming.goes_on().await;
    leaving.goes_on().await;
    leaving.end().await;

    // Its tokens were found good before, and are so no more.
    dir.replace("jwks.json", &jwks(&[two.jwk("k2")]));
    in_time("the end of the first key", async {
        while is_served(over(), Some(&first)).await {}
    })
    .await;
    let counted = count(&gateway, "switchboard_jwks_reload_failures_total");
    dir.replace("jwks.json", "{");
    until("a set that is broken", || {
        count(&gateway, "switchboard_jwks_reload_failures_total") > counted
    })
    .await;
    coming.goes_on().await;
    coming.end().await;
}

/// What an issuer publishes at the moment, and how it is asked.
async fn issuer(published: Arc<std::sync::Mutex<Option<String>>>) -> Vendor {
    Vendor::start_with(move |_| {
        let published = published.lock().unwrap().clone();
        Box::pin(async move {
            match published {
                Some(keys) => json(keys),
                None => crate::support::vendor::answer(503, "text/plain", "later"),
            }
        })
    })
    .await
}

#[tokio::test]
async fn keys_at_a_url() {
    let (one, two) = (Signer::rs256(), Signer::eddsa());
    let published = Arc::new(std::sync::Mutex::new(None));
    let publish = |keys: Option<String>| *published.lock().unwrap() = keys;
    let issuer = issuer(Arc::clone(&published)).await;
    let url = Jwks::Url(format!("{}/keys", issuer.url).parse().unwrap());
    let gateway = Gateway::start_with(|config| tokens(config, url)).await;
    let over = || gateway.channel.clone();
    let (first, second) = (one.token("k1", &claims("a")), two.token("k2", &claims("b")));

    // The gateway starts without its issuer, tells callers so, and is not ready.
    issuer.arrived(1).await;
    let error = Call::GetSession
        .send_over(over(), "", Some(&first))
        .await
        .unwrap_err();
    assert_eq!(reason(&error), "CALLER_UNAUTHENTICATED");
    assert!(error.message().contains("have not been had"), "{error:?}");
    let ready = async || admin::get(&gateway, "/readyz").await.0;
    assert_eq!(ready().await, 503);
    let mut health = HealthClient::new(over());
    let mut watched = Vec::new();
    for service in ["", "contactcenter.v1.SmsSessionData"] {
        let service = service.to_owned();
        let watch = health.watch(HealthCheckRequest { service }).await.unwrap();
        watched.push(watch.into_inner());
    }
    for told in &mut watched {
        let told = told.message().await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::NotServing);
    }
    publish(Some(jwks(&[one.jwk("k1")])));
    in_time("the issuer's keys", async {
        while !is_served(over(), Some(&first)).await {}
    })
    .await;
    for told in &mut watched {
        let told = in_time("health", told.message()).await.unwrap().unwrap();
        assert_eq!(told.status(), ServingStatus::Serving);
    }
    assert_eq!(ready().await, 200);

    // A crowd with made-up keys does not become a crowd at the issuer.
    let asked = issuer.seen().len();
    let made_up: Vec<_> = (0..50)
        .map(|n| one.token(&format!("x{n}"), &claims("a")))
        .collect();
    let crowd = made_up.iter().map(|token| is_served(over(), Some(token)));
    assert!(join_all(crowd).await.iter().all(|served| !served));
    assert!(
        issuer.seen().len() <= asked + 1,
        "{asked} and {}",
        issuer.seen().len()
    );

    // Keys that cannot be had leave those from before in use.
    publish(None);
    let counted = count(&gateway, "switchboard_jwks_reload_failures_total");
    in_time("a fetch that fails", async {
        while count(&gateway, "switchboard_jwks_reload_failures_total") == counted {
            assert!(!is_served(over(), Some(&second)).await);
        }
    })
    .await;
    assert!(is_served(over(), Some(&first)).await);
    assert_eq!(ready().await, 200);

    // The key of a token that comes is asked for, and one that is gone is forgotten.
    publish(Some(jwks(&[two.jwk("k2")])));
    in_time("the second key", async {
        while !is_served(over(), Some(&second)).await {}
    })
    .await;
    assert!(!is_served(over(), Some(&first)).await);
    assert!(issuer.seen().iter().all(|seen| seen.target == "/keys"));
}

/// No rollout may wait for an issuer that its callers do not need.
#[tokio::test]
async fn whoever_is_let_in_without_a_token_does_not_wait_for_the_keys_of_tokens() {
    let issuer = issuer(Arc::default()).await;
    let url = || Jwks::Url(format!("{}/keys", issuer.url).parse().unwrap());
    let ours = Authority::new("ours");
    let (mounted, trust) = (Mounted::new(&pair(&ours.server())), Dir::new());
    trust.write("ca.crt", &ours.pem());
    trust.write("crl.pem", &ours.revoking(&[]));
    let gateway = Gateway::start_with(|config| {
        mutual(config, &mounted, &trust);
        tokens(config, url());
    })
    .await;
    let tls = ours.client(Some(&ours.dns("caller")));
    assert!(is_served(channel(&gateway, &tls), None).await);
    assert_eq!(admin::get(&gateway, "/readyz").await.0, 200);

    let gateway = Gateway::start_with(|config| {
        tokens(config, url());
        let open = Pattern::new("contactcenter.v1.SmsSessionData/GetSession");
        config.server.open_methods.push(open);
    })
    .await;
    assert!(is_served(gateway.channel.clone(), None).await);
    assert_eq!(admin::get(&gateway, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_gateway_that_never_had_keys_says_so() {
    let issuer = issuer(Arc::default()).await;
    let url = format!("{}/keys", issuer.url);
    let process = Observed::start(&[
        ("SWITCHBOARD__SERVER__JWT__ISSUER", ISSUER),
        ("SWITCHBOARD__SERVER__JWT__AUDIENCES", "switchboard"),
        ("SWITCHBOARD__SERVER__JWT__JWKS_URL", &url),
    ])
    .await;
    let says = "no keys yet: every token is refused";
    until("the complaint", || process.log().contains(says)).await;
    assert!(!process.log().contains("stay in use"));
}

#[tokio::test]
async fn an_issuer_that_hangs_takes_no_call_beyond_its_deadline() {
    let one = Signer::rs256();
    let issuer = Vendor::start_with(|_| Box::pin(std::future::pending())).await;
    let url = Jwks::Url(format!("{}/keys", issuer.url).parse().unwrap());
    let gateway = Gateway::start_with(|config| tokens(config, url)).await;
    let mut call = within(Duration::from_millis(300), get());
    let token = format!("Bearer {}", one.token("k1", &claims("a")));
    call.metadata_mut()
        .insert("authorization", token.parse().unwrap());
    let status = untimed::sms(gateway.address)
        .await
        .get_session(call)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::DeadlineExceeded, "DEADLINE")
    );
}

/// The first message of a handshake, and nothing after.
fn hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(RootCertStore::empty())
    .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn handshakes_that_hang_or_are_none_block_nobody() {
    let ours = Authority::new("ours");
    let (mounted, trust) = (Mounted::new(&pair(&ours.server())), Dir::new());
    trust.write("ca.crt", &ours.pem());
    trust.write("crl.pem", &ours.revoking(&[]));
    let gateway = Gateway::start_with(|config| mutual(config, &mounted, &trust)).await;
    let tls = ours.client(Some(&ours.dns("caller")));
    let hello = hello();
    let mut held = Vec::new();
    for said in [
        &b""[..],
        b"\x16",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &hello,
    ] {
        for _ in 0..300 {
            let mut stream = TcpStream::connect(gateway.address).await.unwrap();
            stream.write_all(said).await.unwrap();
            held.push(stream);
        }
        let served = is_served(channel(&gateway, &tls), None);
        assert!(in_time("a caller in their midst", served).await);
    }
    // None of them stays for ever.
    for mut stream in held {
        let mut rest = Vec::new();
        let _ = in_time("its end", stream.read_to_end(&mut rest)).await;
    }
    assert!(is_served(channel(&gateway, &tls), None).await);
}

/// Be they as many as they like: it would wait until they are given up.
#[tokio::test]
async fn a_caller_does_not_wait_for_handshakes_that_hang() {
    const HANGING: u64 = 600;
    let ours = Authority::new("ours");
    let (mounted, trust) = (Mounted::new(&pair(&ours.server())), Dir::new());
    trust.write("ca.crt", &ours.pem());
    trust.write("crl.pem", &ours.revoking(&[]));
    let gateway = Gateway::start_with(|config| mutual(config, &mounted, &trust)).await;
    let hello = hello();
    let begun = (0..HANGING).map(|_| async {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        // It has been answered, and says nothing more.
        stream.read_u8().await.unwrap();
        stream
    });
    let held = in_time("the gateway's part of all", join_all(begun)).await;
    let tls = ours.client(Some(&ours.dns("caller")));
    assert!(is_served(channel(&gateway, &tls), None).await);
    let open = count(&gateway, "switchboard_connections");
    assert!(open >= HANGING, "it waited until {open} were left");
    drop(held);
}
