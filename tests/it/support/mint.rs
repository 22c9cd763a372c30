//! Tokens and the sets of keys that verify them, made without the library that reads them: so
//! that tokens which no library would make are no harder to make than good ones.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use aws_lc_rs::{hmac, signature};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key of an issuer.
pub enum Signer {
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Signer {
    pub fn rs256() -> Signer {
        Signer::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub fn es256() -> Signer {
        Signer::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub fn eddsa() -> Signer {
        Signer::EdDsa(Ed25519KeyPair::generate().unwrap())
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Signer::Rs256(_) => "RS256",
            Signer::Es256(_) => "ES256",
            Signer::EdDsa(_) => "EdDSA",
        }
    }

    /// The public half, as issuers publish it.
    pub fn jwk(&self, id: &str) -> Value {
        match self {
            Signer::Rs256(key) => {
                // RSAPublicKey of 2048 bits in DER: 9 bytes of frame, the modulus, 2 bytes, 65537.
                let der = key.public_key().as_ref();
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256",
                       "n": b64(&der[9..265]), "e": b64(&der[267..])})
            }
            Signer::Es256(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id,
                       "x": b64(&point[1..33]), "y": b64(&point[33..])})
            }
            Signer::EdDsa(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": b64(key.public_key().as_ref())})
            }
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Signer::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let scheme: &'static dyn signature::RsaEncoding = &RSA_PKCS1_SHA256;
                key.sign(scheme, &random, message, &mut signature).unwrap();
                signature
            }
            Signer::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Signer::EdDsa(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token that this key signs as it should.
    pub fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "JWT", "kid": id});
        signed(&header, claims, |message| self.sign(message))
    }

    /// The public half in the form that a careless verifier may take for a shared secret.
    pub fn public_bytes(&self) -> Vec<u8> {
        match self {
            Signer::Rs256(key) => {
                let der =
                    AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(key.public_key());
                der.unwrap().as_ref().to_vec()
            }
            Signer::Es256(key) => key.public_key().as_ref().to_vec(),
            Signer::EdDsa(key) => key.public_key().as_ref().to_vec(),
        }
    }
}

/// A token with whatever header and signature.
pub fn signed(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!(
        "{}.{}",
        b64(header.to_string().as_bytes()),
        b64(claims.to_string().as_bytes())
    );
    let signature = sign(message.as_bytes());
    format!("{message}.{}", b64(&signature))
}

/// What HS256 makes of a message.
pub fn hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, message).as_ref().to_vec()
}

/// What an issuer publishes.
pub fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// Seconds since 1970, so many from now.
pub fn from_now(seconds: i64) -> i64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

pub const ISSUER: &str = "https://issuer.example";

/// Claims of a good token.
pub fn claims(subject: &str) -> Value {
    json!({"iss": ISSUER, "aud": ["switchboard"], "sub": subject,
           "exp": from_now(600), "nbf": from_now(-5), "iat": from_now(-5)})
}

/// The same with one of them changed; `null` takes it away.
pub fn but(subject: &str, name: &str, value: Value) -> Value {
    let mut claims = claims(subject);
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
