//! A vendor that costs as little as one can: it reads up to the end of a request and answers from
//! a constant.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

const LOGIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    set-cookie: JSESSIONID=4d2b0c1f9a; Path=/\r\nset-cookie: ROUTE=n1; Path=/\r\n\
    x-csrf-header: X-CSRF-TOKEN\r\nx-csrf-token: 9f1c7e52\r\ncontent-length: 16\r\n\r\n\
    {\"statusCode\":0}";
const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 16\r\n\r\n{\"statusCode\":0}";

/// Who asks, where nobody logs in.
pub(crate) const AUTHORIZATION: &str = "Basic YWdlbnQxOnNlY3JldA==";

/// At a time; those that come then wait. A server that falls behind can open as many as there are file
/// handles, and this process needs some for the others.
const MOST_CONNECTIONS: usize = 12_000;

pub(crate) struct Vendor {
    pub(crate) url: String,
    /// Whom to trust, where it speaks TLS; gone with it.
    pub(crate) ca_file: Option<PathBuf>,
    connections: Arc<Connections>,
}

#[derive(Default)]
struct Connections {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Vendor {
    /// Answers each request after so long.
    pub(crate) async fn start(delay: Duration) -> Vendor {
        Self::accept(delay, None).await
    }

    /// As all do outside of benchmarks.
    pub(crate) async fn start_with_tls() -> Vendor {
        let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let CertifiedKey { cert, signing_key } = own;
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        let mut vendor = Self::accept(Duration::ZERO, Some(tls)).await;
        let name = format!("switchboard-load-{}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, cert.pem()).unwrap();
        vendor.ca_file = Some(file);
        vendor
    }

    async fn accept(delay: Duration, tls: Option<TlsAcceptor>) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let vendor = Vendor {
            url: format!("{scheme}://{}", listener.local_addr().unwrap()),
            ca_file: None,
            connections: Arc::default(),
        };
        let connections = Arc::clone(&vendor.connections);
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
            loop {
                let place = Arc::clone(&places).acquire_owned().await.unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let connections = Arc::clone(&connections);
                let tls = tls.clone();
                stream.set_nodelay(true).unwrap();
                let now = connections.now.fetch_add(1, Ordering::Relaxed) + 1;
                connections.most.fetch_max(now, Ordering::Relaxed);
                tokio::spawn(async move {
                    let _ = match tls {
                        None => serve(stream, delay).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, delay).await,
                            Err(error) => Err(error),
                        },
                    };
                    connections.now.fetch_sub(1, Ordering::Relaxed);
                    drop(place);
                });
            }
        });
        vendor
    }

    /// As many were open at one time.
    pub(crate) fn most_connections(&self) -> usize {
        self.connections.most.load(Ordering::Relaxed)
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        if let Some(file) = &self.ca_file {
            let _ = std::fs::remove_file(file);
        }
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, delay: Duration) -> io::Result<()> {
    let mut buffer = vec![0; 8192];
    let mut held = 0;
    loop {
        if held == buffer.len() {
            buffer.resize(2 * held, 0);
        }
        let read = stream.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let Some(length) = whole(&buffer[..held]) else {
            continue;
        };
        // Nobody sends a second request before the answer to the first.
        assert_eq!(length, held);
        held = 0;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let answer = if buffer.starts_with(b"GET") {
            LOGIN
        } else {
            ACCEPTED
        };
        stream.write_all(answer).await?;
        stream.flush().await?;
    }
}

/// The length of the request, once all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim())
    });
    let length = head + length.map_or(0, |length| length.parse().unwrap());
    (bytes.len() >= length).then_some(length)
}
