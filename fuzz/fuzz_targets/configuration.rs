//! The operator's YAML: what loads is printed as what loads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchboard::fuzzing::configuration(bytes));
