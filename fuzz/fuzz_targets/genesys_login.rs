//! Answers to an agent's login: cookies, the CSRF header, and whether it is a yes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchboard::fuzzing::genesys_login(bytes));
