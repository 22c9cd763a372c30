//! The leaf: one request on the wire and one whole answer. Nothing outside of here names reqwest.
//!
//! It repeats nothing, follows no redirect, and reads no more than the cap.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use reqwest::{ClientBuilder, NoProxy, Proxy, Url, redirect, retry, tls};
use tower::Service;

use super::error::Error;
use super::files::FileError;
use super::observer::Server;
use super::operation::{Call, Reply};
use super::pem::PemError;
use super::progress::{Leave, Progress};
use super::secret::SecretError;
use super::settings::Settings;

mod document;
mod names;
mod renewal;

pub use self::document::Document;
use self::names::Names;
pub use self::renewal::{Files, Renewal};

/// Shorter than the keep-alive of the vendors' servers, so that they do not hang up first.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// A poll follows a poll at once; whatever else is open after that is of no more use, and costs
/// some thirty kilobytes for each account.
const POOL_IDLE_POLLS: Duration = Duration::from_secs(2);

/// All calls to a vendor share a connection over HTTP/2. Where packets are dropped without a word, it
/// is dead and looks alive for as long as the kernel repeats itself, and repeats of calls go into it
/// as well. So when calls wait and nothing has come for a while, the server is asked whether it is
/// there. Both times together are less than the default time of an attempt: a call's second one
/// goes over a new connection.
const SILENCE: Duration = Duration::from_secs(1);
/// Longer than several packets in a row take to be repeated, as all calls end with the connection.
const SIGN_OF_LIFE: Duration = Duration::from_millis(3500);

/// Why a client for a vendor could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error(transparent)]
    Pem(#[from] PemError),
    /// Without the address, which may hold a password.
    #[error("HTTPS_PROXY in the environment is no http://HOST:PORT or https://HOST:PORT")]
    Proxy,
    #[error("cannot set up the HTTP client: {}", chain(.0))]
    Client(reqwest::Error),
}

/// The connections to one vendor: pooled, and shared by its accounts. [`Renewal`] replaces them.
#[derive(Clone)]
pub struct Connections {
    client: Arc<ArcSwap<reqwest::Client>>,
    protocol: Protocol,
    max_answer: u64,
}

/// Which HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 where TLS offers it.
    Negotiated,
    /// A connection per request under way: on one of HTTP/2, held requests would use up the
    /// streams that the vendor allows, and all others would wait behind them.
    Http1,
}

impl Connections {
    pub fn new(
        settings: &Settings,
        protocol: Protocol,
        files: &Files,
    ) -> Result<Self, TransportError> {
        Ok(Connections {
            client: Arc::new(ArcSwap::from_pointee(client(settings, protocol, files)?)),
            protocol,
            max_answer: settings.max_answer,
        })
    }

    /// The leaf service for requests below `base`.
    pub(super) fn to(&self, base: &Url) -> Transport {
        Transport(Arc::new(Target {
            connections: self.clone(),
            base: base.clone(),
        }))
    }
}

/// Where requests below `base` go, for telemetry.
pub(super) fn server(base: &Url) -> Server {
    Server {
        address: base.host_str().unwrap_or_default().into(),
        port: base.port_or_known_default().unwrap_or_default(),
        base: base.as_str().trim_end_matches('/').to_owned(),
        path: None,
    }
}

fn client(
    settings: &Settings,
    protocol: Protocol,
    files: &Files,
) -> Result<reqwest::Client, TransportError> {
    let mut builder = plain_client()?
        .connect_timeout(settings.timeout.connect)
        .dns_resolver(Names::of_the_system())
        .pool_idle_timeout(POOL_IDLE)
        // A call that is given a connection while it makes one leaves the new one to the pool.
        .pool_max_idle_per_host(settings.limit.in_flight)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(SILENCE)
        .http2_keep_alive_timeout(SIGN_OF_LIFE);
    if protocol == Protocol::Http1 {
        builder = builder.http1_only().pool_idle_timeout(POOL_IDLE_POLLS);
    }
    let builder = files.put_into(builder, &settings.tls)?;
    builder.build().map_err(TransportError::Client)
}

/// What holds whoever is asked: no redirect, no repeat, a proxy for HTTPS alone.
fn plain_client() -> Result<ClientBuilder, TransportError> {
    let builder = reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .tls_version_min(tls::Version::TLS_1_2)
        .user_agent(concat!("switchboard/", env!("CARGO_PKG_VERSION")))
        // First none at all: HTTP_PROXY must never see credentials in clear.
        .no_proxy();
    Ok(match https_proxy()? {
        Some(proxy) => builder.proxy(proxy),
        None => builder,
    })
}

fn https_proxy() -> Result<Option<Proxy>, TransportError> {
    let named = ["HTTPS_PROXY", "https_proxy"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty());
    named
        .map(|address| {
            Proxy::https(address)
                .map(|proxy| proxy.no_proxy(NoProxy::from_env()))
                .map_err(|_| TransportError::Proxy)
        })
        .transpose()
}

/// Cheap to clone, as every call takes one along.
#[derive(Clone)]
pub(super) struct Transport(Arc<Target>);

struct Target {
    connections: Connections,
    base: Url,
}

impl Service<Call> for Transport {
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        // Admission is decided above, per vendor; the client itself is always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let target = Arc::clone(&self.0);
        Box::pin(async move { target.send(call).await })
    }
}

