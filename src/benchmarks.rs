//! Entrances for `benches/layers`: the parts that a call is made of, each to be run alone, with
//! no network. Built with the feature `benchmarks` only.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use opentelemetry::Context;
use tonic::Status;

use crate::telemetry::Metrics;
use crate::telemetry::client::{ClientMetrics, Request, inject};
pub use crate::upstream::benchmarks::Part;
use crate::upstream::breaker::BreakerState;
use crate::upstream::error::{Answer, Error, Failure, Refusal};
use crate::upstream::observer::{Attempt, Observer};
use crate::upstream::operation::Replay;
use crate::{upstream, vendors};

/// All of them; every name is there once.
#[must_use]
pub fn parts() -> Vec<Part> {
    let measured: Arc<dyn Observer> = Arc::new(Measuring::new());
    let mut parts = upstream::benchmarks::parts();
    parts.extend([refused(), outcome_unknown()]);
    parts.extend(vendors::genesys::benchmarks::parts(&measured));
    parts.extend(vendors::aicc::benchmarks::parts(&measured));
    parts
}

/// An error as the caller gets it: code, message, details.
fn refused() -> Part {
    Part::new("error: refused by the vendor", || {
        let answer = Answer {
            status: StatusCode::BAD_REQUEST,
            code: Some("2".to_owned()),
            text: "a value is missing".to_owned(),
        };
        let meaning = Refusal::Invalid;
        status(Error::Refused { meaning, answer }, Replay::Idempotent)
    })
}

fn outcome_unknown() -> Part {
    Part::new("error: outcome unknown", || {
        let cause = "connection reset by peer".to_owned();
        status(Error::Lost { cause }, Replay::Once)
    })
}

fn status(error: Error, replay: Replay) -> Status {
    Status::from(Failure {
        vendor: "vendor",
        operation: "operation",
        replay,
        error,
        sent: 1,
        in_doubt: true,
        was_in_doubt: false,
        budget_spent: false,
    })
}

/// Measures what every call of the gateway measures at its vendor.
struct Measuring(ClientMetrics);

impl Measuring {
    fn new() -> Self {
        let metrics = Metrics::new().expect("metrics");
        let client = ClientMetrics::new(&metrics.meter());
        // They end with their provider, which the process keeps to its end.
        std::mem::forget(metrics);
        Measuring(client)
    }
}

impl Observer for Measuring {
    fn inject(&self, span: &Context, headers: &mut HeaderMap) {
        inject(span, headers);
    }

    fn attempt(&self, attempt: &Attempt<'_>) {
        let outcome = attempt.error.unwrap_or("ok");
        self.0
            .record_attempt(attempt.vendor, attempt.meta.name, outcome);
        self.0.record_request(&Request {
            method: "POST",
            address: &attempt.server.address,
            port: attempt.server.port,
            template: attempt.server.template(attempt.meta),
            status: attempt.status,
            error: attempt.error,
            duration: attempt.duration,
        });
    }

    fn retry(&self, _: &'static str, _: &'static str) {}

    fn breaker(&self, _: &'static str, _: BreakerState) {}

    fn login(&self, _: &'static str, _: &str, _: &'static str) {}

    fn tls_failures(&self, _: &'static str, _: u64) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    /// A part that could not do its work would be measured as a fast one.
    #[test]
    fn every_part_runs_and_has_a_name_of_its_own() {
        let mut names = HashSet::new();
        for mut part in super::parts() {
            (part.run)();
            (part.run)();
            assert!(names.insert(part.name), "{} is there twice", part.name);
        }
        assert!(names.len() >= 20, "{names:?}");
    }
}
