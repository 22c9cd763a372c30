//! The vendor's answers, for the fuzzer.

use http::Method;

use super::{Aicc, auth, wire};
use crate::upstream::fuzzing::{failure, reply};
use crate::upstream::operation::{Meta, Replay, Vendor};

static META: Meta = Meta {
    name: "Fuzzed",
    method: Method::POST,
    template: "/",
    replay: Replay::Once,
    creates: true,
};

/// An answer to a call and to a login, under each kind of HTTP status; a no must make a status
/// for the caller.
pub(crate) fn answer(bytes: &[u8]) {
    for status in [200, 302, 400, 403, 409, 429, 500, 503] {
        let reply = reply(status, bytes);
        auth::take_in(&reply);
        match Aicc::judge(&META, reply) {
            Ok(reply) => {
                let _ = wire::Written::of(&reply);
                let _ = wire::read::<wire::Record>(&reply).map(wire::Record::into_settings);
            }
            Err(error) => drop(tonic::Status::from(failure(Aicc::NAME, error))),
        }
    }
}
