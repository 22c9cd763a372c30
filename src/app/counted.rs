//! What the kit tells of itself: counted as metrics, and kept for health and the status page.

use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::metrics::Meter;

use super::circuits::Circuits;
use crate::telemetry::client::{self, ClientMetrics, Request};
use crate::telemetry::recent::{Outcome, Recent};
use crate::upstream::breaker::BreakerState;
use crate::upstream::observer::{Attempt, CANCELLED, Observer};
use crate::upstream::operation::Vendor;
use crate::vendors::{aicc, genesys};

pub(crate) struct Counted {
    metrics: ClientMetrics,
    recent: Recent,
    circuits: Circuits,
}

impl Counted {
    pub(crate) fn new(meter: &Meter, recent: Recent) -> Self {
        Counted {
            metrics: ClientMetrics::new(meter),
            recent,
            circuits: Circuits::new([genesys::Genesys::NAME, aicc::Aicc::NAME]),
        }
    }

    pub(super) fn circuits(&self) -> &Circuits {
        &self.circuits
    }
}

impl Observer for Counted {
    fn inject(&self, span: &Context, headers: &mut HeaderMap) {
        client::inject(span, headers);
    }

    fn attempt(&self, attempt: &Attempt<'_>) {
        let outcome = attempt.error.unwrap_or("ok");
        self.metrics
            .record_attempt(attempt.vendor, attempt.meta.name, outcome);
        self.metrics.record_request(&Request {
            method: method(attempt),
            address: &attempt.server.address,
            port: attempt.server.port,
            template: attempt.server.template(attempt.meta),
            status: attempt.status,
            error: attempt.error,
            duration: attempt.duration,
        });
        if !genesys::is_held(attempt.meta) {
            self.recent
                .attempt(attempt.vendor, health(attempt), attempt.duration);
        }
    }

    fn retry(&self, vendor: &'static str, reason: &'static str) {
        self.metrics.record_retry(vendor, reason);
    }

    fn retry_refusals(&self, vendor: &'static str, more: u64) {
        self.metrics.record_retry_refusals(vendor, more);
    }

    fn breaker(&self, vendor: &'static str, state: BreakerState) {
        self.circuits.tell(vendor, state);
        let closed = state == BreakerState::Closed;
        self.recent.breaker(vendor, closed);
    }

    fn account(&self, vendor: &'static str, account: &str, results: &[&'static str]) {
        // Series that are there from the start can be alerted on.
        for result in results {
            self.metrics.record_refreshes(vendor, account, result, 0);
        }
    }

    fn login(&self, vendor: &'static str, account: &str, result: &'static str) {
        self.metrics.record_refreshes(vendor, account, result, 1);
        self.recent.login(vendor, account, result);
    }

    fn queue_refusals(&self, vendor: &'static str, more: u64) {
        self.metrics.record_queue_refusals(vendor, more);
    }

    fn tls_failures(&self, vendor: &'static str, more: u64) {
        self.metrics.record_tls_failures(vendor, more);
    }
}

/// A no to what was asked is no sign of illness; refused credentials, a limit or no answer are.
fn health(attempt: &Attempt<'_>) -> Outcome {
    match attempt.error {
        None => Outcome::Ok,
        Some("refused") => Outcome::Refused,
        Some(CANCELLED) => Outcome::Cancelled,
        Some(_) => Outcome::Failed,
    }
}

fn method(attempt: &Attempt<'_>) -> &'static str {
    match attempt.meta.method {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        _ => "_OTHER",
    }
}
