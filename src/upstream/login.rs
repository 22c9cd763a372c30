//! Where calls wait for their account's login: before they take a place at the vendor, so that
//! an account that cannot log in takes none from the others.
//!
//! [`Auth`](super::auth::Auth) signs with whatever token is current when a place was found; that
//! the account has one then is as good as certain.

use std::task::{Context, Poll};

use futures_util::future::{BoxFuture, Either};
use tower::{Layer, Service, ServiceExt};

use super::auth::Credentials;
use super::error::Error;
use super::operation::{Call, Reply};
use super::token_cache::TokenCache;

/// `T` is a [`TokenCache`].
pub(super) struct LoginLayer<T>(pub(super) T);

#[derive(Clone)]
pub(super) struct Login<S, T> {
    inner: S,
    tokens: T,
}

impl<S, T: Clone> Layer<S> for LoginLayer<T> {
    type Service = Login<S, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Login {
            inner,
            tokens: self.0.clone(),
        }
    }
}

impl<S, C> Service<Call> for Login<S, TokenCache<C>>
where
    C: Credentials,
    S: Service<Call, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Reply, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        if self.tokens.has_one() {
            return Either::Left(self.inner.call(call));
        }
        let tokens = self.tokens.clone();
        let inner = self.inner.clone();
        Either::Right(Box::pin(async move {
            tokens.get().await?;
            inner.oneshot(call).await
        }))
    }
}
