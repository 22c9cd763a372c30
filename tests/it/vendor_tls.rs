//! The files of a vendor's TLS change while calls are under way: none of them fails, and what
//! comes after goes by the new files.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use switchboard::config::Config;
use switchboard::upstream::settings::Tls;
use tokio::sync::watch;
use tonic::Code;

use crate::support::authority::{Authority, Issued};
use crate::support::calls::Call;
use crate::support::dir::Mounted;
use crate::support::load::Load;
use crate::support::vendor::{self, Seen, Vendor, login};
use crate::support::watch::{in_time, total, until};
use crate::support::{
    Gateway, RECORD, SESSION, USER, attempts, patient, reason, relocate, upstreams,
};

const FAILURES: &str = "switchboard_vendor_tls_reload_failures_total";

/// A server that shows `own`, and lets in whom one of `clients` has signed.
fn server(own: &Issued, clients: &[&Authority], protocol: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in clients {
        roots.add(der(&authority.pem())).unwrap();
    }
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![der(&own.cert)], key)
        .unwrap();
    config.alpn_protocols = vec![protocol.into()];
    Arc::new(config)
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// The files of the vendors' section, with the vendors' authorities and the gateway's own pair.
fn files<'a>(ca: &'a str, own: &'a Issued) -> [(&'static str, &'a str); 3] {
    [
        ("ca.crt", ca),
        ("tls.crt", &own.cert),
        ("tls.key", &own.key),
    ]
}

fn secured(config: &mut Config, vendor: &Vendor, mounted: &Mounted) {
    relocate(config, &vendor.url);
    for upstream in upstreams(config) {
        upstream.tls = Tls {
            ca_file: Some(mounted.path("ca.crt")),
            client_cert_file: Some(mounted.path("tls.crt")),
            client_key_file: Some(mounted.path("tls.key")),
        };
    }
}

/// Answers reads of settings when it is let, all else at once.
async fn secured_vendor(tls: Arc<ServerConfig>, released: watch::Receiver<bool>) -> Vendor {
    Vendor::secured(tls, move |seen: Seen| {
        let mut released = released.clone();
        Box::pin(async move {
            if seen.is_login() {
                return login(&seen);
            }
            if seen.target.contains("query") {
                released.wait_for(|it| *it).await.unwrap();
            }
            answer()
        })
    })
    .await
}

fn answer() -> Response<Bytes> {
    let session = json!({"id": SESSION, "state": "Chatting"});
    let all = json!({"statusCode": 0, "smssession": session, "returnCode": "0", "id": RECORD,
                     "userId": USER});
    vendor::json(all.to_string())
}

/// Until a call came to the vendor with this certificate.
async fn shown(vendor: &Vendor, own: &Issued) {
    let own = Bytes::copy_from_slice(&der(&own.cert));
    let with_it = |seen: &Seen| !seen.is_login() && seen.shown.as_ref() == Some(&own);
    until("the certificate in use", || vendor.has_seen(with_it)).await;
}

#[tokio::test]
async fn authorities_and_certificates_over_http_1() {
    authorities_and_certificates("http/1.1").await;
}

#[tokio::test]
async fn authorities_and_certificates_over_http_2() {
    authorities_and_certificates("h2").await;
}

