//! Who called, and what the call cost at its vendor: known to others, told in the access log.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;

/// Whoever has no identity, in the access log and in the audit log.
pub const ANONYMOUS: &str = "anonymous";

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

/// Among the extensions of each request: whoever counts for the call, and whoever finds out who
/// calls, says so here, and it is known also of a call whose caller leaves before the answer.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Written>);

#[derive(Debug, Default)]
struct Written {
    noted: OnceLock<Noted>,
    caller: OnceLock<Option<Arc<str>>>,
}

#[derive(Debug)]
pub(super) struct Noted {
    pub(super) request_id: HeaderValue,
    pub(super) costs: Box<dyn Costs>,
}

impl Notes {
    /// The first to say it is right.
    pub fn set(&self, request_id: HeaderValue, costs: impl Costs) {
        let costs = Box::new(costs);
        self.0.noted.get_or_init(|| Noted { request_id, costs });
    }

    /// Who calls, once that was looked at; nobody that the gateway knows where it is none.
    pub fn called_by(&self, caller: Option<Arc<str>>) {
        self.0.caller.get_or_init(|| caller);
    }

    pub(super) fn get(&self) -> Option<&Noted> {
        self.0.noted.get()
    }

    /// None as long as nobody looked.
    pub(super) fn caller(&self) -> Option<&str> {
        let caller = self.0.caller.get()?;
        Some(caller.as_deref().unwrap_or(ANONYMOUS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_known_or_anonymous_only_once_somebody_looked() {
        let notes = Notes::default();
        assert_eq!(notes.caller(), None);
        notes.called_by(None);
        assert_eq!(notes.caller(), Some("anonymous"));
        let notes = Notes::default();
        notes.called_by(Some("dns:bot".into()));
        assert_eq!(notes.clone().caller(), Some("dns:bot"));
    }
}
