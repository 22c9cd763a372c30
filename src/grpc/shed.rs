//! A bound on the calls in flight in the whole process: over it they are refused at once.
//!
//! Health and reflection answer also when the gateway is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use opentelemetry::metrics::Meter;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{methods, status};
use crate::telemetry::recent::Details;

/// One limit for all connections; clones share it.
#[derive(Debug, Clone)]
pub(super) struct ShedLayer(Arc<Places>);

#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    most: usize,
    refused: AtomicU64,
    /// Made once: when the gateway is full it has no time for making it again.
    refusal: Response<()>,
}

impl ShedLayer {
    pub(super) fn new(max_in_flight: usize) -> Self {
        let mut refusal = status::overloaded().into_http();
        let details = Details::of(refusal.headers());
        refusal.extensions_mut().insert(details);
        ShedLayer(Arc::new(Places {
            free: Arc::new(Semaphore::new(max_in_flight)),
            most: max_in_flight,
            refused: AtomicU64::new(0),
            refusal,
        }))
    }

    /// Read when somebody asks for metrics; calls only count.
    pub(super) fn observe(&self, meter: &Meter) {
        let places = Arc::clone(&self.0);
        meter
            .u64_observable_gauge("switchboard_in_flight")
            .with_description("Calls that take a place of server.max_in_flight.")
            .with_callback(move |gauge| {
                let taken = places.most - places.free.available_permits();
                gauge.observe(taken as u64, &[]);
            })
            .build();
        let places = Arc::clone(&self.0);
        meter
            .u64_observable_counter("switchboard_shed")
            .with_description("Calls refused because server.max_in_flight were in flight.")
            .with_callback(move |counter| {
                counter.observe(places.refused.load(Ordering::Relaxed), &[]);
            })
            .build();
    }
}

#[derive(Debug, Clone)]
pub(super) struct Shed<S> {
    inner: S,
    places: Arc<Places>,
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Shed {
            inner,
            places: Arc::clone(&self.0),
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
        if methods::is_standard(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let Ok(place) = Arc::clone(&self.places.free).try_acquire_owned() else {
            self.places.refused.fetch_add(1, Ordering::Relaxed);
            let refusal = self.places.refusal.clone().map(|()| Body::empty());
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures_util::poll;
    use tokio::time::sleep;
    use tonic::Code;
    use tower::ServiceExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A gateway of so many places whose calls take a second each.
    fn gateway(
        places: usize,
    ) -> impl Service<Request<()>, Response = Response<Body>, Error = Infallible> + Clone {
        ShedLayer::new(places).layer(tower::service_fn(|_: Request<()>| async {
            sleep(SECOND).await;
            Ok(Response::new(Body::empty()))
        }))
    }

    fn is_refused(response: &Response<Body>) -> bool {
        let status = tonic::Status::from_header_map(response.headers());
        status.is_some_and(|status| status.code() == Code::ResourceExhausted)
    }

    #[tokio::test(start_paused = true)]
    async fn over_the_limit_calls_are_refused_at_once_and_under_it_none() {
        let gateway = gateway(3);
        let calls = (0..10).map(|_| async {
            let start = tokio::time::Instant::now();
            let response = gateway.clone().oneshot(Request::new(())).await.unwrap();
            (is_refused(&response), start.elapsed())
        });
        let answers = futures_util::future::join_all(calls).await;
        let (refused, served): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(no, _)| *no);
        assert_eq!((refused.len(), served.len()), (7, 3));
        assert!(refused.iter().all(|(_, took)| took.is_zero()), "queued");
        let later = gateway.oneshot(Request::new(())).await.unwrap();
        assert!(!is_refused(&later), "a place was lost");
    }

    #[tokio::test(start_paused = true)]
    async fn who_hangs_up_makes_room() {
        let gateway = gateway(1);
        let mut first = Box::pin(gateway.clone().oneshot(Request::new(())));
        assert!(poll!(&mut first).is_pending());
        let second = gateway.clone().oneshot(Request::new(())).await.unwrap();
        assert!(is_refused(&second));
        drop(first);
        let third = gateway.oneshot(Request::new(())).await.unwrap();
        assert!(!is_refused(&third));
    }

    /// The limit is the process's: services and connections have clones of it.
    #[tokio::test(start_paused = true)]
    async fn services_share_the_limit() {
        let layer = ShedLayer::new(1);
        let service = || {
            layer
                .clone()
                .layer(tower::service_fn(|_: Request<()>| async {
                    sleep(SECOND).await;
                    Ok::<_, Infallible>(Response::new(Body::empty()))
                }))
        };
        let mut first = Box::pin(service().oneshot(Request::new(())));
        assert!(poll!(&mut first).is_pending());
        let second = service().oneshot(Request::new(())).await.unwrap();
        assert!(is_refused(&second));
    }
}
