//! Who a client certificate says its holder is.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::is_sound;

/// Names that begin so are made here, and no certificate can take one for itself.
const OWN: [&str; 2] = ["jwt:", "dns:"];

/// The first URI among the certificate's alternative names as it stands, else `dns:` and the
/// first DNS name. A wildcard or a common name is no identity. The certificate has been verified before.
pub(in crate::grpc) fn identity(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    if let Some(uri) = certificate.valid_uri_names().next() {
        // Not passed over in favour of a DNS name: what its issuer meant is unclear.
        return is_identity(uri).then(|| uri.into());
    }
    let mut names = certificate.valid_dns_names();
    let name = names.find(|name| !name.starts_with('*'))?;
    Some(format!("dns:{name}").into())
}

fn is_identity(uri: &str) -> bool {
    let own = |prefix: &&str| {
        let begin = uri.get(..prefix.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
    };
    is_sound(uri) && uri.contains(':') && !OWN.iter().any(own)
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn identity_of(names: Vec<SanType>) -> Option<String> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        identity(made.der()).map(|it| it.to_string())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(Ia5String::try_from(text).unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(Ia5String::try_from(text).unwrap())
    }

    #[test]
    fn the_uri_goes_first_and_then_the_dns_name() {
        let spiffe = "spiffe://corp.example/ns/bots/sa/Crm";
        for (names, expected) in [
            (vec![uri(spiffe)], Some(spiffe)),
            (
                vec![dns("a.example"), uri(spiffe), uri("urn:b")],
                Some(spiffe),
            ),
            (
                vec![dns("a.example"), dns("b.example")],
                Some("dns:a.example"),
            ),
            (vec![dns("*.corp.example")], None),
            (vec![SanType::IpAddress([127, 0, 0, 1].into())], None),
            (vec![], None),
        ] {
            assert_eq!(identity_of(names.clone()).as_deref(), expected, "{names:?}");
        }
    }

    #[test]
    fn no_certificate_passes_for_a_token_or_another_name() {
        for text in [
            "jwt:admin",
            "JWT:admin",
            "dns:a.example",
            "admin",
            "urn:a\nb",
            "urn:\u{7f}",
        ] {
            assert_eq!(
                identity_of(vec![uri(text), dns("b.example")]),
                None,
                "{text:?}"
            );
        }
        let long = format!("urn:{}", "x".repeat(2048));
        assert_eq!(identity_of(vec![uri(&long)]), None);
    }
}
