//! How many attempts are at a vendor at once, so that a slow vendor cannot take everything.
//!
//! A call that sleeps between attempts holds no place: the layer lies below the retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service, ServiceExt};

use super::breaker::BreakerLayer;
use super::error::Error;
use super::observer::Observer;
use super::operation::{Call, Reply};
use super::settings;

/// One gate for all accounts of a vendor.
#[derive(Clone)]
pub(super) struct LimitLayer(Arc<Gate>);

struct Gate {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    breaker: BreakerLayer,
    vendor: &'static str,
    observer: Arc<dyn Observer>,
}

/// Someone in the queue; leaves it when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl LimitLayer {
    pub(super) fn new(
        vendor: &'static str,
        settings: &settings::Limit,
        breaker: BreakerLayer,
        observer: &Arc<dyn Observer>,
    ) -> Self {
        // A series that is there from the start can be alerted on.
        observer.queue_refusals(vendor, 0);
        LimitLayer(Arc::new(Gate {
            places: Arc::new(Semaphore::new(settings.in_flight)),
            waiting: AtomicUsize::new(0),
            queue: settings.queue,
            breaker,
            vendor,
            observer: Arc::clone(observer),
        }))
    }
}

impl Gate {
    async fn enter(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = self.queue_up()?;
        // The semaphore serves in order of arrival, and is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await;
        // Many may wait when a vendor fails, and each would still be sent to it.
        self.breaker.rests()?;
        place.map_err(|_| Error::QueueFull)
    }

    fn queue_up(&self) -> Result<Waiting<'_>, Error> {
        let ahead = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        if ahead >= self.queue {
            self.observer.queue_refusals(self.vendor, 1);
            return Err(Error::QueueFull);
        }
        Ok(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone)]
pub(super) struct Limit<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limit {
            inner,
            gate: Arc::clone(&self.0),
        }
    }
}

impl<S> Service<Call> for Limit<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        let inner = self.inner.clone();
        Box::pin(async move {
            let _place = gate.enter().await?;
            inner.oneshot(call).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::observer::Blind;

    fn gate(in_flight: usize, queue: usize) -> Arc<Gate> {
        let observer: Arc<dyn Observer> = Arc::new(Blind);
        let limit = settings::Limit { in_flight, queue };
        LimitLayer::new("test", &limit, BreakerLayer::default(), &observer).0
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_a_leaver_makes_room() {
        let gate = gate(1, 1);
        let place = gate.enter().await.expect("free");
        let mut first = Box::pin(gate.enter());
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(matches!(gate.enter().await, Err(Error::QueueFull)));
        drop(first);
        let mut second = Box::pin(gate.enter());
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(place);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn a_queue_of_none_refuses_who_would_wait() {
        let gate = gate(1, 0);
        let _place = gate.enter().await.expect("free");
        assert!(matches!(gate.enter().await, Err(Error::QueueFull)));
    }
}
