//! Entrances for `benches/layers`: the parts that a call is made of, each to be run alone, with
//! no network. Built with the feature `benchmarks` only.

use std::sync::Arc;

use http::StatusCode;
use tonic::Status;

use crate::app::Counted;
use crate::telemetry::Metrics;
use crate::telemetry::recent::Recent;
pub use crate::upstream::benchmarks::Part;
use crate::upstream::error::{Answer, Error, Failure, Refusal};
use crate::upstream::observer::Observer;
use crate::upstream::operation::Replay;
use crate::{upstream, vendors};

/// All of them; every name is there once.
#[must_use]
pub fn parts() -> Vec<Part> {
    let metrics = Metrics::new().expect("metrics");
    let recent = Recent::new(Vec::<(_, Vec<String>)>::new());
    let measured: Arc<dyn Observer> = Arc::new(Counted::new(&metrics.meter(), recent));
    // They end with their provider, which the process keeps to its end.
    std::mem::forget(metrics);
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
        sent: 1,
        in_doubt: true,
        ..Failure::unsent("vendor", "operation", replay, error)
    })
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