async fn authorities_and_certificates(protocol: &str) {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (ours, next) = (Authority::new("ours"), Authority::new("next"));
    let own = [ours.dns("first"), next.dns("second"), next.dns("third")];
    let (before, after) = (old.server(), new.server());
    let (release, released) = watch::channel(false);
    let vendor = secured_vendor(server(&before, &[&ours], protocol), released).await;
    let mounted = Mounted::new(&files(&old.pem(), &own[0]));
    let gateway = Gateway::start_with(|config| {
        secured(config, &vendor, &mounted);
        patient(config);
    })
    .await;
    let channel = gateway.channel.clone();
    let load = Load::start(move || channel.clone(), None);
    load.goes_on().await;
    shown(&vendor, &own[0]).await;

    // One whose answer comes when all has changed.
    let channel = gateway.channel.clone();
    let held = tokio::spawn(async move { Call::QuerySettings.send_over(channel, "", None).await });
    until("a call that is held", || {
        vendor.has_seen(|it| it.target.contains("query"))
    })
    .await;

    // The vendor takes both of our certificates for a while, and we both of its authorities.
    vendor.change(server(&before, &[&ours, &next], protocol));
    mounted.turn(&files(&(old.pem() + &new.pem()), &own[1]));
    shown(&vendor, &own[1]).await;
    load.goes_on().await;

    // Then both sides want the new ones only.
    vendor.change(server(&after, &[&next], protocol));
    mounted.turn(&files(&new.pem(), &own[2]));
    shown(&vendor, &own[2]).await;
    load.goes_on().await;
    release.send_replace(true);
    in_time("the call that was held", held)
        .await
        .unwrap()
        .unwrap();
    load.end().await;

    // A vendor that shows a certificate of the old authority is no longer spoken to.
    vendor.change(server(&before, &[&next], protocol));
    mounted.turn(&files(&new.pem(), &own[1]));
    let refused = in_time("the end of the old authority", async {
        loop {
            if let Err(error) = Call::GetSession.send(&gateway).await {
                return error;
            }
        }
    });
    let refused = refused.await;
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::Unavailable, "VENDOR_UNAVAILABLE")
    );
    // Nor is a certificate of ours that the vendor does not take any more. It says so when the
    // request is on its way already, and has read nothing of it.
    vendor.change(server(&after, &[&ours], protocol));
    for call in [Call::GetSession, Call::Attach, Call::CreateSettings] {
        let before = vendor.seen().len();
        let refused = call.send(&gateway).await.unwrap_err();
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::Unavailable, "VENDOR_UNAVAILABLE"),
            "{call:?}: {refused:?}"
        );
        assert_eq!(attempts(refused.metadata()), 0, "{call:?}: {refused:?}");
        assert_eq!(vendor.seen().len(), before);
    }
    vendor.change(server(&after, &[&next], protocol));
    Call::GetSession.send(&gateway).await.unwrap();
    assert_eq!(total(&gateway.metrics, FAILURES, &[]), 0);
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_those_from_before() {
    let (theirs, ours) = (Authority::new("theirs"), Authority::new("ours"));
    let (own, other) = (ours.dns("own"), ours.dns("other"));
    let own_server = theirs.server();
    let (_release, released) = watch::channel(true);
    let vendor = secured_vendor(server(&own_server, &[&ours], "http/1.1"), released).await;
    let good = theirs.pem();
    let mounted = Mounted::new(&files(&good, &own));
    let gateway = Gateway::start_with(|config| secured(config, &vendor, &mounted)).await;
    let channel = gateway.channel.clone();
    let load = Load::start(move || channel.clone(), None);
    let failures = |vendor| total(&gateway.metrics, FAILURES, &[("vendor", vendor)]);
    assert_eq!(failures("genesys"), 0);
    let (mut mixed, mut half) = (own.clone(), own.clone());
    mixed.key.clone_from(&other.key);
    half.cert.truncate(own.cert.len() / 2);
    for (what, broken) in [
        ("no authority", files("", &own)),
        ("half an authority", files(&good[..good.len() / 2], &own)),
        ("a pair that does not fit", files(&good, &mixed)),
        ("half a certificate", files(&good, &half)),
        ("a file that is gone", files(&good, &own)),
    ] {
        let whole = if what == "a file that is gone" { 2 } else { 3 };
        mounted.turn(&broken[..whole]);
        for vendor in ["genesys", "aicc"] {
            let counted = failures(vendor);
            until(what, || failures(vendor) > counted).await;
        }
        load.goes_on().await;
    }
    mounted.turn(&files(&good, &other));
    shown(&vendor, &other).await;
    load.end().await;
}
