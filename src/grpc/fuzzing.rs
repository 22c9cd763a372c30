//! What callers and the shared store give, for the fuzzer.

use super::{deadline, dedupe, inbound};
use crate::upstream::fuzzing::headers;

/// Lines of metadata.
pub(crate) fn metadata(bytes: &[u8]) {
    let headers = headers(bytes);
    deadline::take_in(&headers);
    inbound::take_in(headers);
}

/// A kept result; what can be read must come back when it is kept again.
pub(crate) fn kept(bytes: &[u8]) {
    dedupe::take_in(bytes);
}
