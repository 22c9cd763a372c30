//! Certificate, key, authorities and lists of revoked certificates, as read at one time.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, crypto};
use secrecy::{ExposeSecret, SecretString};

use super::TlsFiles;
use super::clients::Clients;
use crate::upstream::files::{self, FileError, Print, Settling};
use crate::upstream::pem::{self, PemError};
use crate::upstream::secret::{Secret, SecretError};

/// Why files are no usable set; never a word of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error(transparent)]
    Pem(#[from] PemError),
}

/// What is in force.
pub(in crate::grpc::connections) struct Set {
    config: Arc<ServerConfig>,
    /// What callers are shown.
    own: CertificateDer<'static>,
    /// None where callers show no certificates.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    print: Print,
}

/// The files, read and not yet looked into.
struct Contents {
    cert: Vec<u8>,
    key: SecretString,
    client_ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
}

impl Set {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Contents::read(files)?.into_set(files)
    }

    /// The set that the files are now, unless they are this one, or may still be written.
    pub(super) fn look(
        &self,
        files: &TlsFiles,
        settling: &mut Settling,
    ) -> Result<Option<Self>, TlsError> {
        let contents = Contents::read(files)?;
        let print = contents.print();
        let settled = settling.is_settled(&print);
        if print == self.print {
            // Nobody has put another one there in time.
            pem::timely(&self.own, &files.cert, UnixTime::now())?;
            return Ok(None);
        }
        if !settled {
            return Ok(None);
        }
        contents.into_set(files).map(Some)
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Whether a caller who shows these certificates, its own first, would be let in at a time.
    pub(in crate::grpc::connections) fn admits(
        &self,
        shown: &[CertificateDer<'_>],
        at: UnixTime,
    ) -> bool {
        let (Some(clients), Some((own, between))) = (&self.clients, shown.split_first()) else {
            return false;
        };
        clients.verify_client_cert(own, between, at).is_ok()
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let optional = |path: &Option<PathBuf>| path.as_deref().map(files::read).transpose();
        Ok(Contents {
            cert: files::read(&files.cert)?,
            key: Secret::file(files.key.clone()).read_lines()?,
            client_ca: optional(&files.client_ca)?,
            crl: optional(&files.crl)?,
        })
    }

    fn print(&self) -> Print {
        let key = self.key.expose_secret().as_bytes();
        let (client_ca, crl) = (self.client_ca.as_deref(), self.crl.as_deref());
        Print::of([Some(&*self.cert), Some(key), client_ca, crl])
    }

    fn into_set(self, files: &TlsFiles) -> Result<Set, TlsError> {
        let pair = pem::pair((&self.cert, &files.cert), (&self.key, &files.key));
        let own = pair.and_then(|pair| {
            pem::timely(&pair.cert[0], &files.cert, UnixTime::now())?;
            Ok(pair)
        });
        let (own, clients) = pem::both(own, self.clients(files))?;
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(pem::unusable(&files.cert))?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
            None => builder.with_no_client_auth(),
        };
        let shown = own.cert[0].clone();
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A session that is taken up again would not be asked for its certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Set {
            config: Arc::new(config),
            own: shown,
            clients,
            print: self.print(),
        })
    }

    fn clients(&self, files: &TlsFiles) -> Result<Option<Arc<dyn ClientCertVerifier>>, PemError> {
        let (Some(client_ca), Some(path)) = (&self.client_ca, &files.client_ca) else {
            return Ok(None);
        };
        let roots = pem::authorities(client_ca, path);
        let (mut lists, mut about) = (Ok(Vec::new()), path);
        if let (Some(crl), Some(path)) = (&self.crl, &files.crl) {
            about = path;
            let what = "list of revoked certificates";
            lists = pem::all::<CertificateRevocationListDer<'_>>(crl, path, what);
        }
        let (roots, lists) = pem::both(roots, lists)?;
        let clients = Clients::new(roots, lists, files.demanded).map_err(pem::unusable(about))?;
        Ok(Some(Arc::new(clients)))
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
pub(super) mod tests;
