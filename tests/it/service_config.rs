//! The service config that clients load says of every method what the protos say of it: what may
//! be repeated without harm is repeated when the gateway is unavailable, and nothing else is.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;
use serde_json::Value;
use switchboard::pb;

const CONFIG: &str = include_str!("../../docs/service-config.json");

/// Every method of the protos, and whether it may be repeated.
fn methods() -> BTreeMap<(String, String), bool> {
    let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    let mut methods = BTreeMap::new();
    for file in set.file {
        for service in file.service {
            let name = format!("{}.{}", file.package.as_deref().unwrap(), service.name());
            for method in service.method {
                let level = method.options.clone().unwrap_or_default();
                let repeatable = level.idempotency_level() != IdempotencyLevel::IdempotencyUnknown;
                methods.insert((name.clone(), method.name().to_owned()), repeatable);
            }
        }
    }
    methods
}

/// Every method of the service config, with the entry that it is named in.
fn configured() -> Vec<((String, String), Value)> {
    let config: Value = serde_json::from_str(CONFIG).unwrap();
    let mut found = Vec::new();
    for entry in config["methodConfig"].as_array().unwrap() {
        for name in entry["name"].as_array().unwrap() {
            let part = |key: &str| name[key].as_str().unwrap().to_owned();
            found.push(((part("service"), part("method")), entry.clone()));
        }
    }
    found
}

#[test]
fn every_method_is_named_once_and_none_that_does_not_exist() {
    let mut named: Vec<_> = configured().into_iter().map(|(name, _)| name).collect();
    named.sort();
    let existing: Vec<_> = methods().into_keys().collect();
    assert_eq!(named, existing);
}

#[test]
fn exactly_the_idempotent_methods_are_retried_and_only_when_unavailable() {
    let methods = methods();
    for (name, entry) in configured() {
        let policy = entry.get("retryPolicy");
        assert_eq!(policy.is_some(), methods[&name], "{name:?}");
        if let Some(policy) = policy {
            let codes = &policy["retryableStatusCodes"];
            assert_eq!(*codes, serde_json::json!(["UNAVAILABLE"]), "{name:?}");
        }
    }
}

/// A timeout of the config would end a stream that has no end of its own.
#[test]
fn every_call_but_the_stream_has_a_deadline() {
    for ((_, method), entry) in configured() {
        let expected = method != "WatchSessions";
        assert_eq!(entry.get("timeout").is_some(), expected, "{method}");
    }
}
