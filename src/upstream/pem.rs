//! What the files of TLS hold in PEM, our own and those for vendors. What is wrong with one names it,
//! and quotes nothing of it.

use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, crypto};
use secrecy::{ExposeSecret, SecretString};
use webpki::{EndEntityCert, KeyUsage};

/// Why a file is of no use; never a word of the key.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("{} holds no {what} in PEM", path.display())]
    Missing { path: PathBuf, what: &'static str },
    #[error("{} cannot be used: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("{} and {} are of no use together: {why}", cert.display(), key.display())]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        why: String,
    },
    #[error("{} holds a certificate that {why}", path.display())]
    Untimely { path: PathBuf, why: &'static str },
    #[error("{0}; {1}")]
    Both(Box<PemError>, Box<PemError>),
}

/// What both have made, or all that is wrong with either: who has made two mistakes learns of two.
pub fn both<A, B>(a: Result<A, PemError>, b: Result<B, PemError>) -> Result<(A, B), PemError> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => Err(PemError::Both(Box::new(a), Box::new(b))),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

/// All that a file holds of one kind, and at least one.
pub fn all<T: PemObject>(pem: &[u8], path: &Path, what: &'static str) -> Result<Vec<T>, PemError> {
    let found: Result<Vec<T>, _> = T::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| PemError::Missing {
            path: path.to_owned(),
            what,
        })
}

/// Whom a file says to trust.
pub fn authorities(pem: &[u8], path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for authority in all::<CertificateDer<'_>>(pem, path, "certificate")? {
        roots.add(authority).map_err(unusable(path))?;
    }
    Ok(roots)
}

/// A certificate, what leads from it to its authority, and its key.
pub fn pair(cert: (&[u8], &Path), key: (&SecretString, &Path)) -> Result<CertifiedKey, PemError> {
    let chain = all::<CertificateDer<'_>>(cert.0, cert.1, "certificate");
    // The error of a key is not passed on: it would quote the line that it does not like.
    let own = PrivateKeyDer::from_pem_slice(key.0.expose_secret().as_bytes());
    let own = own.map_err(|_| PemError::Missing {
        path: key.1.to_owned(),
        what: "unencrypted private key",
    });
    let (chain, own) = both(chain, own)?;
    let provider = crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, own, &provider).map_err(|why| PemError::Pair {
        cert: cert.1.to_owned(),
        key: key.1.to_owned(),
        why: why.to_string(),
    })
}

/// Whether a certificate is valid at a time, in all that is its own matter: who is shown another one refuses it.
pub fn timely(own: &CertificateDer<'_>, path: &Path, at: UnixTime) -> Result<(), PemError> {
    let why = match verified(own, at) {
        Err(webpki::Error::CertExpired { .. }) => "has expired",
        Err(webpki::Error::CertNotValidYet { .. }) => "is not valid yet",
        _ => return Ok(()),
    };
    Err(PemError::Untimely {
        path: path.to_owned(),
        why,
    })
}

/// By nobody; the times are looked at before anything else.
fn verified(own: &CertificateDer<'_>, at: UnixTime) -> Result<(), webpki::Error> {
    let (own, usage) = (EndEntityCert::try_from(own)?, KeyUsage::server_auth());
    own.verify_for_usage(&[], &[], &[], at, usage, None, None)
        .map(drop)
}

pub fn unusable<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> PemError + use<'_, E> {
    |why| PemError::Unusable {
        path: path.to_owned(),
        why: why.to_string(),
    }
}
