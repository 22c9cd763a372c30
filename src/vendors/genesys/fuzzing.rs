//! The vendor's answers, and callers' user data, for the fuzzer.

use http::Method;
use prost::Message;
use prost_types::Struct;

use super::config::Account;
use super::{Genesys, auth, notifications, sms_session_data};
use crate::upstream::fuzzing::{failure, reply};
use crate::upstream::operation::{Meta, Replay, Vendor};
use crate::upstream::secret::Secret;

static META: Meta = Meta {
    name: "Fuzzed",
    method: Method::GET,
    template: "/",
    replay: Replay::Safe,
    creates: false,
};

/// An answer of the CometD server.
pub(crate) fn notifications(bytes: &[u8]) {
    notifications::take_in(bytes);
}

/// An answer to a call, under each kind of HTTP status; a no must make a status for the caller.
pub(crate) fn answer(bytes: &[u8]) {
    for status in [200, 302, 400, 403, 429, 500, 503] {
        match Genesys::judge(&META, reply(status, bytes)) {
            Ok(reply) => sms_session_data::take_in(&reply),
            Err(error) => drop(tonic::Status::from(failure(Genesys::NAME, error))),
        }
    }
}

/// An answer to a login, and the request that is signed with what it gave.
pub(crate) fn login(bytes: &[u8]) {
    let account = Account {
        username: "agent".to_owned(),
        password: Secret::fixed("hunter2-and-more"),
    };
    auth::take_in(&account, &reply(200, bytes));
}

/// An encoded Struct; what may be sent must be JSON of the same content.
pub(crate) fn user_data(bytes: &[u8]) {
    if let Ok(data) = Struct::decode(bytes) {
        sms_session_data::take_in_data(&data);
    }
}
