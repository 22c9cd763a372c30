//! Who is at the other end of a connection, as far as its certificate tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::sleep;

use super::tls::Set;
use crate::grpc::caller;

/// How long a certificate may be in use after it has expired.
const VERIFY_AGAIN: Duration = Duration::from_secs(60);

/// Among the extensions of each request: who is at the other end of its connection.
#[derive(Clone, Debug)]
pub(in crate::grpc) struct Peer {
    /// The IP address as the audit log has it: made once, as every write has a line there.
    pub(in crate::grpc) address: Option<Arc<str>>,
    /// None where none was shown.
    pub(in crate::grpc) certificate: Option<Arc<Certificate>>,
}

/// A certificate that was good at the handshake.
#[derive(Debug)]
pub(in crate::grpc) struct Certificate {
    /// The caller's own, and what leads from it to an authority.
    shown: Vec<CertificateDer<'static>>,
    identity: Option<Arc<str>>,
    withdrawn: AtomicBool,
}

impl Certificate {
    pub(super) fn of(shown: &[CertificateDer<'_>]) -> Option<Arc<Self>> {
        let own = shown.first()?;
        Some(Arc::new(Certificate {
            identity: caller::identity(own),
            shown: shown.iter().map(|it| it.clone().into_owned()).collect(),
            withdrawn: AtomicBool::new(false),
        }))
    }

    pub(in crate::grpc) fn identity(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()
    }

    /// Whether it would not be let in any more.
    pub(in crate::grpc) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Relaxed)
    }

    /// Until a handshake with it would fail: its authority is trusted no longer, it is revoked,
    /// or has expired.
    pub(super) async fn withdrawn(&self, mut sets: watch::Receiver<Arc<Set>>) {
        loop {
            tokio::select! {
                changed = sets.changed() => if changed.is_err() {
                    // Nobody looks at the files any more: the server has ended.
                    return std::future::pending().await;
                },
                () = sleep(VERIFY_AGAIN) => {}
            }
            let set = Arc::clone(&sets.borrow_and_update());
            if !set.admits(&self.shown) {
                self.withdrawn.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}
