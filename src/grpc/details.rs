//! Builds the errors that callers see: rich details, within a budget of bytes.
//!
//! Clients refuse header lists over a limit of theirs (8 KiB in most), and then report a
//! protocol error in place of ours. So all trailers together stay below 4 KiB.

use std::collections::HashMap;
use std::time::Duration;

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::pb::ErrorReason;

/// The `domain` of every `ErrorInfo`.
const DOMAIN: &str = "contactcenter.v1";

/// The message as it travels, percent-encoded.
const LONGEST_MESSAGE: usize = 1024;

/// All trailers together, counted as HTTP/2 does (RFC 9113, section 6.5.2).
const TRAILERS: usize = 4096;

/// What everything but the message and the details takes: names, fixed values, the longest
/// request id, and 32 bytes of overhead for each.
const FIXED: usize = 640;

/// Type URLs, tags and lengths of the details, and those that do not vary.
const FRAME: usize = 300;

/// The longest value in `ErrorInfo.metadata`, in characters.
const LONGEST_FACT: usize = 64;

const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// An error on its way to the caller.
pub(super) struct Rejection {
    code: Code,
    message: String,
    /// Follows the message, however long that is; plain ASCII.
    advice: &'static str,
    reason: ErrorReason,
    facts: HashMap<String, String>,
    retry_after: Option<Duration>,
    pushback: Option<Pushback>,
    quota: Option<String>,
    violations: Vec<FieldViolation>,
    /// How many more there are that are not among them.
    further: usize,
}

/// What a client that retries on its own is told (gRFC A6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushback {
    After(Duration),
    Never,
}

/// A reason as it travels: the enum's name without the part that all values share.
pub(super) fn name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

impl Rejection {
    pub(super) fn new(code: Code, reason: ErrorReason, message: impl Into<String>) -> Self {
        Rejection {
            code,
            message: message.into(),
            advice: "",
            reason,
            facts: HashMap::new(),
            retry_after: None,
            pushback: None,
            quota: None,
            violations: Vec::new(),
            further: 0,
        }
    }

    pub(super) fn advice(mut self, advice: &'static str) -> Self {
        self.advice = advice;
        self
    }

    pub(super) fn fact(mut self, name: &str, value: &dyn std::fmt::Display) -> Self {
        let value = value.to_string().chars().take(LONGEST_FACT).collect();
        self.facts.insert(name.to_owned(), value);
        self
    }

    pub(super) fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    pub(super) fn pushback(mut self, pushback: Option<Pushback>) -> Self {
        self.pushback = pushback;
        self
    }

    /// Names whose quota is spent.
    pub(super) fn quota(mut self, subject: Option<String>) -> Self {
        self.quota = subject;
        self
    }

    /// As many as fit are told, and of the others and the `further` ones how many they are.
    pub(super) fn violations(mut self, violations: Vec<FieldViolation>, further: usize) -> Self {
        self.violations = violations;
        self.further = further;
        self
    }

    pub(super) fn into_status(self) -> Status {
        let mut details = ErrorDetails::new();
        let reason = name(self.reason);
        let facts = self
            .facts
            .iter()
            .map(|(k, v)| k.len() + v.len() + 8)
            .sum::<usize>();
        details.set_error_info(reason, DOMAIN, self.facts);
        if let Some(wait) = self.retry_after {
            details.set_retry_info(Some(wait));
        }
        if let Some(subject) = self.quota {
            details.add_quota_failure_violation(subject, "the vendor limits the rate");
        }
        let longest = LONGEST_MESSAGE - 32 - self.advice.len();
        let mut message = cut_encoded(&self.message, longest) + self.advice;
        if !self.violations.is_empty() {
            let (fitting, left) = fit(self.violations, room(&message, facts));
            let left = left + self.further;
            if left > 0 {
                message.push_str(&format!("; {left} more not shown"));
            }
            details.set_bad_request(fitting);
        }
        let mut metadata = MetadataMap::new();
        if let Some(pushback) = self.pushback {
            metadata.insert(PUSHBACK, pushback.value());
        }
        Status::with_error_details_and_metadata(self.code, message, details, metadata)
    }
}

impl Pushback {
    fn value(self) -> tonic::metadata::AsciiMetadataValue {
        match self {
            Pushback::Never => tonic::metadata::AsciiMetadataValue::from_static("-1"),
            // Never 0: gRPC's C core, which is Python's, C++'s and Ruby's, then neither repeats the call
            // nor ends it before its deadline.
            Pushback::After(wait) => match i32::try_from(wait.as_millis().max(1)) {
                Ok(millis) => millis.into(),
                // More than the protocol has numbers for, some 24 days.
                Err(_) => Pushback::Never.value(),
            },
        }
    }
}

