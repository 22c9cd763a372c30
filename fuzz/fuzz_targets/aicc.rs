//! Answers of AICC: its token, its envelope, records, and the HTTP errors of what is in front.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchboard::fuzzing::aicc(bytes));
