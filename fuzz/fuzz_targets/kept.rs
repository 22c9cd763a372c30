//! Results of writes as they are kept in a shared Redis.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchboard::fuzzing::kept(bytes));
