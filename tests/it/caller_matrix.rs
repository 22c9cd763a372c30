//! Only what the policy allows gets through: every kind of caller, every method, two accounts.
//! Each refusal has its code, its reason and its line in the audit log, and the vendor hears of
//! none.

use std::time::Duration;

use futures_util::future::join_all;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use switchboard::config::{Config, Jwks, Jwt, Tls};
use switchboard::grpc::caller::policy::{Pattern, Policy, Rule};
use switchboard::pb::WatchSessionsRequest;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::audit::{Audit, Line};
use crate::support::authority::{Authority, Issued};
use crate::support::calls::{ALL, Call};
use crate::support::dir::Dir;
use crate::support::frames;
use crate::support::mint::{ISSUER, Signer, but, claims, from_now, hs256, jwks, signed};
use crate::support::vendor::Vendor;
use crate::support::watch::until;
use crate::support::wire::Channel;
use crate::support::{Gateway, attempts, patient, reason, relocate};

const BOT: &str = "spiffe://corp.example/ns/bots/sa/sms";
const READER: &str = "dns:reader.corp.example";
const CRM: &str = "jwt:system:serviceaccount:crm:worker";
const OTHER: &str = "jwt:other";

fn policy() -> Policy {
    let list = |items: &[&str]| items.iter().map(|it| Pattern::new(*it)).collect();
    let rule = |callers: &[&str], methods: &[&str], accounts: &[&str]| Rule {
        callers: list(callers),
        methods: list(methods),
        accounts: list(accounts),
    };
    Policy(vec![
        rule(
            &["spiffe://corp.example/ns/bots/*"],
            &["contactcenter.v1.SmsSessionData/*"],
            &["default"],
        ),
        rule(&[READER], &["*/Get*", "*/List*"], &["*"]),
        rule(&["jwt:system:serviceaccount:crm:*"], &["*"], &["*"]),
        rule(&[OTHER], &["*/AttachUserData"], &["other"]),
        rule(&[OTHER], &["*/GetSession"], &["other", "default"]),
    ])
}

/// What the rules above come to, said in another way.
fn may(caller: &str, call: Call, account: &str) -> bool {
    match caller {
        BOT => call.vendor() == "genesys" && account == "default",
        READER => call.reads(),
        CRM => true,
        OTHER => call == Call::GetSession || call == Call::Attach && account == "other",
        _ => false,
    }
}

/// A gateway with certificates, and with what it takes to be a caller of it.
struct Site {
    dir: Dir,
    ours: Authority,
    signer: Signer,
    audit: Audit,
}

impl Site {
    fn new() -> Site {
        let audit = Audit::listen();
        let (dir, ours, signer) = (Dir::new(), Authority::new("ours"), Signer::rs256());
        let server = ours.server();
        dir.write("tls.crt", &server.cert);
        dir.write("tls.key", &server.key);
        dir.write("ca.crt", &ours.pem());
        dir.write("crl.pem", &ours.revoking(&[]));
        dir.write("jwks.json", &jwks(&[signer.jwk("k1")]));
        Site {
            dir,
            ours,
            signer,
            audit,
        }
    }

    fn tls(&self, config: &mut Config) {
        config.server.tls = Some(Tls {
            cert_file: self.dir.path("tls.crt"),
            key_file: self.dir.path("tls.key"),
            client_ca_file: Some(self.dir.path("ca.crt")),
            crl_file: Some(self.dir.path("crl.pem")),
        });
        config.policy = Some(policy());
    }

    fn jwt(&self, config: &mut Config) {
        config.server.jwt = Some(Jwt {
            issuer: ISSUER.to_owned(),
            audiences: vec!["switchboard".to_owned()],
            jwks: Jwks::File(self.dir.path("jwks.json")),
        });
        config.policy = Some(policy());
    }

    fn over_tls(&self, gateway: &Gateway, own: Option<&Issued>) -> Channel {
        let endpoint = Endpoint::from_shared(format!("https://{}", gateway.address));
        let endpoint = endpoint.unwrap().tls_config(self.ours.client(own));
        endpoint.unwrap().connect_lazy().into()
    }

    fn token(&self, subject: &str) -> String {
        self.signer.token("k1", &claims(subject))
    }

