//! Certificate, key, authorities and lists of revoked certificates, as read at one time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, crypto};
use secrecy::{ExposeSecret, SecretString};

use super::TlsFiles;
use super::clients::Clients;
use crate::upstream::files::{self, FileError, Print, Settling};
use crate::upstream::secret::{Secret, SecretError};

/// Why files are no usable set; never a word of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Key(#[from] SecretError),
    #[error("{} holds no {what} in PEM", path.display())]
    Pem { path: PathBuf, what: &'static str },
    #[error("{} cannot be used: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("{} and {} are of no use together: {why}", cert.display(), key.display())]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        why: rustls::Error,
    },
}

/// What is in force.
pub(in crate::grpc::connections) struct Set {
    config: Arc<ServerConfig>,
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
        if !settling.is_settled(&print) || print == self.print {
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
            key: Secret::file(files.key.clone()).read()?,
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
        let clients = self.clients(files)?;
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unusable(&files.cert))?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
            None => builder.with_no_client_auth(),
        };
        let chain = all::<CertificateDer<'_>>(&self.cert, &files.cert, "certificate")?;
        // The error of a key is not passed on: it would quote the line that it does not like.
        let key = PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes());
        let key = key.map_err(|_| TlsError::Pem {
            path: files.key.clone(),
            what: "private key",
        })?;
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|why| TlsError::Pair {
                cert: files.cert.clone(),
                key: files.key.clone(),
                why,
            })?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A session that is taken up again would not be asked for its certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Set {
            config: Arc::new(config),
            clients,
            print: self.print(),
        })
    }

    fn clients(&self, files: &TlsFiles) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(pem), Some(path)) = (&self.client_ca, &files.client_ca) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for authority in all::<CertificateDer<'_>>(pem, path, "certificate")? {
            roots.add(authority).map_err(unusable(path))?;
        }
        let (mut lists, mut about) = (Vec::new(), path);
        if let (Some(pem), Some(path)) = (&self.crl, &files.crl) {
            about = path;
            lists =
                all::<CertificateRevocationListDer<'_>>(pem, path, "list of revoked certificates")?;
        }
        let clients = Clients::new(roots, lists, files.demanded).map_err(unusable(about))?;
        Ok(Some(Arc::new(clients)))
    }
}

/// All that a PEM file holds of one kind, and at least one.
fn all<T: PemObject>(pem: &[u8], path: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| TlsError::Pem {
            path: path.to_owned(),
            what,
        })
}

fn unusable<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> TlsError + use<'_, E> {
    |why| TlsError::Unusable {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

#[cfg(test)]
#[path = "set_tests.rs"]
pub(super) mod tests;
