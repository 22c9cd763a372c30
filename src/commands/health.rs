//! `switchboard health`: for probes and scripts, without another tool.

use std::process::ExitCode;
use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{block_on, fail, say};

/// A probe that waits longer says nothing that a failed one does not.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(addr: &str, service: &str) -> ExitCode {
    match block_on(check(addr, service)) {
        Ok(Ok(ServingStatus::Serving)) => {
            say(&"SERVING");
            ExitCode::SUCCESS
        }
        Ok(Ok(other)) => fail(1, &other.as_str_name()),
        Ok(Err(error)) => fail(1, &error),
        Err(error) => fail(1, &error),
    }
}

async fn check(addr: &str, service: &str) -> Result<ServingStatus, String> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))
        .map_err(|error| format!("{addr}: {error}"))?
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE);
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| format!("cannot connect to {addr}: {}", cause(&error)))?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = HealthClient::new(channel)
        .check(request)
        .await
        .map_err(|status| format!("{addr}: {:?}: {}", status.code(), status.message()))?;
    Ok(answer.into_inner().status())
}

/// The innermost cause: the outer ones only say "transport error".
fn cause(error: &dyn std::error::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
