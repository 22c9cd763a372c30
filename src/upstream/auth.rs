//! Every attempt goes out with the account's current token; a refused token is thrown away.
//!
//! One layer for every scheme: a token knows how to sign a request, be it a bearer token or
//! Basic with cookies and a CSRF header.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request};
use secrecy::SecretString;
use tower::{Layer, Service, ServiceExt};

use super::error::{Error, LoginError};
use super::operation::{Call, Reply};
use super::secret;
use super::token_cache::TokenCache;

/// How an account of a vendor logs in.
pub trait Credentials: Send + Sync + 'static {
    type Token: Token;

    /// Logs in. Runs in a task of its own, so it may be awaited by many and abandoned by any.
    fn fetch(&self) -> BoxFuture<'static, Result<Grant<Self::Token>, LoginError>>;

    /// Changes when the secret behind the login does.
    fn version(&self) -> secret::Version;

    /// The same, as of now: for logins, which are few.
    fn look(&self) -> secret::Version;
}

/// What a login gave.
pub trait Token: Send + Sync + 'static {
    /// Adds the credentials to a request.
    fn sign(&self, request: &mut Request<bytes::Bytes>);

    /// Sees the headers of every answer to a request that it signed.
    fn answered(&self, headers: &HeaderMap);

    /// What must never be repeated to anybody, beside the sensitive headers of the request.
    fn secrets(&self) -> Vec<SecretString>;
}

/// A token with its life, counted from before the login was sent; `None` if it has no end.
pub struct Grant<T> {
    pub token: T,
    pub life: Option<Duration>,
}

/// Travels with a signed call, so that layers below know whose it is.
#[derive(Clone)]
pub(super) struct Signed(Arc<dyn Token>);

impl Signed {
    pub(super) fn answered(&self, headers: &HeaderMap) {
        self.0.answered(headers);
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = SecretString> {
        self.0.secrets().into_iter()
    }
}

/// `T` is a [`TokenCache`].
pub(super) struct AuthLayer<T>(pub(super) T);

#[derive(Clone)]
pub(super) struct Auth<S, T> {
    inner: S,
    tokens: T,
}

impl<S, T: Clone> Layer<S> for AuthLayer<T> {
    type Service = Auth<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Auth {
            inner,
            tokens: self.0.clone(),
        }
    }
}

impl<S, C> Service<Call> for Auth<S, TokenCache<C>>
where
    C: Credentials,
    S: Service<Call, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let tokens = self.tokens.clone();
        let inner = self.inner.clone();
        Box::pin(async move {
            let lease = tokens.get().await?;
            lease.token().sign(&mut call.request);
            let token: Arc<dyn Token> = lease.clone();
            call.signed = Some(Signed(token));
            let replayed = call.replayed;
            let result = inner.oneshot(call).await;
            match &result {
                Err(Error::CredentialRefused(answer)) => {
                    tokens.invalidate(&lease, answer, replayed);
                }
                Ok(_) | Err(Error::Refused { .. }) => lease.mark_accepted(),
                Err(_) => {}
            }
            result
        })
    }
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
