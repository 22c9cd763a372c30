//! What each part of the gateway is told of the configuration.

use std::sync::Arc;
use std::time::Duration;

use super::Unusable;
use super::circuits::{Circuit, Circuits};
use crate::config::{self, Config};
use crate::grpc::caller::Access;
use crate::grpc::caller::tokens::{Rules, Source, Tokens};
use crate::grpc::{ConnectionLimits, Limits, Tls, TlsFiles, dedupe};
use crate::pb;
use crate::telemetry::Metrics;
use crate::upstream::operation::Vendor;
use crate::upstream::settings::Settings;
use crate::upstream::transport::Document;
use crate::vendors::{aicc, genesys};

/// What a caller has to read its last answer when its connection is to end.
const UNREAD: Duration = Duration::from_secs(30);

pub(super) fn limits(server: &config::Server) -> Limits {
    Limits {
        max_in_flight: server.max_in_flight,
        default_deadline: server.default_deadline,
        max_deadline: server.max_deadline,
    }
}

pub(super) fn dedupe(dedupe: &config::Dedupe) -> dedupe::Options {
    dedupe::Options {
        window: dedupe.window,
        max_entries: dedupe.max_entries,
        redis_url: dedupe.redis_url.clone(),
    }
}

pub(super) fn tls(server: &config::Server, metrics: &Metrics) -> Result<Option<Tls>, Unusable> {
    let Some(files) = &server.tls else {
        return Ok(None);
    };
    let files = TlsFiles {
        cert: files.cert_file.clone(),
        key: files.key_file.clone(),
        client_ca: files.client_ca_file.clone(),
        crl: files.crl_file.clone(),
        // Beside tokens, either will do.
        demanded: server.jwt.is_none(),
    };
    Ok(Some(Tls::new(files, &metrics.meter())?))
}

/// What callers have to show, and what they may do then.
pub(super) fn access(config: &Config, metrics: &Metrics) -> Result<Access, Unusable> {
    let server = &config.server;
    let tokens = |jwt: &config::Jwt| -> Result<_, Unusable> {
        let rules = Rules {
            issuer: jwt.issuer.clone(),
            audiences: jwt.audiences.clone(),
        };
        let source = match &jwt.jwks {
            config::Jwks::File(path) => Source::File(path.clone()),
            config::Jwks::Url(url) => {
                Source::Url(Document::new(url.clone()).map_err(Unusable::Jwks)?)
            }
        };
        Ok(Arc::new(Tokens::new(rules, source, &metrics.meter())?))
    };
    Ok(Access {
        certificates: server.demands_certificates(),
        tokens: server.jwt.as_ref().map(tokens).transpose()?,
        open_methods: server.open_methods.clone(),
        policy: config.policy.clone(),
    })
}

/// Of the vendors that are configured.
pub(super) fn accounts(config: &Config) -> Vec<(&'static str, Vec<String>)> {
    let genesys = config.genesys.iter().map(|genesys| {
        let accounts = genesys.accounts.keys().cloned().collect();
        (genesys::Genesys::NAME, accounts)
    });
    let aicc = config.aicc.iter().map(|aicc| {
        let accounts = aicc.accounts.keys().cloned().collect();
        (aicc::Aicc::NAME, accounts)
    });
    genesys.chain(aicc).collect()
}

pub(super) fn connections(server: &config::Server) -> ConnectionLimits {
    ConnectionLimits {
        max: server.max_connections,
        max_age: server.max_connection_age,
        // No call takes longer; what its caller has not read soon after, it never will.
        grace: server.max_deadline.saturating_add(UNREAD),
    }
}

/// Of the vendors that are there.
pub(super) fn circuits(config: &Config, circuits: &Circuits) -> Vec<Circuit> {
    let circuit = |vendor, upstream: &Settings, service| Circuit {
        state: circuits.of(vendor),
        rest: upstream.breaker.open,
        service,
    };
    let genesys = config.genesys.iter().map(|genesys| {
        let service = pb::sms_session_data_server::SERVICE_NAME;
        circuit(genesys::Genesys::NAME, &genesys.upstream, service)
    });
    let aicc = config.aicc.iter().map(|aicc| {
        let service = pb::agent_settings_server::SERVICE_NAME;
        circuit(aicc::Aicc::NAME, &aicc.upstream, service)
    });
    genesys.chain(aicc).collect()
}
