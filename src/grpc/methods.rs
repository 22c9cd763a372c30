//! Every method that there is, from the descriptors.

use std::collections::HashSet;
use std::sync::Arc;

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;

use super::VALID;
use crate::pb;

/// A method of the vendors' services, of health or of reflection.
#[derive(Debug, Clone)]
pub struct Method {
    /// Such as `contactcenter.v1.SmsSessionData/GetSession`.
    pub name: Arc<str>,
    /// Whether it changes anything.
    pub writes: bool,
    /// Whether it changes something else when it is called again.
    pub once: bool,
    /// Whether it answers with a stream.
    pub streams: bool,
}

impl Method {
    /// Whether it belongs to one of these services, or to all.
    pub(super) fn is_served(&self, mounted: &[&str]) -> bool {
        let service = self.name.split('/').next().unwrap_or_default();
        is_standard(service) || mounted.contains(&service)
    }
}

/// The paths of those methods.
pub(super) fn paths(which: impl Fn(&Method) -> bool) -> HashSet<String> {
    let methods = all().into_iter().filter(which);
    methods.map(|method| format!("/{}", method.name)).collect()
}

/// Whether a service, a method or its path is of health or reflection, by gRPC's own names.
pub(super) fn is_standard(name: &str) -> bool {
    name.strip_prefix('/').unwrap_or(name).starts_with("grpc.")
}

/// All methods, be their vendors configured or not.
pub fn all() -> Vec<Method> {
    let sets = [
        pb::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = Vec::new();
    for file in sets
        .into_iter()
        .flat_map(|set| FileDescriptorSet::decode(set).expect(VALID).file)
    {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| {
                let level = method.options.clone().unwrap_or_default();
                let level = level.idempotency_level();
                let writes =
                    level != IdempotencyLevel::NoSideEffects && !is_standard(&service_name);
                Method {
                    name: format!("{service_name}/{}", method.name()).into(),
                    writes,
                    once: writes && level != IdempotencyLevel::Idempotent,
                    streams: method.server_streaming(),
                }
            }));
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_what_the_proto_does_not_call_free_of_effects() {
        let all = all();
        let mut writes: Vec<&str> = all
            .iter()
            .filter(|it| it.writes)
            .map(|it| &*it.name)
            .collect();
        writes.sort_unstable();
        assert_eq!(
            writes,
            [
                "contactcenter.v1.AgentSettings/CreateAgentSettings",
                "contactcenter.v1.AgentSettings/DeleteAgentSettings",
                "contactcenter.v1.AgentSettings/UpdateAgentSettings",
                "contactcenter.v1.SmsSessionData/AttachUserData",
                "contactcenter.v1.SmsSessionData/DeleteUserData",
                "contactcenter.v1.SmsSessionData/UpdateUserData",
            ]
        );
        let mut streams: Vec<&str> = all
            .iter()
            .filter(|it| it.streams)
            .map(|it| &*it.name)
            .collect();
        streams.sort_unstable();
        assert_eq!(
            streams,
            [
                "contactcenter.v1.SmsSessionData/WatchSessions",
                "grpc.health.v1.Health/Watch",
                "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            ]
        );
        let health: Vec<_> = all.iter().filter(|it| it.is_served(&[])).collect();
        assert!(
            health
                .iter()
                .any(|it| &*it.name == "grpc.health.v1.Health/Check")
        );
        assert!(health.iter().all(|it| it.name.starts_with("grpc.")));
    }
}
