//! `tokenByAkSk`: apps, their secrets, and the tokens issued to them.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{AICC_APP, AICC_OTHER_APP, AICC_OTHER_SECRET, AICC_SECRET, answers};
use crate::sandbox::http::says_json;

const LIFE_HEADER: &str = "x-token-expire";
const APP_HEADER: &str = "x-app-key";
const LONGEST_LIFE: u64 = 3600;

#[derive(Debug)]
pub(super) struct Tokens {
    secrets: BTreeMap<String, String>,
    /// Several at once are good: that a new one kills the old ones is nowhere said.
    issued: HashMap<String, Token>,
}

#[derive(Debug)]
struct Token {
    app_key: String,
    expires: Instant,
}

#[derive(Deserialize)]
struct KeyPair {
    app_key: String,
    app_secret: String,
}

impl Default for Tokens {
    fn default() -> Self {
        let apps = [(AICC_APP, AICC_SECRET), (AICC_OTHER_APP, AICC_OTHER_SECRET)];
        let secrets = apps
            .into_iter()
            .map(|(key, secret)| (key.to_owned(), secret.to_owned()))
            .collect();
        Self {
            secrets,
            issued: HashMap::new(),
        }
    }
}

impl Tokens {
    pub(super) fn issue(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        if !says_json(request) {
            return answers::gateway(
                StatusCode::BAD_REQUEST,
                "Content-Type must be application/json",
            );
        }
        let Some(life) = requested_life(request.headers()) else {
            return answers::gateway(
                StatusCode::BAD_REQUEST,
                "X-Token-Expire must be between 1 and 3600",
            );
        };
        let Ok(KeyPair {
            app_key,
            app_secret,
        }) = serde_json::from_slice(request.body())
        else {
            return answers::gateway(
                StatusCode::BAD_REQUEST,
                "app_key and app_secret are required",
            );
        };
        if self.secrets.get(&app_key) != Some(&app_secret) {
            // Not one word of a token: a client must not take it for an expired one.
            return answers::gateway(StatusCode::FORBIDDEN, "app key or secret invalid");
        }
        self.issued.retain(|_, token| token.is_valid());
        let token = Uuid::new_v4().simple().to_string();
        let expires = Instant::now() + Duration::from_secs(life);
        self.issued.insert(
            token.clone(),
            Token {
                app_key: app_key.clone(),
                expires,
            },
        );
        granted(&token, &app_key, life)
    }

    /// Both headers, always: a good bearer, and the app it was issued to.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        let bearer =
            text(headers, AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
        let token = bearer
            .and_then(|bearer| self.issued.get(bearer))
            .filter(|token| token.is_valid());
        token.is_some_and(|token| text(headers, APP_HEADER) == Some(token.app_key.as_str()))
    }

    pub(super) fn apps(&self) -> Vec<&String> {
        self.secrets.keys().collect()
    }

    pub(super) fn valid(&self) -> usize {
        self.issued
            .values()
            .filter(|token| token.is_valid())
            .count()
    }

    pub(super) fn expire_all(&mut self) {
        self.issued.clear();
    }

    pub(super) fn set_secret(&mut self, app_key: &str, secret: &str) {
        self.secrets.insert(app_key.to_owned(), secret.to_owned());
    }
}

impl Token {
    fn is_valid(&self) -> bool {
        Instant::now() < self.expires
    }
}

/// All strings. `Expires` is a duration, `CreateTime` this server's clock.
fn granted(token: &str, app_key: &str, life: u64) -> Response<Bytes> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    answers::json(
        StatusCode::OK,
        &json!({
            "AccessToken": token,
            "ApplyType": "Bearer",
            "CreateTime": now.to_string(),
            "Expires": life.to_string(),
            "Scope": "default",
            "AppKey": app_key,
            "UserID": "sandbox",
        }),
    )
}

fn requested_life(headers: &HeaderMap) -> Option<u64> {
    let life = text(headers, LIFE_HEADER)?.trim().parse().ok()?;
    (1..=LONGEST_LIFE).contains(&life).then_some(life)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
