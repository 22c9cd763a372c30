//! An authority that signs certificates and takes them back.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::scan;

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    pub cert: String,
    pub key: String,
    serial: u64,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For a server on this machine.
    pub fn server(&self) -> Issued {
        let here = SanType::IpAddress([127, 0, 0, 1].into());
        self.issue(vec![here, dns("localhost")], |_| {})
    }

    /// For the caller of this URI.
    pub fn uri(&self, uri: &str) -> Issued {
        let uri = SanType::URI(Ia5String::try_from(uri).unwrap());
        self.issue(vec![uri], |_| {})
    }

    pub fn dns(&self, name: &str) -> Issued {
        self.issue(vec![dns(name)], |_| {})
    }

    pub fn expired(&self, name: &str) -> Issued {
        self.issue(vec![dns(name)], |params| {
            params.not_after = date_time_ymd(2020, 1, 1);
        })
    }

    /// One that is good for so long from now.
    pub fn ending(&self, name: &str, after: Duration) -> Issued {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        self.issue(vec![dns(name)], |params| {
            params.not_after = date_time_ymd(1970, 1, 1) + now + after;
        })
    }

    fn issue(&self, names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        static NEXT: AtomicU64 = AtomicU64::new(100);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = date_time_ymd(2100, 1, 1);
        change(&mut params);
        let pem = key.serialize_pem();
        for line in pem.lines().filter(|line| !line.starts_with('-')) {
            scan::confide("secret", line);
        }
        Issued {
            cert: params.signed_by(&key, &self.0).unwrap().pem(),
            key: pem,
            serial,
        }
    }

    /// The list that takes these back.
    pub fn revoking(&self, issued: &[&Issued]) -> String {
        let revoked = |issued: &&Issued| RevokedCertParams {
            serial_number: SerialNumber::from(issued.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: issued.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// How a caller trusts servers of this authority, and what it shows itself.
    pub fn client(&self, own: Option<&Issued>) -> ClientTlsConfig {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(self.pem()));
        match own {
            Some(own) => tls.identity(Identity::from_pem(&own.cert, &own.key)),
            None => tls,
        }
    }

    /// The same for a caller that looks at the handshake itself.
    pub fn client_config(&self, own: &Issued) -> Arc<ClientConfig> {
        let pem = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(pem(&self.pem())).unwrap();
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![pem(&own.cert)], key);
        Arc::new(config.unwrap())
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(name).unwrap())
}