impl Target {
    async fn send(&self, call: Call) -> Result<Reply, Error> {
        let Call {
            request,
            deadline,
            progress,
            signed,
            ..
        } = call;
        let leave = progress.leave(deadline)?;
        let request = self.outgoing(*request, leave)?;
        let answer = self.connections.client.load().execute(request);
        let mut response = answer.await.map_err(|error| failed(error, &progress))?;
        if let Some(signed) = signed {
            signed.answered(response.headers());
        }
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let body = self.collect(response).await?;
        Ok(Reply {
            status,
            headers,
            body,
        })
    }

    fn outgoing(
        &self,
        request: http::Request<Bytes>,
        leave: Leave,
    ) -> Result<reqwest::Request, Error> {
        let (parts, body) = request.into_parts();
        let mut outgoing = reqwest::Request::new(parts.method, self.below_base(&parts.uri));
        *outgoing.headers_mut() = parts.headers;
        // Without a body there is nothing to watch go out: it counts as sent, until it turns out
        // that the connection was never made.
        if !body.is_empty() {
            let body = Some(body);
            *outgoing.body_mut() = Some(reqwest::Body::wrap(Watched { body, leave }));
        } else if !leave.take() {
            return Err(Error::GivenUp);
        }
        Ok(outgoing)
    }

    fn below_base(&self, target: &http::Uri) -> Url {
        let mut url = self.base.clone();
        match self.base.path().trim_end_matches('/') {
            "" => url.set_path(target.path()),
            prefix => url.set_path(&format!("{prefix}{}", target.path())),
        }
        url.set_query(target.query());
        url
    }

    async fn collect(&self, mut response: reqwest::Response) -> Result<Bytes, Error> {
        let status = response.status();
        let mut body = BytesMut::new();
        loop {
            let cause = match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) => {
                    let whole = body.len() as u64 + chunk.len() as u64;
                    if whole <= self.connections.max_answer {
                        body.extend_from_slice(&chunk);
                        continue;
                    }
                    format!("it is larger than {} bytes", self.connections.max_answer)
                }
                // Whole, but not packed as it says.
                Err(error) if error.is_decode() && find::<hyper::Error>(&error).is_none() => {
                    chain(&error.without_url())
                }
                Err(error) => {
                    let cause = chain(&error.without_url());
                    return Err(Error::Lost { cause });
                }
            };
            // What it means stands in its status; what was read of it are words enough.
            if !status.is_success() {
                break;
            }
            let status = Some(status);
            return Err(Error::Unreadable { status, cause });
        }
        Ok(body.freeze())
    }
}

/// A request body that asks for leave when it is first read: the head has gone out by then, and not
/// a byte before the connection stands. Who reads it may do so long after the attempt was given up:
/// over HTTP/2 a request waits for a free stream whether or not somebody waits for its answer.
struct Watched {
    body: Option<Bytes>,
    leave: Leave,
}

/// No request is done without its body, so the vendor never does this one.
#[derive(Debug, thiserror::Error)]
#[error("given up before it was sent")]
struct Withheld;

impl Body for Watched {
    type Data = Bytes;
    type Error = Withheld;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Withheld>>> {
        let Some(body) = self.body.take() else {
            return Poll::Ready(None);
        };
        let frame = match self.leave.take() {
            true => Ok(Frame::data(body)),
            false => Err(Withheld),
        };
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

/// Sorts a failure by the one question that matters: may the vendor have read the request?
fn failed(error: reqwest::Error, progress: &Progress) -> Error {
    let error = error.without_url();
    let cause = chain(&error);
    let marked = progress.in_doubt();
    if error.is_connect() || disowned(&error) || is_unwelcome(&error) || !marked {
        if marked {
            progress.take_back();
        }
        return Error::NeverSent { cause };
    }
    if error.is_builder() {
        return Error::Unbuildable { cause };
    }
    Error::Lost { cause }
}

/// The server said over HTTP/2 that it did not look at the request: by refusing the stream (RFC 9113,
/// section 8.7), or by ending the connection before it (section 6.8). Only streams beyond the last that
/// a GOAWAY names fail with it; those up to there fail with the connection. A server that goes away
/// for an error of its own is not trusted to have counted right.
fn disowned(error: &reqwest::Error) -> bool {
    find::<h2::Error>(error).is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let beyond = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        error.is_remote() && (refused || beyond)
    })
}

/// The server did not take our certificate. With TLS 1.3 it says so when the handshake is over for us,
/// and the request on its way; it reads no request before it has taken the certificate. HTTP/2 hands
/// the cause on in words only.
fn is_unwelcome(error: &reqwest::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let about_certificates = [
        Alert::BadCertificate,
        Alert::UnsupportedCertificate,
        Alert::CertificateRevoked,
        Alert::CertificateExpired,
        Alert::CertificateUnknown,
        Alert::UnknownCA,
        Alert::AccessDenied,
        Alert::CertificateRequired,
    ];
    find::<std::io::Error>(error).is_some_and(|error| {
        let words = error.to_string();
        let is_it = |alert| rustls::Error::AlertReceived(alert).to_string() == words;
        about_certificates.into_iter().any(is_it)
    })
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<E>())
}

/// The whole chain of causes in one line; the outermost is reqwest's and says little.
fn chain(error: &reqwest::Error) -> String {
    let causes: Vec<_> = std::iter::successors(error.source(), |&error| error.source())
        .map(ToString::to_string)
        .collect();
    if causes.is_empty() {
        error.to_string()
    } else {
        causes.join(": ")
    }
}
