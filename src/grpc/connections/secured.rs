//! A connection over TLS, and what its caller's certificate means for it.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;

use super::peer::{Certificate, Peer};
use super::tls::{Failed, Set, Tls, certificate_error, heard};
use super::{ConnectionLimits, connection, prepare};
use crate::grpc::caller;

/// A connection from its handshake to its last byte. It ends like an old one when its caller's
/// certificate is withdrawn.
pub(super) async fn serve<S, B>(
    tls: &Tls,
    stream: TcpStream,
    service: S,
    limits: ConnectionLimits,
    leaving: CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let address = prepare(&stream);
    // Before the handshake, so that no change goes by unseen.
    let sets = tls.sets();
    let Some(stream) = handshake(tls, stream, address.as_deref(), &leaving).await else {
        return;
    };
    let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificate = Certificate::of(shown);
    let peer = Peer {
        address,
        certificate: certificate.clone(),
    };
    let serving = connection(stream, peer, service, limits, leaving.clone());
    tokio::select! {
        biased;
        () = serving => {}
        () = watch_over(certificate, sets, leaving) => {}
    }
}

/// None when there is nobody to serve.
async fn handshake(
    tls: &Tls,
    stream: TcpStream,
    address: Option<&str>,
    leaving: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let shaken = tokio::select! {
        () = leaving.cancelled() => return None,
        shaken = tls.shake_hands(stream) => shaken,
    };
    let Failed { error, told } = match shaken {
        Ok(stream) => return Some(stream),
        Err(failed) => failed,
    };
    tracing::debug!(%error, "no handshake");
    // Whoever only knocks, as scanners do, is not worth a line.
    if let Some(why) = certificate_error(&error) {
        caller::handshake_refused(address, &why);
    }
    if let Some(stream) = told {
        tokio::select! {
            () = leaving.cancelled() => {}
            () = heard(stream) => {}
        }
    }
    None
}

/// Asks a connection to end when its certificate is withdrawn. Never ends by itself.
async fn watch_over(
    certificate: Option<Arc<Certificate>>,
    sets: watch::Receiver<Arc<Set>>,
    leaving: CancellationToken,
) {
    if let Some(certificate) = certificate {
        certificate.watch_over(sets).await;
        tracing::info!(
            caller = certificate.identity().map(|it| &**it),
            "a connection is asked to end: its certificate is no longer accepted"
        );
        leaving.cancel();
    }
    std::future::pending::<()>().await;
}
