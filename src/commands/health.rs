//! `switchboard health`: for probes and scripts, without another tool.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::uri::Authority;
use tonic::Status;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{block_on, fail, say};

/// A probe that waits longer says nothing that a failed one does not.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub struct Arguments {
    /// Where its gRPC port is.
    #[arg(long, default_value = "127.0.0.1:50051", value_name = "HOST:PORT")]
    addr: String,
    /// A service's full name; the gateway as a whole when left out.
    #[arg(long, default_value = "", value_name = "NAME")]
    service: String,
    /// Who signed the gateway's certificate, in PEM: asks over TLS.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The name that the gateway's certificate is for; the host of --addr when left out.
    #[arg(long, value_name = "NAME", requires = "ca_file")]
    server_name: Option<String>,
    /// A client certificate in PEM, where one is demanded.
    #[arg(long, value_name = "FILE", requires_all = ["ca_file", "key_file"])]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

impl Arguments {
    fn endpoint(&self) -> Result<Endpoint, String> {
        let addr = &self.addr;
        let scheme = if self.ca_file.is_some() {
            "https"
        } else {
            "http"
        };
        // A port that is none would be taken for that of the scheme, where somebody else may be.
        let authority = addr.parse::<Authority>().ok();
        let whole = authority.is_some_and(|it| !it.host().is_empty() && it.port_u16().is_some());
        if !whole {
            return Err(format!("--addr {addr}: expected HOST:PORT"));
        }
        let named = |error: tonic::transport::Error| format!("{addr}: {error}");
        let endpoint = Endpoint::from_shared(format!("{scheme}://{addr}")).map_err(named)?;
        let Some(ca_file) = &self.ca_file else {
            return Ok(endpoint);
        };
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca_file)?));
        if let Some(name) = &self.server_name {
            tls = tls.domain_name(name);
        }
        if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        endpoint.tls_config(tls).map_err(|error| cause(&error))
    }

    fn unhealthy(&self, status: &Status) -> String {
        let addr = &self.addr;
        let Some(source) = status.source() else {
            return format!("{addr}: {:?}: {}", status.code(), status.message());
        };
        // No answer of the gateway's, and no word about how it is: the connection broke, as it does when
        // one side speaks TLS, or demands a certificate, and the other does not know.
        let missing = match self {
            Arguments { ca_file: None, .. } => "; if it speaks TLS, give --ca-file",
            Arguments {
                cert_file: None, ..
            } => "; if it demands a certificate, give --cert-file and --key-file",
            _ => "",
        };
        format!("{addr}: no answer: {}{missing}", cause(source))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    // As a whole: whoever is asked may be silent at any step, be it TLS or a name's look-up.
    let checked = async {
        let answer = tokio::time::timeout(PATIENCE, check(arguments)).await;
        answer.unwrap_or_else(|_| Err(format!("{}: no answer in {PATIENCE:?}", arguments.addr)))
    };
    match block_on(checked) {
        Ok(Ok(ServingStatus::Serving)) => {
            // The exit code says it, too.
            let _ = say(&"SERVING");
            ExitCode::SUCCESS
        }
        Ok(Ok(other)) => fail(1, &other.as_str_name()),
        Ok(Err(error)) => fail(1, &error),
        Err(error) => fail(1, &error),
    }
}

async fn check(arguments: &Arguments) -> Result<ServingStatus, String> {
    let Arguments { addr, service, .. } = arguments;
    let channel = arguments
        .endpoint()?
        .connect()
        .await
        .map_err(|error| format!("cannot connect to {addr}: {}", cause(&error)))?;
    let request = HealthCheckRequest {
        service: service.clone(),
    };
    let answer = HealthClient::new(channel)
        .check(request)
        .await
        .map_err(|status| arguments.unhealthy(&status))?;
    Ok(answer.into_inner().status())
}

/// The innermost cause: the outer ones only say "transport error".
fn cause(error: &dyn Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