/// How many bytes of details are left for violations, before base64.
fn room(message: &str, facts: usize) -> usize {
    let encoded = message.chars().map(encoded_len).sum::<usize>() + 32;
    let details = TRAILERS.saturating_sub(FIXED + encoded) / 4 * 3;
    details.saturating_sub(message.len() + facts + FRAME)
}

/// As many violations as fit into `room` bytes, and how many do not.
fn fit(violations: Vec<FieldViolation>, mut room: usize) -> (Vec<FieldViolation>, usize) {
    let all = violations.len();
    let fits = |violation: &FieldViolation| {
        // 16 bytes for tags and lengths are more than Protobuf needs.
        let size = violation.field.len() + violation.description.len() + 16;
        let fits = size <= room;
        if fits {
            room -= size;
        }
        fits
    };
    let fitting: Vec<_> = violations.into_iter().filter(fits).collect();
    let left = all - fitting.len();
    (fitting, left)
}

/// The longest beginning of `text` that takes at most `longest` bytes when percent-encoded.
fn cut_encoded(text: &str, longest: usize) -> String {
    let mut used = 0;
    text.chars()
        .take_while(|c| {
            used += encoded_len(*c);
            used <= longest
        })
        .collect()
}

/// The bytes that a character takes in `grpc-message`.
fn encoded_len(c: char) -> usize {
    match c {
        '%' => 3,
        ' '..='~' => 1,
        c => 3 * c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The size of a status as HTTP/2 counts it, with the metadata that every response has.
    fn trailers(status: &Status) -> usize {
        let mut headers = status
            .clone()
            .into_http::<tonic::body::Body>()
            .headers()
            .clone();
        headers.insert(
            "x-request-id",
            http::HeaderValue::from_str(&"r".repeat(128)).unwrap(),
        );
        headers.insert("x-switchboard-attempts", 3.into());
        headers.insert(
            "date",
            http::HeaderValue::from_str(&"d".repeat(29)).unwrap(),
        );
        headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 32)
            .sum()
    }

    fn violation(field: String, description: String) -> FieldViolation {
        FieldViolation::new(field, description)
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let violations = (0..500)
            .map(|n| violation(format!("user_data.{n}"), "must not be null".into()))
            .collect();
        let status = Rejection::new(Code::InvalidArgument, ErrorReason::InvalidField, "bad")
            .violations(violations, 0)
            .into_status();
        let shown = status
            .get_details_bad_request()
            .unwrap()
            .field_violations
            .len();
        assert!(shown > 10);
        assert_eq!(
            status.message(),
            format!("bad; {} more not shown", 500 - shown)
        );
    }

    #[test]
    fn a_small_violation_fits_behind_a_giant_one() {
        let violations = vec![
            violation("user_data.".to_owned() + &"k".repeat(60_000), "no".into()),
            violation("session_id".into(), "is empty".into()),
        ];
        let (fitting, left) = fit(violations, 2000);
        assert_eq!(left, 1);
        assert_eq!(fitting[0].field, "session_id");
    }

    /// gRFC A6 has a number of 32 bits there: what clients make of a longer one differs.
    #[test]
    fn a_pushback_beyond_the_protocols_numbers_is_never() {
        for (millis, told) in [
            (0, "1"),
            (1500, "1500"),
            (2_147_483_647, "2147483647"),
            (2_147_483_648, "-1"),
        ] {
            let wait = Duration::from_millis(millis);
            assert_eq!(Pushback::After(wait).value(), told);
        }
        assert_eq!(Pushback::After(Duration::MAX).value(), "-1");
    }

    proptest! {
        #[test]
        fn trailers_stay_within_their_budget(
            message in ".{0,3000}",
            fields in prop::collection::vec((".{0,300}", ".{0,100}"), 0..60),
            fact in ".{0,64}",
        ) {
            let violations = fields.into_iter().map(|(f, d)| violation(f, d)).collect();
            let status = Rejection::new(Code::InvalidArgument, ErrorReason::InvalidField, message)
                .fact("vendor", &"genesys")
                .fact("vendorCode", &fact)
                .fact("vendorStatus", &503)
                .fact("attempts", &3)
                .retry_after(Some(Duration::from_millis(1500)))
                .pushback(Some(Pushback::After(Duration::from_secs(100_000))))
                .violations(violations, 0)
                .into_status();
            prop_assert!(status.message().len() <= 1024);
            prop_assert!(trailers(&status) <= 4096, "{}", trailers(&status));
        }
    }
}
