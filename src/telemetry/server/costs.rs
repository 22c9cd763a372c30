//! What a call cost at its vendor: known to others, told in the access log.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;

/// A call as those see it who count for it. Asked once, when the call ends.
pub trait Costs: Debug + Send + Sync + 'static {
    /// Requests sent to the vendor, logins not counted.
    fn attempts(&self) -> u32;

    /// The name of the vendor's account, if one was used.
    fn account(&self) -> Option<Arc<str>>;

    /// The HTTP status of the vendor's last answer.
    fn vendor_status(&self) -> Option<u16>;

    /// How long all attempts took together.
    fn vendor_time(&self) -> Duration;
}

/// Among the extensions of each request: whoever counts for the call says so here, and it is
/// known also of a call whose caller leaves before the answer.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<OnceLock<Noted>>);

#[derive(Debug)]
pub(super) struct Noted {
    pub(super) request_id: HeaderValue,
    pub(super) costs: Box<dyn Costs>,
}

impl Notes {
    /// The first to say it is right.
    pub fn set(&self, request_id: HeaderValue, costs: impl Costs) {
        let costs = Box::new(costs);
        self.0.get_or_init(|| Noted { request_id, costs });
    }

    pub(super) fn get(&self) -> Option<&Noted> {
        self.0.get()
    }
}
