//! The gRPC status codes by the names that the conventions use.

use http::HeaderMap;

const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Below the length of [`NAMES`], always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(usize);

impl Code {
    pub(super) const OK: Self = Self(0);
    pub(super) const CANCELLED: Self = Self(1);
    pub(super) const UNKNOWN: Self = Self(2);
    pub(super) const INTERNAL: Self = Self(13);

    /// The status in headers or trailers, if they have one. One that is not
    /// understood is UNKNOWN, as it is for a client.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get("grpc-status")?;
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        let code = number.filter(|number| *number < NAMES.len()).map(Self);
        Some(code.unwrap_or(Self::UNKNOWN))
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[self.0]
    }

    /// Whether a server has to answer for it; the others are the caller's doing,
    /// and neither mark the span nor carry `error.type`.
    pub(super) fn is_failure(self) -> bool {
        matches!(
            self.name(),
            "UNKNOWN"
                | "DEADLINE_EXCEEDED"
                | "UNIMPLEMENTED"
                | "INTERNAL"
                | "UNAVAILABLE"
                | "DATA_LOSS"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: &str) -> Option<Code> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", status.parse().unwrap());
        Code::of(&headers)
    }

    #[test]
    fn reads_what_is_there_and_doubts_what_is_not_a_code() {
        assert_eq!(of("0").unwrap().name(), "OK");
        assert_eq!(of("16").unwrap().name(), "UNAUTHENTICATED");
        assert_eq!(of("17"), Some(Code::UNKNOWN));
        assert_eq!(of("-1"), Some(Code::UNKNOWN));
        assert_eq!(of("no"), Some(Code::UNKNOWN));
        assert_eq!(Code::of(&HeaderMap::new()), None);
    }

    #[test]
    fn six_codes_are_failures_of_the_server() {
        let failures: Vec<_> = (0..NAMES.len())
            .filter(|code| Code(*code).is_failure())
            .collect();
        assert_eq!(failures, [2, 4, 12, 13, 14, 15]);
        assert_eq!(Code::CANCELLED.name(), "CANCELLED");
        assert_eq!(Code::INTERNAL.name(), "INTERNAL");
    }
}
