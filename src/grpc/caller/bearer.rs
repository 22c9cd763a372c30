//! The token that a call brings along.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tonic::Status;

use crate::grpc::status;

const BEARER: &[u8] = b"bearer ";

/// The token, where one is sent. Two of them are none: which is meant cannot be known.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let mut tokens = headers
        .get_all(AUTHORIZATION)
        .iter()
        .filter_map(after_scheme);
    let token = tokens.next();
    if tokens.next().is_some() {
        return Err(status::unauthenticated("more than one token was sent"));
    }
    // What is no text is no token either, but was meant as one.
    Ok(token.map(|token| str::from_utf8(token).unwrap_or_default().trim()))
}

fn after_scheme(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(values: &[&[u8]]) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        let found = bearer(&headers).map_err(drop)?;
        Ok(found.map(str::to_owned))
    }

    #[test]
    fn one_token_is_taken_and_no_other_scheme() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(token(&[b"Bearer a.b.c"]), some("a.b.c"));
        assert_eq!(token(&[b"bEARER  a.b.c "]), some("a.b.c"));
        assert_eq!(token(&[b"Basic YTpi", b"Bearer a"]), some("a"));
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&[b"Basic YTpi"]), Ok(None));
        assert_eq!(token(&[b"Bearer"]), Ok(None));
        assert_eq!(token(&[b"Bearera.b.c"]), Ok(None));
        assert_eq!(token(&[b"Bearer a", b"Bearer a"]), Err(()));
        // Refused later, and not passed over in favour of a certificate.
        assert_eq!(token(&[b"Bearer "]), some(""));
        assert_eq!(token(&[b"Bearer \xff"]), some(""));
    }
}
