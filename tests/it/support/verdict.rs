//! What an error is expected to carry, and how its details are read.

use std::collections::BTreeSet;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::calls::Call;
use super::{attempts, fact, reason};

/// The part of an error that the contract's table fixes; empty facts are expected to be missing.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    pub code: Code,
    pub reason: &'static str,
    pub status: &'static str,
    pub vendor_code: &'static str,
    pub attempts: u32,
}

impl Verdict {
    pub fn new(code: Code, reason: &'static str) -> Verdict {
        Verdict {
            code,
            reason,
            status: "",
            vendor_code: "",
            attempts: 1,
        }
    }

    #[must_use]
    pub fn status(self, status: &'static str) -> Verdict {
        Verdict { status, ..self }
    }

    #[must_use]
    pub fn vendor_code(self, vendor_code: &'static str) -> Verdict {
        Verdict {
            vendor_code,
            ..self
        }
    }

    #[must_use]
    pub fn attempts(self, attempts: u32) -> Verdict {
        Verdict { attempts, ..self }
    }

    /// Holds an error of `call` against it.
    #[track_caller]
    pub fn check(&self, call: Call, error: &Status) {
        let seen = (
            error.code(),
            reason(error),
            fact(error, "vendorStatus"),
            fact(error, "vendorCode"),
            attempts(error.metadata()),
        );
        let expected = (
            self.code,
            self.reason.to_owned(),
            self.status.to_owned(),
            self.vendor_code.to_owned(),
            self.attempts,
        );
        assert_eq!(seen, expected, "{call:?}: {error:?}");
        assert_eq!(fact(error, "vendor"), call.vendor());
        assert_eq!(fact(error, "attempts"), self.attempts.to_string());
        assert!(trailers(error) <= 4096, "{call:?}: {error:?}");
    }
}

/// `grpc-retry-pushback-ms`, where there is one.
pub fn pushback(error: &Status) -> Option<&str> {
    let value = error.metadata().get("grpc-retry-pushback-ms")?;
    Some(value.to_str().unwrap())
}

/// The delay of the error's RetryInfo, where there is one.
pub fn retry_info(error: &Status) -> Option<Duration> {
    error.get_details_retry_info()?.retry_delay
}

/// The fields that the error's BadRequest names, each of them once.
pub fn wrong_fields(error: &Status) -> BTreeSet<String> {
    let details = error.get_details_bad_request().expect("a BadRequest");
    let named = details.field_violations.len();
    let violations = details.field_violations.into_iter();
    let fields: BTreeSet<_> = violations.map(|violation| violation.field).collect();
    assert_eq!(fields.len(), named, "a field is named twice: {error:?}");
    fields
}

/// The size of all trailers as HTTP/2 counts it.
pub fn trailers(error: &Status) -> usize {
    let response = error.clone().into_http::<tonic::body::Body>();
    response
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

/// Everything that the caller gets to see of an error, as text; but for the request id, in which
/// any digits may be.
pub fn all_words(error: &Status) -> String {
    let details = String::from_utf8_lossy(error.details());
    let mut metadata = error.metadata().clone();
    metadata.remove("x-request-id");
    format!("{} {metadata:?} {details}", error.message())
}