    /// Plays every call for both accounts as a caller who is known.
    async fn play(&self, gateway: &Gateway, caller: &str, channel: &Channel, token: Option<&str>) {
        let journal = gateway.sandbox.journal();
        for call in ALL {
            for account in ["default", "other"] {
                self.audit.take();
                let before = journal.count(call.vendor(), call.operation());
                let answer = call.send_over(channel.clone(), account, token).await;
                let sent = journal.count(call.vendor(), call.operation()) - before;
                let lines = self.audit.take();
                let context = format!("{caller} {call:?} {account}: {answer:?} {lines:?}");
                if may(caller, call, account) {
                    // The records of `other` are not those of `default`: the vendor may say no.
                    let refused = answer.as_ref().err().map(reason);
                    assert_ne!(refused.as_deref(), Some("CALLER_DENIED"), "{context}");
                    assert_eq!(sent, 1, "{context}");
                    let code = if refused.is_none() { "OK" } else { "" };
                    let written = usize::from(!call.reads());
                    assert_eq!(lines.len(), written, "{context}");
                    lines
                        .iter()
                        .for_each(|it| expect(it, caller, call, code, "write"));
                } else {
                    let refusal = answer.expect_err(&context);
                    denied(&refusal);
                    assert_eq!((sent, lines.len()), (0, 1), "{context}");
                    expect(&lines[0], caller, call, "PERMISSION_DENIED", "refused");
                    assert_eq!(lines[0]["reason"], "CALLER_DENIED");
                    assert_eq!(lines[0]["why"], refusal.message());
                }
                for line in lines.iter().filter(|line| line.contains_key("account")) {
                    assert_eq!(line["account"], account);
                    let target = if call.vendor() == "genesys" {
                        "00710"
                    } else {
                        "1660"
                    };
                    let named = call == Call::ListSessions || line["target_id"].starts_with(target);
                    assert!(named, "{line:?}");
                }
            }
        }
    }

    /// Plays every call as somebody who is not known.
    async fn play_nobody(
        &self,
        gateway: &Gateway,
        name: &str,
        channel: &Channel,
        token: Option<&str>,
    ) {
        for call in ALL {
            self.audit.take();
            let answer = call.send_over(channel.clone(), "default", token).await;
            let refusal = answer.expect_err(name);
            unauthenticated(&refusal);
            let lines = self.audit.take();
            assert_eq!(lines.len(), 1, "{name}: {lines:?}");
            expect(&lines[0], "anonymous", call, "UNAUTHENTICATED", "refused");
            assert_eq!(lines[0]["reason"], "CALLER_UNAUTHENTICATED");
            assert_eq!(lines[0]["why"], refusal.message());
        }
        let seen = gateway.sandbox.journal().entries();
        assert!(seen.is_empty(), "{name}: {seen:?}");
    }
}

#[track_caller]
fn expect(line: &Line, caller: &str, call: Call, code: &str, message: &str) {
    assert_eq!(line["caller"], caller, "{line:?}");
    assert_eq!(line["method"], call.method(), "{line:?}");
    assert_eq!(line["message"], message, "{line:?}");
    assert_eq!(line["peer"], "127.0.0.1", "{line:?}");
    assert!(code.is_empty() || line["code"] == code, "{line:?}");
}

#[track_caller]
fn denied(error: &Status) {
    assert_eq!(
        (error.code(), &*reason(error)),
        (Code::PermissionDenied, "CALLER_DENIED")
    );
    assert_eq!(attempts(error.metadata()), 0);
}

#[track_caller]
fn unauthenticated(error: &Status) {
    let seen = (error.code(), reason(error));
    assert_eq!(
        seen,
        (Code::Unauthenticated, "CALLER_UNAUTHENTICATED".to_owned())
    );
}

