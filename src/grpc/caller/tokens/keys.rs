//! A set of keys, and what a token has to be to pass it.
//!
//! The algorithm is the key's and never the token's, so that no token can choose how it is
//! verified.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations,
    PublicKeyUse,
};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Header, Validation, decode, decode_header,
};
use serde::Deserialize;
use serde_json::Value;
use tonic::Status;

use super::EXPIRED;
use super::verified::{Bearer, Verified};
use crate::grpc::caller;
use crate::grpc::status;

/// Those by which tokens are signed.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

/// How far clocks may be apart, in seconds.
const LEEWAY: u64 = 30;

/// What every token has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub issuer: String,
    /// One of them is enough.
    pub audiences: Vec<String>,
}

/// The keys as published at one time, with the tokens that they have verified: so no token
/// outlives the key that signed it.
pub(super) struct Keys {
    keys: Vec<Key>,
    /// Of the text that they were read from.
    print: Vec<u8>,
    verified: Verified,
}

struct Key {
    id: Option<String>,
    key: DecodingKey,
    validation: Validation,
}

#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("it is no JSON object with a list `keys`")]
    NotASet,
    #[error("no key in it is for signatures by RS256, ES256 or EdDSA (Ed25519)")]
    NoneUsable,
}

/// Why a token does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::grpc::caller) enum Refusal {
    /// Perhaps its key can be had by now; what is true if not.
    UnknownKey(&'static str),
    /// The same, and the call's time was over before that was found out.
    Late,
    Because(&'static str),
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds since 1970, perhaps with a fraction.
    exp: f64,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        match refusal {
            Refusal::UnknownKey(words) | Refusal::Because(words) => status::unauthenticated(words),
            Refusal::Late => status::key_late(),
        }
    }
}

impl Keys {
    pub(super) fn none() -> Self {
        Keys {
            keys: Vec::new(),
            print: Vec::new(),
            verified: Verified::default(),
        }
    }

    /// A key that cannot be used is passed over: sets hold keys of other purposes too.
    pub(super) fn parse(json: &[u8], rules: &Rules) -> Result<Self, KeysError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|_| KeysError::NotASet)?;
        let jwks = set.keys.into_iter();
        let jwks = jwks.filter_map(|value| serde_json::from_value::<Jwk>(value).ok());
        let keys: Vec<Key> = jwks.filter_map(|jwk| Key::of(&jwk, rules)).collect();
        if keys.is_empty() {
            return Err(KeysError::NoneUsable);
        }
        Ok(Keys {
            keys,
            print: digest(&SHA256, json).as_ref().to_vec(),
            verified: Verified::default(),
        })
    }

    pub(super) fn is_same(&self, other: &Keys) -> bool {
        self.print == other.print
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// None have been had yet.
    pub(super) fn are_none(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whom a token names that is good now.
    pub(super) fn verify(&self, token: &str) -> Result<Bearer, Refusal> {
        if let Some(bearer) = self.verified.get(token) {
            return Ok(bearer);
        }
        let header = decode_header(token).map_err(|_| Refusal::Because(NOT_A_TOKEN))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Refusal::Because(NOT_A_TOKEN));
        }
        if header.crit.is_some() {
            return Err(Refusal::Because(CRITICAL));
        }
        let claims = self.claims(token, &header)?;
        if !caller::is_sound(&claims.sub) {
            return Err(Refusal::Because(SUBJECT));
        }
        let bearer = Bearer {
            identity: format!("jwt:{}", claims.sub).into(),
            // The first second in which it would not pass.
            until: (claims.exp.round() as u64).saturating_add(LEEWAY + 1),
        };
        self.verified.put(token, bearer.clone());
        Ok(bearer)
    }

    /// By the keys that it may be of, one after the other: those that bear the name which it gives its
    /// key, mostly one; or, as nobody has to give one, all of its algorithm.
    fn claims(&self, token: &str, header: &Header) -> Result<Claims, Refusal> {
        let mut why = Refusal::UnknownKey(match self.are_none() {
            true => NO_KEYS,
            false => NOT_PUBLISHED,
        });
        for key in self.keys.iter().filter(|key| key.fits(header)) {
            let error = match decode(token, &key.key, &key.validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => error,
            };
            let words = words(&error);
            why = match (error.kind(), &header.kid) {
                (ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm, Some(_)) => {
                    Refusal::Because(words)
                }
                (ErrorKind::InvalidSignature, None) => Refusal::UnknownKey(words),
                // Its signature is right.
                _ => return Err(Refusal::Because(words)),
            };
        }
        Err(why)
    }
}

impl Key {
    fn of(jwk: &Jwk, rules: &Rules) -> Option<Key> {
        if !is_for_signatures(&jwk.common) {
            return None;
        }
        let algorithm = algorithm(jwk)?;
        let key = DecodingKey::from_jwk(jwk).ok()?;
        if !is_sound(&key, algorithm) {
            return None;
        }
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&rules.issuer]);
        validation.set_audience(&rules.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Some(Key {
            id: jwk.common.key_id.clone(),
            key,
            validation,
        })
    }

    fn fits(&self, header: &Header) -> bool {
        match &header.kid {
            Some(_) => self.id == header.kid,
            None => self.validation.algorithms.contains(&header.alg),
        }
    }
}

fn is_for_signatures(common: &CommonParameters) -> bool {
    let verify = |operations: &Vec<_>| operations.contains(&KeyOperations::Verify);
    common.public_key_use != Some(PublicKeyUse::Encryption)
        && common.key_operations.as_ref().is_none_or(verify)
}

/// Whether any signature can be right by it: a point of its curve, or a number of 2048 to 8192 bits. The
/// library finds out with each token, and then calls the token's signature wrong.
fn is_sound(key: &DecodingKey, algorithm: Algorithm) -> bool {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            let by = &RSA_PKCS1_2048_8192_SHA256;
            let plain = |number: &[u8]| number.first().is_some_and(|first| *first != 0);
            let bits = 8 * n.len() as u32 - n.first().map_or(0, |first| first.leading_zeros());
            plain(n) && plain(e) && (by.min_modulus_len()..=by.max_modulus_len()).contains(&bits)
        }
        DecodingKeyKind::SecretOrDer(point) if algorithm == Algorithm::EdDSA => {
            ParsedPublicKey::new(&ED25519, point).is_ok()
        }
        DecodingKeyKind::SecretOrDer(point) => {
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok()
        }
    }
}

/// By the key's kind. A secret key (`oct`) has none: who can verify by it can also sign.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let fits = jwk.common.key_algorithm.is_none_or(|it| it == named);
    fits.then_some(algorithm)
}

const NO_KEYS: &str = "the keys of the token's issuer have not been had yet";

const NOT_PUBLISHED: &str = "the token's key is none of the usable ones that its issuer publishes";

const SUBJECT: &str = "the token's subject is empty, too long, or not of one plain line";

/// No extension of RFC 7515 is known here, and the library passes over what demands one.
const CRITICAL: &str = "the token demands an extension (crit) that is not known here";

const NOT_A_TOKEN: &str = "the token is not a JWT that is signed by RS256, ES256 or EdDSA";

fn words(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            "the token is signed by another algorithm than its key is for"
        }
        ErrorKind::InvalidSignature => "the token's signature is wrong",
        ErrorKind::ExpiredSignature => EXPIRED,
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is meant for another audience",
        // Its head has been read before, so what cannot be read is among its claims.
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Json(_) => {
            "the token lacks one of exp, iss, aud and sub, or has a claim of another type"
        }
        _ => NOT_A_TOKEN,
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
