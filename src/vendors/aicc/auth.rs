//! An application's login: a bearer token for its AK/SK, sent with `X-APP-Key` on every request.
//!
//! The vendor's pages differ on which of the two headers is mandatory, so both go out always.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use super::config::{Account, Config, TOKEN_PATH};
use super::{inferred, wire};
use crate::upstream::auth::{Credentials, Grant, Token};
use crate::upstream::client::LoginTransport;
use crate::upstream::error::{Error, Kind, LoginError};
use crate::upstream::judge::{answer, by_status, plain_text, unreadable};
use crate::upstream::operation::{Meta, Replay, Reply, json_request};
use crate::upstream::redact::Redactor;
use crate::upstream::secret;

const APP_KEY: &str = "x-app-key";

static LOGIN: Meta = Meta {
    name: "Token",
    method: Method::POST,
    template: TOKEN_PATH,
    replay: Replay::Idempotent,
    creates: false,
};

/// One application of the tenant.
pub(super) struct App {
    account: Account,
    path: String,
    life: Duration,
    transport: LoginTransport,
}

impl App {
    pub(super) fn new(account: Account, config: &Config, transport: LoginTransport) -> Self {
        App {
            account,
            path: config.token_url.path().to_owned(),
            life: config.token_lifetime,
            transport,
        }
    }
}

/// What requests for the token path go to.
pub(super) fn origin(token_url: &Url) -> Url {
    let mut origin = token_url.clone();
    origin.set_path("");
    origin
}

impl Credentials for App {
    type Token = Bearer;

    fn fetch(&self) -> BoxFuture<'static, Result<Grant<Bearer>, LoginError>> {
        let account = self.account.clone();
        let transport = self.transport.clone();
        let (path, life) = (self.path.clone(), self.life);
        Box::pin(async move {
            let secret = account.secret.read().map_err(|error| unusable(&error))?;
            let request = request(&account.app_key, &secret, &path, life)?;
            let redactor = Redactor::of(&request);
            let reply = transport.send(&LOGIN, request).await.map_err(failed)?;
            let granted = granted(&reply, &redactor)?;
            Ok(Grant {
                life: Some(granted.life(life)),
                token: Bearer::new(&account.app_key, &granted.access_token, secret)?,
            })
        })
    }

    fn version(&self) -> secret::Version {
        self.account.secret.version()
    }

    fn look(&self) -> secret::Version {
        self.account.secret.look()
    }
}

fn request(
    app_key: &str,
    secret: &SecretString,
    path: &str,
    life: Duration,
) -> Result<Request<Bytes>, LoginError> {
    #[derive(Serialize)]
    struct Body<'a> {
        app_key: &'a str,
        app_secret: &'a str,
    }
    let body = Body {
        app_key,
        app_secret: secret.expose_secret(),
    };
    let mut request = json_request(&LOGIN, path, &body).map_err(failed)?;
    // Always sent: what the vendor takes where it is missing is not documented.
    let headers = request.headers_mut();
    headers.insert("x-token-expire", life.as_secs().into());
    Ok(request)
}

/// The vendor's answer: all strings, and `Expires` a duration.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires: serde_json::Value,
}

impl Granted {
    /// As told, but never beyond what was asked; a life that makes no sense (zero, unreadable,
    /// a date) is taken as the one that was asked for.
    fn life(&self, asked: Duration) -> Duration {
        let told = match &self.expires {
            serde_json::Value::String(text) => text.trim().parse().ok(),
            value => value.as_u64(),
        };
        let told = told.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        told.map_or(asked, |told| told.min(asked))
    }
}

fn granted(reply: &Reply, redactor: &Redactor) -> Result<Granted, LoginError> {
    let envelope = wire::Envelope::of(reply);
    let text = envelope.text().unwrap_or_else(|| plain_text(reply));
    if let Some(mut error) = by_status(&LOGIN, reply, envelope.code(), text) {
        if let Some(answer) = error.answer_mut() {
            redactor.clean_answer(answer);
        }
        return Err(match error {
            Error::CredentialRefused(answer) => LoginError::Refused(answer),
            Error::Refused { meaning, answer } => LoginError::refused(meaning, answer, REPEATABLE),
            other => failed(other),
        });
    }
    let cause = match wire::read::<Granted>(reply) {
        Ok(granted) if !granted.access_token.is_empty() => return Ok(granted),
        Ok(_) => "its AccessToken is empty".to_owned(),
        Err(cause) => format!("no AccessToken in it ({cause})"),
    };
    if !inferred::is_login_refusal(&envelope) {
        return Err(failed(unreadable(reply, cause)));
    }
    let mut answer = answer(reply, envelope.code(), envelope.text().unwrap_or_default());
    redactor.clean_answer(&mut answer);
    Err(LoginError::Refused(answer))
}

/// A token may be asked for twice without harm, so only a no is final.
const REPEATABLE: bool = true;

fn failed(error: Error) -> LoginError {
    let repeatable = error.kind() != Kind::Final;
    LoginError::unanswered(error, repeatable)
}

fn unusable(error: &impl std::fmt::Display) -> LoginError {
    LoginError::Secret {
        cause: error.to_string(),
    }
}

/// A token in use.
pub(super) struct Bearer {
    app_key: HeaderValue,
    authorization: HeaderValue,
    /// What it was granted for.
    app_secret: SecretString,
}

impl Bearer {
    fn new(app_key: &str, token: &str, app_secret: SecretString) -> Result<Bearer, LoginError> {
        let header = |value: &str| {
            HeaderValue::from_str(value).map_err(|_| LoginError::Unreadable {
                cause: "its AccessToken does not fit into a header".to_owned(),
            })
        };
        let mut app_key = header(app_key)?;
        let mut authorization = header(&format!("Bearer {token}"))?;
        app_key.set_sensitive(true);
        authorization.set_sensitive(true);
        Ok(Bearer {
            app_key,
            authorization,
            app_secret,
        })
    }
}

impl Token for Bearer {
    fn sign(&self, request: &mut Request<Bytes>) {
        let headers = request.headers_mut();
        headers.insert(APP_KEY, self.app_key.clone());
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
    }

    fn answered(&self, _: &HeaderMap) {}

    fn secrets(&self) -> Vec<SecretString> {
        // The key and the token are in headers that are marked as sensitive.
        vec![self.app_secret.clone()]
    }
}

/// Reads an answer to a login as the login does; a token that was granted can be used, and its life
/// is never longer than what was asked for.
#[cfg(any(test, fuzzing))]
pub(super) fn take_in(reply: &Reply) {
    let asked = Duration::from_secs(600);
    if let Ok(granted) = granted(reply, &Redactor::default()) {
        let life = granted.life(asked);
        assert!(!life.is_zero() && life <= asked, "{life:?}");
        if let Ok(bearer) = Bearer::new("app", &granted.access_token, SecretString::default()) {
            let request = json_request(&LOGIN, "/", &()).expect("a request");
            bearer.sign(&mut { request });
        }
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
