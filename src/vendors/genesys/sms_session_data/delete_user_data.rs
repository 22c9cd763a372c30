//! DeleteUserData: removes the named keys. Twice gives the same state as once.
//!
//! On voice the operation of the same name takes no keys and wipes everything. So a request
//! without keys is refused twice: by validation, and here by building none.

use bytes::Bytes;
use http::{Method, Request};
use serde::Serialize;

use super::write::{self, Accepted, Write};
use crate::grpc::validate::Violations;
use crate::pb::{DeleteUserDataRequest, SmsSession};
use crate::upstream::error::Error;
use crate::upstream::operation::{Meta, Operation, Replay, Reply};
use crate::vendors::genesys::Genesys;

pub(super) struct DeleteUserData(pub(super) DeleteUserDataRequest);

#[derive(Serialize)]
struct Keys<'a> {
    keys: &'a [String],
}

/// At least one key, none empty, none twice.
pub(super) fn check(keys: &[String], violations: &mut Violations) {
    violations.check(!keys.is_empty(), "keys", "must not be empty");
    violations.distinct("keys", keys, |key| {
        key.is_empty().then_some("must not be empty")
    });
}

impl Operation for DeleteUserData {
    type Vendor = Genesys;
    type Output = Accepted;
    const META: Meta = Meta {
        name: "DeleteUserData",
        method: Method::POST,
        template: write::TEMPLATE,
        replay: Replay::Idempotent,
        creates: false,
    };

    fn request(&self) -> Result<Request<Bytes>, Error> {
        let keys = self.0.keys.as_slice();
        if keys.is_empty() {
            return Err(Error::Unbuildable {
                cause: "a delete without keys".to_owned(),
            });
        }
        write::request(&Self::META, &self.0.session_id, Keys { keys })
    }

    fn decode(&self, reply: &Reply) -> Result<Accepted, Error> {
        write::accepted(reply)
    }
}

impl Write for DeleteUserData {
    const SHOWN_BY_ABSENCE: bool = true;

    fn session_id(&self) -> &str {
        &self.0.session_id
    }

    fn is_in_place(&self, session: &SmsSession) -> bool {
        let held = session.user_data.as_ref();
        held.is_none_or(|held| self.0.keys.iter().all(|key| !held.fields.contains_key(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_keys_there_is_no_request() {
        let empty = DeleteUserData(DeleteUserDataRequest::default());
        assert!(matches!(empty.request(), Err(Error::Unbuildable { .. })));
    }
}
