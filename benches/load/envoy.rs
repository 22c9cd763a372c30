//! Envoy with its gRPC-JSON reverse transcoder, the next best thing without a line of code, set up
//! for the one call: where `ENVOY` names its binary.
//!
//! It counts by itself, and gets of what the gateway does what it can do too: a line of JSON for each
//! call and retries of what may be sent again. It forwards what the vendor says, be it a yes or a no.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use serde_json::{Value, json};

use super::super::vendor::AUTHORIZATION;

const SERVICE: &str = "SmsSessionData";

/// The vendor's answer, in the place of the gateway's own.
const ANSWER: &str = "VendorAnswer";

pub(super) fn binary() -> Option<OsString> {
    std::env::var_os("ENVOY")
}

/// Writes what Envoy reads into a folder. Its arguments.
pub(super) fn set_up(folder: &Path, listen: SocketAddr, vendor: &str) -> Vec<OsString> {
    let descriptors = folder.join("descriptors.bin");
    std::fs::write(&descriptors, with_rules()).unwrap();
    let vendor: SocketAddr = vendor
        .strip_prefix("http://")
        .expect("a vendor in clear")
        .parse()
        .unwrap();
    let config = folder.join("envoy.json");
    std::fs::write(
        &config,
        configuration(listen, &descriptors, vendor).to_string(),
    )
    .unwrap();
    let fixed = "--concurrency 1 --disable-hot-restart --log-level error --config-path";
    let mut arguments: Vec<OsString> = fixed.split(' ').map(Into::into).collect();
    arguments.push(config.into());
    arguments
}

fn configuration(listen: SocketAddr, descriptors: &Path, vendor: SocketAddr) -> Value {
    let of_type = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let address = |it: SocketAddr| json!({"socket_address": {"address": it.ip().to_string(), "port_value": it.port()}});
    json!({"static_resources": {
        "listeners": [{
            "address": address(listen),
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": of_type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                    "stat_prefix": "callers",
                    "codec_type": "HTTP2",
                    "access_log": [{
                        "name": "envoy.access_loggers.stderr",
                        "typed_config": {
                            "@type": of_type("access_loggers.stream.v3.StderrAccessLog"),
                            "log_format": {"json_format": {
                                "time": "%START_TIME%",
                                "method": "%REQ(:PATH)%",
                                "code": "%GRPC_STATUS%",
                                "vendor_status": "%RESPONSE_CODE%",
                                "duration_ms": "%DURATION%",
                                "vendor_ms": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
                                "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                                "request_id": "%REQ(X-REQUEST-ID)%",
                                "peer": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                                "vendor": "%UPSTREAM_HOST%",
                            }},
                        },
                    }],
                    "route_config": {"virtual_hosts": [{
                        "name": "vendor",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {
                            "cluster": "vendor",
                            "retry_policy": {
                                "retry_on": "connect-failure,reset,retriable-status-codes",
                                "retriable_status_codes": [408, 502, 503, 504],
                                "num_retries": 2,
                            },
                        }}],
                        "request_headers_to_add": [{"header": {
                            "key": "authorization", "value": AUTHORIZATION
                        }}],
                    }]},
                    "http_filters": [{
                        "name": "envoy.filters.http.grpc_json_reverse_transcoder",
                        "typed_config": {
                            "@type": of_type("filters.http.grpc_json_reverse_transcoder.v3.GrpcJsonReverseTranscoder"),
                            "descriptor_path": descriptors,
                        },
                    }, {
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": of_type("filters.http.router.v3.Router")},
                    }],
                },
            }]}],
        }],
        "clusters": [{
            "name": "vendor",
            "load_assignment": {"cluster_name": "vendor", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": address(vendor)}}
            ]}]},
        }],
    }})
}

/// The API with the one method, which here says by which request it is done and takes the vendor's
/// answer as it is.
fn with_rules() -> Vec<u8> {
    let mut set = FileDescriptorSet::decode(switchboard::pb::DESCRIPTORS).unwrap();
    let has_it = |it: &FileDescriptorProto| it.service.iter().any(|it| it.name() == SERVICE);
    let at = set.file.iter().position(has_it).expect("the service");
    let mut api = set.file.remove(at);
    api.service.clear();
    api.message_type.push(answer());
    // Encoded parts one after the other are one message.
    let file = [
        api.encode_to_vec(),
        with_rule(api.package()).encode_to_vec(),
    ]
    .concat();
    [
        set.encode_to_vec(),
        Set { file: vec![file] }.encode_to_vec(),
    ]
    .concat()
}

fn answer() -> DescriptorProto {
    let mut code = FieldDescriptorProto {
        name: Some("statusCode".to_owned()),
        number: Some(1),
        ..Default::default()
    };
    code.set_label(Label::Optional);
    code.set_type(Type::Int64);
    DescriptorProto {
        name: Some(ANSWER.to_owned()),
        field: vec![code],
        ..Default::default()
    }
}

fn with_rule(package: &str) -> File {
    let rule = Rule {
        post: "/api/v2/me/smssessions/{session_id}".to_owned(),
        body: "*".to_owned(),
    };
    let method = Method {
        name: "UpdateUserData".to_owned(),
        input: format!(".{package}.UpdateUserDataRequest"),
        output: format!(".{package}.{ANSWER}"),
        options: Some(Options { http: Some(rule) }),
    };
    let service = Service {
        name: SERVICE.to_owned(),
        method: vec![method],
    };
    File {
        service: vec![service],
    }
}

// What of descriptor.proto and google/api/http.proto the types of prost leave out: they drop
// extensions.

#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct File {
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
}

#[derive(Clone, PartialEq, Message)]
struct Service {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<Method>,
}

#[derive(Clone, PartialEq, Message)]
struct Method {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    input: String,
    #[prost(string, tag = "3")]
    output: String,
    #[prost(message, optional, tag = "4")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(message, optional, tag = "72295728")]
    http: Option<Rule>,
}

#[derive(Clone, PartialEq, Message)]
struct Rule {
    #[prost(string, tag = "4")]
    post: String,
    #[prost(string, tag = "7")]
    body: String,
}
