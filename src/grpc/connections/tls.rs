//! TLS on callers' connections: the handshake, and the set of files that is in force
//! ([ADR 14](../../../docs/adr/0014-tls-that-changes.md)).

mod clients;
mod set;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{Counter, Meter};
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub(super) use self::set::Set;
pub use self::set::TlsError;
use crate::upstream::files::{Complaint, LOOK_AGAIN, Settling};

/// A caller sends its first message at once, and its last as soon as it has our certificate; where many
/// come at one time, as soon as the processor has got to it.
const HELLO_TIME: Duration = Duration::from_secs(5);
const REST_TIME: Duration = Duration::from_secs(10);

/// What a caller has to read why it was refused, and what it may say meanwhile.
const ALERT_TIME: Duration = Duration::from_secs(5);
const MOST_UNREAD: u64 = 64 * 1024;

/// What the operator names. Each file may change at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Who signs callers' certificates; without it callers show none.
    pub client_ca: Option<PathBuf>,
    /// Of every authority between a caller's certificate and `client_ca`.
    pub crl: Option<PathBuf>,
    /// Whether a caller without a certificate is refused, or may have a token instead.
    pub demanded: bool,
}

/// The server's side of TLS.
pub struct Tls {
    files: TlsFiles,
    set: watch::Sender<Arc<Set>>,
    seen: Mutex<Seen>,
    failures: Counter<u64>,
}

/// What looks at the files came to.
#[derive(Default)]
struct Seen {
    settling: Settling,
    complaint: Complaint,
}

impl Tls {
    /// Files that cannot be used are no reason to go on with, at the start.
    pub fn new(files: TlsFiles, meter: &Meter) -> Result<Self, TlsError> {
        let set = Set::read(&files)?;
        let failures = meter
            .u64_counter("switchboard_tls_reload_failures")
            .with_description("Times that the files of server.tls could not be used.")
            .build();
        failures.add(0, &[]);
        Ok(Tls {
            files,
            set: watch::Sender::new(Arc::new(set)),
            seen: Mutex::default(),
            failures,
        })
    }

    /// The set in force, now and whenever it changes.
    pub(super) fn sets(&self) -> watch::Receiver<Arc<Set>> {
        self.set.subscribe()
    }

    /// Looks at the files again and again, for as long as it is polled.
    pub(in crate::grpc) async fn keep(&self) {
        loop {
            sleep(LOOK_AGAIN).await;
            self.look();
        }
    }

    /// A set that cannot be used leaves the one from before in force: it is counted each time,
    /// and said once.
    fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen {
            settling,
            complaint,
        } = &mut *seen;
        let in_force = Arc::clone(&self.set.borrow());
        match in_force.look(&self.files, settling) {
            Ok(None) => complaint.is_over(),
            Ok(Some(set)) => {
                complaint.is_over();
                tracing::info!("the files of server.tls have changed: new ones are in force");
                self.set.send_replace(Arc::new(set));
            }
            Err(error) => {
                self.failures.add(1, &[]);
                let error = error.to_string();
                if complaint.is_new(&error) {
                    tracing::warn!(error, "server.tls: the files from before stay in force");
                }
            }
        }
    }

    /// Waits for nobody but this caller, so that one who hangs delays no other.
    pub(super) async fn shake_hands(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failed> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let hello = timeout(HELLO_TIME, hello).await??;
        let config = self.set.borrow().config();
        let rest = hello.into_stream(config).into_fallible();
        let refused = |(error, stream)| Failed {
            error,
            told: Some(stream),
        };
        timeout(REST_TIME, rest).await?.map_err(refused)
    }
}

/// A handshake that came to nothing.
pub(super) struct Failed {
    pub(super) error: io::Error,
    /// Where its caller is told why.
    pub(super) told: Option<TcpStream>,
}

impl<E: Into<io::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Failed {
            error: error.into(),
            told: None,
        }
    }
}

/// Until the caller has closed, or had time enough to read why it was refused. It says its greeting
/// meanwhile, and to close with something unread takes back what is still on its way there.
pub(super) async fn heard(mut stream: TcpStream) {
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MOST_UNREAD), &mut tokio::io::sink()).await
    };
    let _ = timeout(ALERT_TIME, rest).await;
}

/// What is wrong with a caller's certificate, when that is why a handshake failed.
pub(super) fn certificate_error(error: &io::Error) -> Option<String> {
    use rustls::Error::{InvalidCertRevocationList, InvalidCertificate, NoCertificatesPresented};
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    // A list that is of no use for a certificate is found out only when one is shown.
    let about_certificates = matches!(
        cause,
        InvalidCertificate(_) | InvalidCertRevocationList(_) | NoCertificatesPresented
    );
    about_certificates.then(|| cause.to_string())
}

#[cfg(test)]
#[path = "tls/tls_tests.rs"]
mod tests;
