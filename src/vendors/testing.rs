//! What the tests of the vendors share.

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;

use crate::pb;
use crate::upstream::operation::Replay;

/// Asserts that each rpc of a service promises callers what its operation does: that they may
/// repeat it exactly where the gateway itself does. Fails for an rpc that is not listed, and
/// for a listed one that does not exist.
pub(super) fn assert_promises(service: &str, operations: &[(&str, Replay)]) {
    let promised = promises(service);
    assert!(!promised.is_empty(), "no service {service}");
    for (rpc, replay) in &promised {
        let listed = operations.iter().find(|(name, _)| name == rpc);
        let (_, does) = listed.unwrap_or_else(|| panic!("{rpc}: list its operation"));
        assert_eq!(
            does, replay,
            "{rpc}: idempotency_level and META.replay differ"
        );
    }
    for (rpc, _) in operations {
        let exists = promised.iter().any(|(name, _)| name == rpc);
        assert!(exists, "{rpc} is no rpc of {service}");
    }
    assert_eq!(promised.len(), operations.len(), "one is listed twice");
}

/// Every rpc with what its `idempotency_level` says.
fn promises(service: &str) -> Vec<(String, Replay)> {
    let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    let services = set.file.into_iter().flat_map(|file| file.service);
    let found = services.filter(|it| it.name() == service);
    found
        .flat_map(|it| it.method)
        .map(|method| {
            let options = method.options.clone().unwrap_or_default();
            let replay = match options.idempotency_level() {
                IdempotencyLevel::IdempotencyUnknown => Replay::Once,
                IdempotencyLevel::Idempotent => Replay::Idempotent,
                IdempotencyLevel::NoSideEffects => Replay::Safe,
            };
            (method.name().to_owned(), replay)
        })
        .collect()
}

#[test]
#[should_panic(expected = "list its operation")]
fn an_rpc_without_an_operation_is_missed() {
    assert_promises("AgentSettings", &[("CreateAgentSettings", Replay::Once)]);
}

#[test]
#[should_panic(expected = "CreateAgentSettings: idempotency_level and META.replay differ")]
fn a_broken_promise_is_seen() {
    assert_promises("AgentSettings", &[("CreateAgentSettings", Replay::Safe)]);
}
