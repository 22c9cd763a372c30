//! User data of callers: what is allowed goes out as JSON, and comes back from it as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchboard::fuzzing::user_data(bytes));