#[tokio::test]
async fn certificates_alone() {
    let site = Site::new();
    let (bot, reader) = (site.ours.uri(BOT), site.ours.dns("reader.corp.example"));
    let (stranger, revoked) = (
        site.ours.uri("spiffe://corp.example/ns/x"),
        site.ours.uri(BOT),
    );
    site.dir.write("crl.pem", &site.ours.revoking(&[&revoked]));
    let gateway = Gateway::start_with(|config| site.tls(config)).await;
    for (caller, own) in [
        (BOT, &bot),
        (READER, &reader),
        ("spiffe://corp.example/ns/x", &stranger),
    ] {
        let channel = site.over_tls(&gateway, Some(own));
        site.play(&gateway, caller, &channel, None).await;
        // Where tokens are not taken, nobody looks at one.
        let crm = site.token("system:serviceaccount:crm:worker");
        let answer = Call::CreateSettings
            .send_over(channel, "default", Some(&crm))
            .await;
        denied(&answer.unwrap_err());
    }

    gateway.sandbox.journal().clear();
    let theirs = Authority::new("theirs");
    for (name, own, why) in [
        ("none", None, "no certificates"),
        ("wrong CA", Some(theirs.uri(BOT)), "UnknownIssuer"),
        (
            "expired",
            Some(site.ours.expired("reader.corp.example")),
            // To the end of what is said.
            "seconds ago)",
        ),
        ("revoked", Some(revoked), "revoked"),
    ] {
        site.audit.take();
        let channel = site.over_tls(&gateway, own.as_ref());
        for call in ALL {
            let answer = call.send_over(channel.clone(), "default", None).await;
            assert!(answer.is_err(), "{name} {call:?}");
        }
        until(name, || {
            let lines = site.audit.has("message", "handshake refused");
            lines && site.audit.has("peer", "127.0.0.1")
        })
        .await;
        let lines = site.audit.take();
        let all = lines
            .iter()
            .all(|line| line["reason"].to_lowercase().contains(&why.to_lowercase()));
        assert!(all, "{name}: {lines:?}");
    }
    assert!(gateway.sandbox.journal().entries().is_empty());
}

/// A caller's library greets before it hears, and what it says must not take the answer away.
#[tokio::test]
async fn a_caller_whose_certificate_is_refused_is_told_why() {
    let site = Site::new();
    let gateway = Gateway::start_with(|config| site.tls(config)).await;
    let expired = site.ours.expired("reader.corp.example");
    let handshakes = (0..20).map(|_| async {
        let socket = TcpStream::connect(gateway.address).await.unwrap();
        let connector = TlsConnector::from(site.ours.client_config(&expired));
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, socket).await.unwrap();
        for _ in 0..2 {
            // So late that whoever closes at once has closed, and has said so.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(frames::PREFACE).await.unwrap();
            stream.flush().await.unwrap();
        }
        let told = stream.read_u8().await.unwrap_err().to_string();
        assert!(told.contains("CertificateExpired"), "{told}");
    });
    join_all(handshakes).await;
}

