//! The newest calls that failed, for a person to look at.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tonic::Status;
use tonic_types::StatusExt as _;

/// How many are remembered.
pub const REMEMBERED: usize = 50;

/// A call that ended with an error. Nothing of its message or of the vendor's words is kept.
#[derive(Clone, Debug)]
pub struct FailedCall {
    pub at: SystemTime,
    pub method: Arc<str>,
    pub code: &'static str,
    pub took: Duration,
    pub details: Details,
    /// The caller's own, where it sent one: printable ASCII, and no more is known of it.
    pub request_id: Option<String>,
    pub attempts: Option<u64>,
    pub trace_id: Option<String>,
}

/// What the error's `ErrorInfo` says, as far as it has one. Whoever knows it beforehand may put it
/// among the extensions of the answer, so that it is not read out again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    pub reason: Option<String>,
    pub vendor: Option<String>,
    pub vendor_status: Option<u16>,
    pub vendor_code: Option<String>,
}

/// The newest [`REMEMBERED`].
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<FailedCall>);

impl Details {
    /// Of a status in headers or trailers.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let status = Status::from_header_map(headers);
        let Some(mut info) = status.and_then(|status| status.get_details_error_info()) else {
            return Details::default();
        };
        Details {
            reason: Some(info.reason),
            vendor: info.metadata.remove("vendor"),
            vendor_status: (info.metadata.get("vendorStatus"))
                .and_then(|status| status.parse().ok()),
            vendor_code: info.metadata.remove("vendorCode"),
        }
    }
}

impl Ring {
    pub(super) fn push(&mut self, call: FailedCall) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(call);
    }

    pub(super) fn newest_first(&self) -> Vec<FailedCall> {
        self.0.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tonic::Code;
    use tonic_types::ErrorDetails;

    fn call(number: usize) -> FailedCall {
        FailedCall {
            at: SystemTime::UNIX_EPOCH,
            method: "a.B/C".into(),
            code: "INTERNAL",
            took: Duration::ZERO,
            details: Details::default(),
            request_id: Some(number.to_string()),
            attempts: None,
            trace_id: None,
        }
    }

    #[test]
    fn the_oldest_make_room_for_the_newest() {
        let mut ring = Ring::default();
        assert!(ring.newest_first().is_empty());
        (0..REMEMBERED * 2 + 7).for_each(|number| ring.push(call(number)));
        let ids = ring.newest_first().into_iter().map(|it| it.request_id);
        let expected = (REMEMBERED + 7..REMEMBERED * 2 + 7).rev();
        assert!(ids.eq(expected.map(|number| Some(number.to_string()))));
    }

    #[test]
    fn details_are_read_as_far_as_they_are_there() {
        assert_eq!(Details::of(&HeaderMap::new()), Details::default());
        let bare = Status::internal("x").into_http::<()>();
        assert_eq!(Details::of(bare.headers()), Details::default());

        let metadata = [
            ("vendor", "aicc"),
            ("vendorStatus", "503"),
            ("vendorCode", "7"),
        ];
        let metadata: HashMap<_, _> = metadata.map(|(k, v)| (k.into(), v.into())).into();
        let info = ErrorDetails::with_error_info("VENDOR_UNAVAILABLE", "x", metadata);
        let status = Status::with_error_details(Code::Unavailable, "x", info).into_http::<()>();
        let details = Details::of(status.headers());
        assert_eq!(details.reason.as_deref(), Some("VENDOR_UNAVAILABLE"));
        assert_eq!(details.vendor.as_deref(), Some("aicc"));
        assert_eq!(details.vendor_status, Some(503));
        assert_eq!(details.vendor_code.as_deref(), Some("7"));
    }
}
