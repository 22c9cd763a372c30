//! Verifies callers' certificates by every list of revoked ones that there is.
//!
//! The TLS library asks one list for each authority's name, the first that bears it. But a name may
//! have several: an authority with a new key keeps its name, and each key signs a list of its own;
//! and whoever renews a list may put it behind the one of before. So the lists are sorted into
//! choices with one of each name, and a certificate has to do with all of them.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme, crypto,
};
use webpki::{BorrowedCertRevocationList, CertRevocationList};

/// Choices of lists. Each of them costs each handshake a verification.
const MOST_CHOICES: usize = 16;

type List = CertificateRevocationListDer<'static>;

#[derive(Debug, thiserror::Error)]
pub(super) enum ListsError {
    #[error("it holds a list that cannot be read: {0}")]
    Unreadable(webpki::Error),
    #[error("it holds too many lists of the same authorities: put only the newest there")]
    TooMany,
    #[error(transparent)]
    Refused(#[from] VerifierBuilderError),
}

#[derive(Debug)]
pub(super) struct Clients {
    first: Arc<dyn ClientCertVerifier>,
    others: Vec<Arc<dyn ClientCertVerifier>>,
}

impl Clients {
    /// Without lists no certificate is revoked.
    pub(super) fn new(
        roots: RootCertStore,
        lists: Vec<List>,
        demanded: bool,
    ) -> Result<Self, ListsError> {
        let roots = Arc::new(roots);
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let verifier = |lists| {
            let mut builder = WebPkiClientVerifier::builder_with_provider(
                Arc::clone(&roots),
                Arc::clone(&provider),
            )
            .with_crls(lists);
            if !demanded {
                builder = builder.allow_unauthenticated();
            }
            builder.build()
        };
        let mut choices = choices(lists)?.into_iter();
        let first = verifier(choices.next().unwrap_or_default())?;
        let others = choices.map(verifier).collect::<Result<_, _>>()?;
        Ok(Clients { first, others })
    }
}

/// All ways to take one list of each name. Lists that an authority has divided among its
/// certificates count as one: the library tells those apart.
fn choices(lists: Vec<List>) -> Result<Vec<Vec<List>>, ListsError> {
    let mut names: Vec<(_, Vec<List>)> = Vec::new();
    for list in lists {
        let read = BorrowedCertRevocationList::from_der(&list).map_err(ListsError::Unreadable)?;
        let read = CertRevocationList::from(read);
        let part = read.issuing_distribution_point().map(<[u8]>::to_vec);
        let name = (read.issuer().to_vec(), part);
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, lists)) => lists.push(list),
            None => names.push((name, vec![list])),
        }
    }
    names
        .into_iter()
        .try_fold(vec![Vec::new()], |choices, (_, lists)| {
            if choices.len().saturating_mul(lists.len()) > MOST_CHOICES {
                return Err(ListsError::TooMany);
            }
            let with = |list: &List| {
                let list = list.clone();
                choices
                    .iter()
                    .map(move |choice: &Vec<List>| choice.iter().chain([&list]).cloned().collect())
            };
            Ok(lists.iter().flat_map(with).collect())
        })
}

/// Whether a list is not about the certificate at all: another key has signed it than the
/// certificate. The library tells of this only where nothing weighs more, such as that one is
/// revoked.
fn is_foreign(error: &Error) -> bool {
    use CertificateError::{BadSignature, UnsupportedSignatureAlgorithmForPublicKeyContext};
    matches!(
        error,
        Error::InvalidCertRevocationList(_)
            | Error::InvalidCertificate(
                BadSignature | UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
            )
    )
}

impl ClientCertVerifier for Clients {
    /// By one choice at least, and refused by none but for lists of another key.
    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut verdict = self.first.verify_client_cert(own, between, now);
        for other in &self.others {
            if verdict.as_ref().is_err_and(|error| !is_foreign(error)) {
                break;
            }
            match other.verify_client_cert(own, between, now) {
                Err(error) if is_foreign(&error) => {}
                said => verdict = said,
            }
        }
        verdict
    }

    fn offer_client_auth(&self) -> bool {
        self.first.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.first.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.first.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.first.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.first.supported_verify_schemes()
    }
}
