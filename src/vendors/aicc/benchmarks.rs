//! The parts of a call that are this vendor's.

use std::sync::Arc;

use super::agent_settings::benchmarks::{create, delete, get, update};
use crate::upstream::benchmarks::{Part, calls, decode, encode};
use crate::upstream::observer::Observer;

const WRITTEN: &str = r#"{"returnCode":"0","returnDesc":"operation success",
    "id":"8ab4a1d8-0a8c-4a1b-9d4b-1c1f5b0d7c11"}"#;

const FOUND: &str = r#"{"returnCode":"0","returnDesc":"operation success","userId":"4711",
    "id":"8ab4a1d8-0a8c-4a1b-9d4b-1c1f5b0d7c11","callType":"2",
    "callerPresent":["02155550100"],"callNumber":["02155550101","02155550102"],
    "callNumberDefault":"02155550101","callerPresentDefault":"02155550100"}"#;

pub(crate) fn parts(measured: &Arc<dyn Observer>) -> Vec<Part> {
    let named = ["stack: create", "stack: create, measured"];
    let mut parts = Vec::from(calls(named, create, WRITTEN, measured));
    parts.extend([
        encode("encode: create", create()),
        encode("encode: update", update()),
        encode("encode: query", get()),
        encode("encode: delete", delete()),
        decode("decode: create", create(), WRITTEN),
        decode("decode: update", update(), WRITTEN),
        decode("decode: query", get(), FOUND),
        decode("decode: delete", delete(), WRITTEN),
    ]);
    parts
}
