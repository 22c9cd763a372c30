//! Who is at the other end of a connection, as far as its certificate tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::tls::Set;
use crate::grpc::caller;

/// How often a certificate is verified again, unless it is near its end.
const VERIFY_AGAIN: Duration = Duration::from_secs(60);

/// How long a certificate may be in use after it has expired.
const NEAR_ITS_END: Duration = Duration::from_secs(1);

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
    told: Notify,
}

impl Certificate {
    pub(super) fn of(shown: &[CertificateDer<'_>]) -> Option<Arc<Self>> {
        let own = shown.first()?;
        Some(Arc::new(Certificate {
            identity: caller::identity(own),
            shown: shown.iter().map(|it| it.clone().into_owned()).collect(),
            withdrawn: AtomicBool::new(false),
            told: Notify::new(),
        }))
    }

    pub(in crate::grpc) fn identity(&self) -> Option<&Arc<str>> {
        self.identity.as_ref()
    }

    /// Whether it would not be let in any more.
    pub(in crate::grpc) fn is_withdrawn(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire)
    }

    /// Until it would not be let in any more, as far as somebody watches over it.
    pub(in crate::grpc) async fn withdrawn(&self) {
        // Before the look, so that no word of it is missed.
        let told = self.told.notified();
        if !self.is_withdrawn() {
            told.await;
        }
    }

    /// Until a handshake with it would fail: its authority is trusted no longer, it is revoked,
    /// or has expired.
    pub(super) async fn watch_over(&self, mut sets: watch::Receiver<Arc<Set>>) {
        loop {
            let set = Arc::clone(&sets.borrow_and_update());
            let now = UnixTime::now();
            let then = Duration::from_secs(now.as_secs()) + VERIFY_AGAIN;
            // One that has begun and will be good then is good all the while.
            let pause = if set.admits(&self.shown, UnixTime::since_unix_epoch(then)) {
                VERIFY_AGAIN
            } else if set.admits(&self.shown, now) {
                NEAR_ITS_END
            } else {
                self.withdrawn.store(true, Ordering::Release);
                self.told.notify_waiters();
                return;
            };
            tokio::select! {
                changed = sets.changed() => if changed.is_err() {
                    // Nobody looks at the files any more: the server has ended.
                    return std::future::pending().await;
                },
                () = sleep(pause) => {}
            }
        }
    }
}
