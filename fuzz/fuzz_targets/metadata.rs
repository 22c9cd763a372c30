//! Callers' metadata: their timeout, their request id, and whether they repeat.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchboard::fuzzing::metadata(bytes));
