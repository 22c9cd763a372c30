//! What callers' libraries are told to repeat agrees with what the protos promise.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;
use serde_json::Value;
use switchboard::pb;

const CONFIG: &str = include_str!("../../docs/service-config.json");

#[test]
fn it_names_every_method_once_and_no_other() {
    let config = config();
    let mut named: Vec<_> = entries(&config).flat_map(names).collect();
    named.sort();
    let methods: Vec<_> = methods().into_keys().collect();
    assert_eq!(named, methods);
}

#[test]
fn what_may_be_repeated_is_repeated_on_unavailable_alone() {
    let config = config();
    for (method, level) in methods() {
        let policy = policy(&config, &method);
        if level == IdempotencyLevel::IdempotencyUnknown {
            assert_eq!(
                policy, None,
                "{method} must not be repeated without request_id"
            );
        } else {
            let policy = policy.unwrap_or_else(|| panic!("{method} is not repeated"));
            let codes = &policy["retryableStatusCodes"];
            assert_eq!(*codes, serde_json::json!(["UNAVAILABLE"]), "{method}");
        }
    }
}

/// Libraries refuse a config that breaks these, or cut it to their own limit of five attempts.
#[test]
fn its_policies_are_valid() {
    for entry in entries(&config()) {
        let Some(policy) = entry.get("retryPolicy") else {
            continue;
        };
        let attempts = policy["maxAttempts"].as_u64().unwrap();
        assert!((2..=5).contains(&attempts), "{entry}");
        let (first, most) = (
            seconds(&policy["initialBackoff"]),
            seconds(&policy["maxBackoff"]),
        );
        assert!(first > 0.0 && first <= most, "{entry}");
        assert!(
            policy["backoffMultiplier"].as_f64().unwrap() > 1.0,
            "{entry}"
        );
    }
}

/// A stream has no end of its own, and a default deadline would give it one.
#[test]
fn only_unary_methods_have_a_deadline() {
    let streams: Vec<_> = descriptors().filter(|it| it.1.server_streaming()).collect();
    assert!(!streams.is_empty());
    for entry in entries(&config()) {
        let streams = names(entry)
            .filter(|name| streams.iter().any(|(method, _)| method == name))
            .count();
        assert_eq!(entry.get("timeout").is_none(), streams > 0, "{entry}");
    }
}

fn config() -> Value {
    serde_json::from_str(CONFIG).unwrap()
}

fn entries(config: &Value) -> impl Iterator<Item = &Value> {
    config["methodConfig"].as_array().unwrap().iter()
}

/// The methods that an entry is for, as `service/method`.
fn names(entry: &Value) -> impl Iterator<Item = String> + use<'_> {
    entry["name"].as_array().unwrap().iter().map(|name| {
        let part = |key: &str| name[key].as_str().unwrap().to_owned();
        format!("{}/{}", part("service"), part("method"))
    })
}

fn policy<'a>(config: &'a Value, method: &str) -> Option<&'a Value> {
    entries(config)
        .find(|entry| names(entry).any(|name| name == method))?
        .get("retryPolicy")
}

fn methods() -> BTreeMap<String, IdempotencyLevel> {
    descriptors()
        .map(|(name, method)| {
            let options = method.options.unwrap_or_default();
            (name, options.idempotency_level())
        })
        .collect()
}

fn descriptors() -> impl Iterator<Item = (String, prost_types::MethodDescriptorProto)> {
    let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    set.file.into_iter().flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let service_name = format!("{package}.{}", service.name());
            let methods = service.method.into_iter();
            methods.map(move |method| (format!("{service_name}/{}", method.name()), method))
        })
    })
}

fn seconds(duration: &Value) -> f64 {
    let text = duration.as_str().unwrap().strip_suffix('s').unwrap();
    text.parse().unwrap()
}