/// As after a change of the authority's key when its list was forgotten.
#[tokio::test]
async fn a_list_that_another_key_has_signed() {
    let site = Site::new();
    let before = Authority::new("ours");
    site.dir.write("crl.pem", &before.revoking(&[]));
    let gateway = Gateway::start_with(|config| site.tls(config)).await;
    let channel = site.over_tls(&gateway, Some(&site.ours.uri(BOT)));
    let answer = Call::GetSession.send_over(channel, "default", None).await;
    assert!(answer.is_err());
    until("why it was refused", || {
        let refused = site.audit.has("message", "handshake refused");
        refused && site.audit.has("peer", "127.0.0.1")
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_names_nobody() {
    let site = Site::new();
    let gateway = Gateway::start_with(|config| site.tls(config)).await;
    for own in [
        site.ours.uri("jwt:system:serviceaccount:crm:worker"),
        site.ours.uri("dns:reader.corp.example"),
    ] {
        let channel = site.over_tls(&gateway, Some(&own));
        site.play_nobody(&gateway, "a name of ours", &channel, None)
            .await;
    }
}

/// Tokens of every kind that must not pass.
fn bad_tokens(signer: &Signer) -> Vec<(&'static str, String)> {
    let crm = "system:serviceaccount:crm:worker";
    let claimed = |name: &str, value: Value| signer.token("k1", &but(crm, name, value));
    let header = |alg: &str| json!({"alg": alg, "typ": "JWT", "kid": "k1"});
    let confused =
        |secret: Vec<u8>| signed(&header("HS256"), &claims(crm), |it| hs256(&secret, it));
    vec![
        ("bad signature", Signer::rs256().token("k1", &claims(crm))),
        ("another audience", claimed("aud", json!(["somebody"]))),
        ("no audience", claimed("aud", Value::Null)),
        ("expired", claimed("exp", json!(from_now(-60)))),
        ("without an end", claimed("exp", Value::Null)),
        ("not valid yet", claimed("nbf", json!(from_now(600)))),
        (
            "another issuer",
            claimed("iss", json!("https://elsewhere.example")),
        ),
        (
            "alg none",
            signed(&header("none"), &claims(crm), |_| Vec::new()),
        ),
        ("HS256 by the public key", confused(signer.public_bytes())),
        (
            "HS256 by the published key",
            confused(signer.jwk("k1").to_string().into_bytes()),
        ),
        ("unknown key", signer.token("k2", &claims(crm))),
        ("no subject", claimed("sub", json!(""))),
        ("no token", String::new()),
        ("garbage", "a.b.c".to_owned()),
    ]
}

#[tokio::test]
async fn tokens_alone() {
    let site = Site::new();
    let gateway = Gateway::start_with(|config| site.jwt(config)).await;
    let channel = gateway.channel.clone();
    site.play_nobody(&gateway, "none", &channel, None).await;
    for (name, token) in bad_tokens(&site.signer) {
        site.play_nobody(&gateway, name, &channel, Some(&token))
            .await;
    }
    for (caller, subject) in [
        (CRM, "system:serviceaccount:crm:worker"),
        (OTHER, "other"),
        ("jwt:stranger", "stranger"),
        // The name of a certificate is no name of a token.
        ("jwt:dns:reader.corp.example", "dns:reader.corp.example"),
    ] {
        let token = site.token(subject);
        site.play(&gateway, caller, &channel, Some(&token)).await;
    }
}

#[tokio::test]
async fn either_will_do_and_the_token_goes_first() {
    let site = Site::new();
    let gateway = Gateway::start_with(|config| {
        site.tls(config);
        site.jwt(config);
    })
    .await;
    let nobody = site.over_tls(&gateway, None);
    let bot = site.over_tls(&gateway, Some(&site.ours.uri(BOT)));
    site.play_nobody(&gateway, "neither", &nobody, None).await;
    for (name, token) in bad_tokens(&site.signer) {
        // A certificate does not make up for it.
        site.play_nobody(&gateway, name, &bot, Some(&token)).await;
    }
    let crm = site.token("system:serviceaccount:crm:worker");
    site.play(&gateway, BOT, &bot, None).await;
    site.play(&gateway, CRM, &nobody, Some(&crm)).await;
    site.play(&gateway, CRM, &bot, Some(&crm)).await;
    site.play(&gateway, OTHER, &bot, Some(&site.token("other")))
        .await;
}

/// Who may not use an account does not learn whether there is one.
#[tokio::test]
async fn accounts_are_not_to_be_guessed() {
    let site = Site::new();
    let gateway = Gateway::start_with(|config| site.jwt(config)).await;
    let (other, crm) = (
        site.token("other"),
        site.token("system:serviceaccount:crm:x"),
    );
    let channel = || gateway.channel.clone();
    let there = Call::Attach
        .send_over(channel(), "default", Some(&other))
        .await
        .unwrap_err();
    let absent = Call::Attach
        .send_over(channel(), "absent", Some(&other))
        .await
        .unwrap_err();
    denied(&absent);
    assert_eq!(
        (there.message(), there.details()),
        (absent.message(), absent.details())
    );
    // Who may use all of them is told.
    let told = Call::Attach
        .send_over(channel(), "absent", Some(&crm))
        .await
        .unwrap_err();
    assert_eq!(reason(&told), "UNKNOWN_ACCOUNT");
}

#[tokio::test]
async fn streams_health_and_reflection() {
    let site = Site::new();
    let gateway = Gateway::start_with(|config| site.jwt(config)).await;
    let channel = gateway.channel.clone();
    let mut health = HealthClient::new(channel.clone());
    let check = || HealthCheckRequest {
        service: String::new(),
    };
    health.check(check()).await.unwrap();

    let watch = |token: Option<String>, account: &str| {
        let mut request = tonic::Request::new(WatchSessionsRequest {
            account: account.to_owned(),
            ..Default::default()
        });
        if let Some(token) = token {
            let bearer = format!("bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        let mut sms = SmsSessionDataClient::new(channel.clone());
        async move { sms.watch_sessions(request).await }
    };
    unauthenticated(&watch(None, "").await.unwrap_err());
    let other = site.token("other");
    denied(&watch(Some(other), "other").await.unwrap_err());
    let crm = site.token("system:serviceaccount:crm:x");
    let mut stream = watch(Some(crm), "other").await.unwrap().into_inner();
    assert!(stream.message().await.unwrap().is_some());

    unauthenticated(&list(&channel, None).await.unwrap_err());
    let crm = site.token("system:serviceaccount:crm:x");
    let twice = vec![crm.clone(), crm.clone()];
    unauthenticated(&list(&channel, Some(twice)).await.unwrap_err());
    list(&channel, Some(vec![crm])).await.unwrap();

    let open = |texts: &[&str]| texts.iter().map(|it| Pattern::new(*it)).collect();
    let reflecting = Gateway::start_with(|config| {
        site.jwt(config);
        config.server.open_methods = open(&["grpc.reflection.*"]);
    })
    .await;
    list(&reflecting.channel, None).await.unwrap();
    let refused = HealthClient::new(reflecting.channel.clone())
        .check(check())
        .await;
    unauthenticated(&refused.unwrap_err());
}

async fn list(channel: &Channel, tokens: Option<Vec<String>>) -> Result<(), Status> {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let message = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut request = tonic::Request::new(futures_util::stream::iter([message]));
    for token in tokens.into_iter().flatten() {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().append("authorization", bearer);
    }
    let mut client = ServerReflectionClient::new(channel.clone());
    let mut answers = client.server_reflection_info(request).await?.into_inner();
    answers.message().await.map(drop)
}

/// The same request_id of two callers is two requests.
#[tokio::test]
async fn request_ids_are_each_callers_own() {
    let site = Site::new();
    let gateway = Gateway::start_with(|config| {
        site.jwt(config);
        config.policy = None;
    })
    .await;
    let attach = |subject: &str| {
        let mut request = tonic::Request::new(switchboard::pb::AttachUserDataRequest {
            session_id: crate::support::SESSION.into(),
            user_data: Some(crate::support::data(&[("Topic", "billing")])),
            request_id: "order-1".into(),
            ..Default::default()
        });
        let bearer = format!("Bearer {}", site.token(subject)).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let mut sms = gateway.sms();
        async move { sms.attach_user_data(request).await.unwrap() }
    };
    let sent = || gateway.sandbox.journal().count("genesys", "AttachUserData");
    attach("a").await;
    attach("a").await;
    assert_eq!(sent(), 1);
    attach("b").await;
    assert_eq!(sent(), 2);
}

/// Nobody has an identity: everybody is let through, and named so.
#[tokio::test]
async fn an_anonymous_write_has_its_line_too() {
    let audit = Audit::listen();
    let gateway = Gateway::start().await;
    Call::Attach.send(&gateway).await.unwrap();
    Call::GetSession.send(&gateway).await.unwrap();
    let lines = audit.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    expect(&lines[0], "anonymous", Call::Attach, "OK", "write");
    assert_eq!(lines[0]["account"], "default");
    assert_eq!(lines[0]["target_id"], crate::support::SESSION);
    assert!(!format!("{lines:?}").contains("billing"), "{lines:?}");
}

/// A write whose caller hangs up has its line, and a read has none.
#[tokio::test]
async fn a_caller_who_leaves_is_written_down() {
    let audit = Audit::listen();
    let vendor = Vendor::start(|_| std::future::pending()).await;
    let gateway = Gateway::start_with(|config| {
        relocate(config, &vendor.url);
        patient(config);
    })
    .await;
    for (call, arrivals) in [(Call::GetSession, 2), (Call::Attach, 3)] {
        let channel = gateway.channel.clone();
        let calling = tokio::spawn(async move { call.send_over(channel, "", None).await });
        vendor.arrived(arrivals).await;
        calling.abort();
    }
    until("the line of who left", || {
        audit.has("reason", "CALLER_LEFT")
    })
    .await;
    let lines = audit.take();
    assert_eq!(lines.len(), 1, "{lines:?}");
    expect(&lines[0], "anonymous", Call::Attach, "CANCELLED", "write");
    assert_eq!(lines[0]["target_id"], crate::support::SESSION);
}
