//! How the connects that are held for a client hear of it.

use std::sync::OnceLock;

use tokio::sync::Notify;

/// By which a client reaches its held connects.
#[derive(Debug, Default)]
pub(super) struct Wake {
    pub(super) notify: Notify,
    pub(super) gone: OnceLock<Gone>,
}

/// Why a client is no more. One that is swept away or reset leaves no word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    Disconnected,
    Dropped,
    /// Its node is.
    FailedOver,
}
