//! Answers of the vendor's CometD server: every message, its advice, and every event in it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchboard::fuzzing::bayeux(bytes));
