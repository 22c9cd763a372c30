//! A vendor made by hand, for what the sandbox does not do: answers byte by byte as a test wants
//! them, and answers that come when the test says so.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::scan;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The certificate that the gateway showed.
    pub shown: Option<Bytes>,
}

type Answer = Arc<dyn Fn(Seen) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// A running server; its connections end with it.
pub struct Vendor {
    pub url: String,
    state: Arc<State>,
    running: tokio::task::JoinHandle<()>,
}

struct State {
    answer: Answer,
    seen: Mutex<Vec<Seen>>,
    calls: watch::Sender<usize>,
    /// What is in force for connections to come; without it they are in clear.
    tls: Option<watch::Sender<Arc<ServerConfig>>>,
}

impl Vendor {
    /// Logins of both vendors succeed; everything else is answered by `answer`.
    pub async fn start<F>(answer: impl Fn(Seen) -> F + Send + Sync + 'static) -> Vendor
    where
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        Self::start_with(move |seen: Seen| -> BoxFuture<'static, _> {
            if seen.is_login() {
                return Box::pin(std::future::ready(login(&seen)));
            }
            Box::pin(answer(seen))
        })
        .await
    }

    /// The same with the logins left to `answer` too; `login` is a good answer to them.
    pub async fn start_with(
        answer: impl Fn(Seen) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static,
    ) -> Vendor {
        Self::listen(answer, None).await
    }

    /// The same over TLS.
    pub async fn secured(
        tls: Arc<ServerConfig>,
        answer: impl Fn(Seen) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static,
    ) -> Vendor {
        Self::listen(answer, Some(watch::Sender::new(tls))).await
    }

    async fn listen(
        answer: impl Fn(Seen) -> BoxFuture<'static, Response<Bytes>> + Send + Sync + 'static,
        tls: Option<watch::Sender<Arc<ServerConfig>>>,
    ) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            answer: Arc::new(answer),
            seen: Mutex::default(),
            calls: watch::Sender::new(0),
            tls,
        });
        let running = tokio::spawn(accept(listener, Arc::clone(&state)));
        Vendor {
            url,
            state,
            running,
        }
    }

    /// Answers every call with this, logins with success.
    pub async fn saying(answer: Response<Bytes>) -> Vendor {
        Self::start(move |_| std::future::ready(answer.clone())).await
    }

    /// Connections to come are made by these rules; those that stand stay.
    pub fn change(&self, tls: Arc<ServerConfig>) {
        self.state.tls.as_ref().unwrap().send_replace(tls);
    }

    /// Everything that arrived.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// What arrived beside logins.
    pub fn calls(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| !seen.is_login());
        seen
    }

    /// Whether such a request has arrived; the newest are looked at first.
    pub fn has_seen(&self, such: impl Fn(&Seen) -> bool) -> bool {
        self.state.seen.lock().unwrap().iter().rev().any(such)
    }

    /// Waits until this many requests have arrived, logins included.
    pub async fn arrived(&self, number: usize) {
        let mut calls = self.state.calls.subscribe();
        calls.wait_for(|seen| *seen >= number).await.unwrap();
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Seen {
    pub fn is_login(&self) -> bool {
        self.target == "/api/v2/me" || self.target.ends_with("/tokenByAkSk")
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        connections.spawn(connection(stream, Arc::clone(&state)));
    }
}

/// How it ended is for the client to tell.
async fn connection(stream: TcpStream, state: Arc<State>) {
    let Some(tls) = &state.tls else {
        return answer_all(stream, false, None, state).await;
    };
    let tls = TlsAcceptor::from(Arc::clone(&tls.borrow()));
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let session = stream.get_ref().1;
    let multiplexed = session.alpn_protocol() == Some(b"h2");
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let shown = shown.map(|own| Bytes::copy_from_slice(own));
    answer_all(stream, multiplexed, shown, state).await;
}

async fn answer_all(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    multiplexed: bool,
    shown: Option<Bytes>,
    state: Arc<State>,
) {
    let stream = TokioIo::new(stream);
    let service = service_fn(move |request| serve(Arc::clone(&state), shown.clone(), request));
    if multiplexed {
        let server = http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(stream, service).await;
    } else {
        let _ = http1::Builder::new()
            .serve_connection(stream, service)
            .await;
    }
}

async fn serve(
    state: Arc<State>,
    shown: Option<Bytes>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes);
    let seen = Seen {
        method: head.method,
        // What HTTP/2 says of the authority is no part of it.
        target: head.uri.path_and_query().unwrap().to_string(),
        headers: head.headers,
        body: body.unwrap_or_default(),
        shown,
    };
    scan::confide_headers(&seen.headers);
    scan::confide_body(&seen.body);
    state.seen.lock().unwrap().push(seen.clone());
    state.calls.send_modify(|calls| *calls += 1);
    let is_login = seen.is_login();
    let answer = (state.answer)(seen).await;
    scan::confide_headers(answer.headers());
    if is_login {
        scan::confide_body(answer.body());
    }
    Ok(answer.map(Full::new))
}

/// A good answer to a login of either vendor.
pub fn login(seen: &Seen) -> Response<Bytes> {
    if seen.method == Method::GET {
        json(r#"{"statusCode":0,"user":{}}"#)
    } else {
        json(r#"{"AccessToken":"made-by-hand","ApplyType":"Bearer","Expires":"600"}"#)
    }
}

/// A 200 that calls itself JSON.
pub fn json(body: impl Into<Bytes>) -> Response<Bytes> {
    answer(200, "application/json", body)
}

pub fn answer(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(body.into())
        .unwrap()
}
