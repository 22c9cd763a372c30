//! A bound on the calls in flight in the whole process: over it they are refused at once.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::{Layer, Service};

use super::status;

/// One limit for all services that it is laid around; clones share it.
#[derive(Debug, Clone)]
pub(super) struct ShedLayer {
    places: Arc<Semaphore>,
}

impl ShedLayer {
    pub(super) fn new(max_in_flight: usize) -> Self {
        ShedLayer {
            places: Arc::new(Semaphore::new(max_in_flight)),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Shed<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Shed {
            inner,
            places: Arc::clone(&self.places),
        }
    }
}

impl<S, B> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let refusal = status::overloaded().into_http();
            return Box::pin(std::future::ready(Ok(refusal)));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(place);
            answer
        })
    }
}
