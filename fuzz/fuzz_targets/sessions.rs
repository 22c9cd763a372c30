//! Answers of the vendor to calls: yes or no, sessions with their user data, accepted writes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchboard::fuzzing::sessions(bytes));
