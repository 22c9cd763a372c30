//! Entrances for the fuzzer: what reads the vendor's bytes must neither panic nor hang on any.
//! Built for it and for the tests only, which feed its corpus through.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::{Genesys, notifications, sms_session_data};
use crate::upstream::operation::{Meta, Replay, Reply, Vendor};

static META: Meta = Meta {
    name: "Fuzzed",
    method: Method::GET,
    template: "/",
    replay: Replay::Safe,
    creates: false,
};

/// An answer of the CometD server.
pub fn notifications(bytes: &[u8]) {
    notifications::take_in(bytes);
}

/// An answer to a call, under each kind of HTTP status.
pub fn answer(bytes: &[u8]) {
    for status in [200, 302, 400, 403, 500, 503] {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(bytes),
        };
        if let Ok(reply) = Genesys::judge(&META, reply) {
            sms_session_data::take_in(&reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    /// What the fuzzer begins with, and what it once found.
    #[test]
    fn the_corpus_is_survived() {
        let mut fed = 0;
        for (folder, feed) in [
            ("bayeux", super::notifications as fn(&[u8])),
            ("sessions", super::answer),
        ] {
            let corpus = format!("{}/fuzz/corpus/{folder}", env!("CARGO_MANIFEST_DIR"));
            for entry in fs::read_dir(corpus).unwrap() {
                feed(&fs::read(entry.unwrap().path()).unwrap());
                fed += 1;
            }
        }
        assert!(fed >= 5);
    }
}
