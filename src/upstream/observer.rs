//! What the kit tells about itself; the telemetry implements it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::{Context, StringValue};

use super::breaker::BreakerState;
use super::operation::Meta;

/// Told of everything that an operator counts. Every method must be cheap: all run on the hot path.
pub trait Observer: Send + Sync + 'static {
    /// Adds the trace context of a span to a request on its way out.
    fn inject(&self, span: &Context, headers: &mut HeaderMap);

    /// An attempt, or a login, ended.
    fn attempt(&self, attempt: &Attempt<'_>);

    /// A request is sent again, for this reason.
    fn retry(&self, vendor: &'static str, reason: &'static str);

    /// So many calls more were not sent again, as a vendor's retry budget was spent.
    fn retry_refusals(&self, vendor: &'static str, more: u64);

    /// A vendor's circuit breaker is in this state now.
    fn breaker(&self, vendor: &'static str, state: BreakerState);

    /// There is such an account; each of its logins will end in one of these results.
    fn account(&self, vendor: &'static str, account: &str, results: &[&'static str]);

    /// A login ended.
    fn login(&self, vendor: &'static str, account: &str, result: &'static str);

    /// So many calls more found a vendor's queue full.
    fn queue_refusals(&self, vendor: &'static str, more: u64);

    /// A vendor's TLS files could not be used so many times more.
    fn tls_failures(&self, vendor: &'static str, more: u64);
}

/// How an attempt ended that nobody waited for any longer: in place of an error.
pub const CANCELLED: &str = "cancelled";

/// One request and how it ended.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub vendor: &'static str,
    pub meta: &'static Meta,
    pub server: &'a Server,
    pub status: Option<u16>,
    /// `None` when the vendor accepted.
    pub error: Option<&'static str>,
    pub duration: Duration,
}

/// Where requests go, as telemetry names it.
#[derive(Debug, Clone)]
pub struct Server {
    pub address: Arc<str>,
    pub port: u16,
    /// Scheme, authority and path prefix; a template is appended for `url.full`.
    pub base: String,
    /// In place of the operations' templates, where the configuration says what is asked.
    pub path: Option<Arc<str>>,
}

impl Server {
    /// What is asked, before its parameters are filled in.
    pub fn template(&self, meta: &Meta) -> StringValue {
        match &self.path {
            Some(path) => Arc::clone(path).into(),
            None => meta.template.into(),
        }
    }
}

/// Watches nothing: for tests.
#[derive(Debug, Clone, Copy)]
pub struct Blind;

impl Observer for Blind {
    fn inject(&self, _: &Context, _: &mut HeaderMap) {}
    fn attempt(&self, _: &Attempt<'_>) {}
    fn retry(&self, _: &'static str, _: &'static str) {}
    fn retry_refusals(&self, _: &'static str, _: u64) {}
    fn breaker(&self, _: &'static str, _: BreakerState) {}
    fn account(&self, _: &'static str, _: &str, _: &[&'static str]) {}
    fn login(&self, _: &'static str, _: &str, _: &'static str) {}
    fn queue_refusals(&self, _: &'static str, _: u64) {}
    fn tls_failures(&self, _: &'static str, _: u64) {}
}
