//! How a signal goes to the collector: over gRPC or HTTP, and who is trusted there.
//!
//! The exporters read most of their variables themselves, but none about certificates; and over
//! gRPC they trust nobody unless they are told whom.

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::ExportError;
use super::plan::{self, Signal};

/// By the specification.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client for one signal.
pub(super) enum Wire {
    /// With TLS where the endpoint wants it.
    Grpc(Option<ClientTlsConfig>),
    Http(reqwest::blocking::Client),
}

/// What the variables say about the way of one signal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) grpc: bool,
    /// Of the endpoint, where it names one.
    pub(super) port: Option<u16>,
    /// Known of gRPC only, where the endpoint may leave it open.
    tls: bool,
    timeout: Duration,
    /// Whose certificates are good, in place of the system's own authorities.
    ca: Option<String>,
    /// The certificate to show, and its key.
    own: Option<(String, String)>,
}

impl Wire {
    /// Blocks for a moment, and not within a runtime: the client over HTTP has one of its own.
    pub(super) fn of(signal: Signal) -> Result<Self, ExportError> {
        let way = Way::read(signal, |name| std::env::var(name).ok());
        if way.grpc {
            return Ok(Wire::Grpc(way.tls.then(|| way.grpc_tls()).transpose()?));
        }
        way.http().map(Wire::Http)
    }
}

impl Way {
    pub(super) fn read(signal: Signal, variable: impl Fn(&str) -> Option<String>) -> Self {
        let signal = signal.name().to_ascii_uppercase();
        // The signal's own goes before that of all.
        let read = |name: &str| {
            [
                format!("OTEL_EXPORTER_OTLP_{signal}_{name}"),
                format!("OTEL_EXPORTER_OTLP_{name}"),
            ]
            .iter()
            .find_map(|name| plan::set(&variable, name))
        };
        let is = |name: &str, word: &str| {
            read(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(word))
        };
        let endpoint = read("ENDPOINT").unwrap_or_default().to_ascii_lowercase();
        let timeout = read("TIMEOUT").and_then(|value| value.trim().parse().ok());
        Way {
            grpc: is("PROTOCOL", "grpc"),
            port: endpoint.parse().ok().and_then(|it: Uri| it.port_u16()),
            tls: match endpoint.split_once("://") {
                Some((scheme, _)) => scheme == "https",
                None => !is("INSECURE", "true"),
            },
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
            ca: read("CERTIFICATE"),
            own: read("CLIENT_CERTIFICATE").zip(read("CLIENT_KEY")),
        }
    }

    fn grpc_tls(&self) -> Result<ClientTlsConfig, ExportError> {
        let tls = ClientTlsConfig::new();
        let tls = match &self.ca {
            Some(ca) => {
                authorities(ca)?;
                tls.ca_certificate(Certificate::from_pem(pem(ca)?))
            }
            None => tls.with_enabled_roots(),
        };
        Ok(match &self.own {
            Some((certificate, key)) => {
                tls.identity(Identity::from_pem(pem(certificate)?, pem(key)?))
            }
            None => tls,
        })
    }

    fn http(&self) -> Result<reqwest::blocking::Client, ExportError> {
        let mut client = reqwest::blocking::Client::builder().timeout(self.timeout);
        if let Some(ca) = &self.ca {
            client = client.tls_certs_only(authorities(ca)?);
        }
        if let Some((certificate, key)) = &self.own {
            let mut both = pem(certificate)?;
            both.push(b'\n');
            both.extend(pem(key)?);
            let identity = reqwest::Identity::from_pem(&both);
            client = client.identity(identity.map_err(unusable(certificate))?);
        }
        client
            .build()
            .map_err(|error| ExportError::Client(error.into()))
    }
}

fn pem(path: &str) -> Result<Vec<u8>, ExportError> {
    fs::read(path).map_err(|source| ExportError::File {
        path: Path::new(path).to_owned(),
        source: source.into(),
    })
}

/// At least one: with none nobody would be trusted, and nothing would say why.
fn authorities(path: &str) -> Result<Vec<reqwest::Certificate>, ExportError> {
    let bundle = reqwest::Certificate::from_pem_bundle(&pem(path)?).map_err(unusable(path))?;
    if bundle.is_empty() {
        return Err(ExportError::File {
            path: Path::new(path).to_owned(),
            source: "no certificate is in it".into(),
        });
    }
    Ok(bundle)
}

fn unusable(path: &str) -> impl FnOnce(reqwest::Error) -> ExportError {
    |source| ExportError::File {
        path: Path::new(path).to_owned(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(variables: &[(&str, &str)]) -> Way {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        Way::read(Signal::Logs, |name| {
            find(name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_signal_s_own_variable_goes_before_that_of_all() {
        let all = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "cert"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "key"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "GRPC"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "200"),
            ("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "logs' ca"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "traces' ca"),
        ];
        let own = || Some(("cert".to_owned(), "key".to_owned()));
        let expected = Way {
            grpc: true,
            port: None,
            tls: true,
            timeout: Duration::from_millis(200),
            ca: Some("logs' ca".to_owned()),
            own: own(),
        };
        assert_eq!(way(&all), expected);
        let expected = Way {
            grpc: false,
            timeout: Duration::from_millis(100),
            ca: Some("ca".to_owned()),
            ..expected
        };
        assert_eq!(way(&all[..5]), expected);
        // A certificate without its key is none.
        assert_eq!(way(&all[..4]).own, None);
    }

    #[test]
    fn the_endpoint_says_whether_there_is_tls() {
        for (endpoint, insecure, tls) in [
            ("https://collector:4317", "", true),
            ("HTTPS://collector:4317", "true", true),
            ("http://collector:4317", "", false),
            ("http://collector:4317", "false", false),
            ("unix:///run/collector", "", false),
            ("collector:4317", "", true),
            ("collector:4317", "True", false),
        ] {
            let found = way(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
            ]);
            assert_eq!(found.tls, tls, "{endpoint} {insecure}");
        }
    }
}
