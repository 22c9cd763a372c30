//! Calls as they arrive over a connection.

use std::convert::Infallible;
use std::error::Error;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::rt::Executor;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TrackedFuture;
use tonic::body::Body;
use tower::Service;

use super::calls::Calls;
use super::{Leaving, Peer};

/// Among the extensions of each request: when its head was read.
#[derive(Debug, Clone, Copy)]
pub(in crate::grpc) struct Arrival(pub(in crate::grpc) Instant);

/// The server stack, as the HTTP library calls it for the calls of one connection.
pub(super) struct Arrivals<S> {
    pub(super) stack: S,
    pub(super) peer: Peer,
    pub(super) leaving: CancellationToken,
    pub(super) calls: Calls,
}

impl<S, R, B> hyper::service::Service<Request<R>> for Arrivals<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = TrackedFuture<S::Future>;

    /// Enters the stack now. The call gets a task of its own, and where more calls have arrived
    /// than the processor can carry, that task waits for its turn: limits that began there would
    /// not see the calls that wait, and deadlines would run out without being noticed.
    fn call(&self, request: Request<R>) -> Self::Future {
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(self.peer.clone());
        extensions.insert(Leaving {
            token: self.leaving.clone(),
            streams: self.calls.streams(),
        });
        extensions.insert(Arrival(Instant::now()));
        // Without `poll_ready`, which in this stack never has to be waited for.
        let answer = self.stack.clone().call(request);
        self.calls.count(answer)
    }
}

/// Gives each call a task of its own, unless it is answered at once: as where the gateway is full,
/// so that a refusal does not wait behind the calls that fill it, or where somebody asks for the
/// gateway's health.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tasks;

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, call: F) {
        let mut call = Box::pin(call);
        // The task polls it again, with a waker of its own.
        let tried = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if tried.is_pending() {
            tokio::spawn(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use hyper::service::Service as _;
    use tokio::sync::oneshot;

    use super::*;

    fn arrivals<S>(stack: S, calls: &Calls) -> Arrivals<S> {
        Arrivals {
            stack,
            peer: Peer {
                address: None,
                certificate: None,
            },
            leaving: CancellationToken::new(),
            calls: calls.clone(),
        }
    }

    /// A limit that began with the call's task would not see the calls that wait for one.
    #[tokio::test]
    async fn the_stack_is_entered_before_the_call_has_a_task() {
        let entered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&entered);
        let stack = tower::service_fn(move |request: Request<Body>| {
            assert!(request.extensions().get::<Arrival>().is_some());
            assert!(request.extensions().get::<Leaving>().is_some());
            assert!(request.extensions().get::<Peer>().is_some());
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        });
        let arrivals = arrivals(stack, &Calls::default());
        let calls = [(); 3].map(|()| arrivals.call(Request::new(Body::empty())));
        assert_eq!(entered.load(Ordering::Relaxed), 3);
        drop(calls);
    }

    /// Only a stream holds its connection: a call keeps its request, and `Leaving` in it, for as long as
    /// it runs.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_had_many_calls_ends_though_a_few_are_in_flight() {
        let stack = tower::service_fn(|request: Request<Body>| async move {
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(request);
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let calls = Calls::default();
        let arrivals = arrivals(stack, &calls);
        for _ in 0..3 {
            tokio::spawn(arrivals.call(Request::new(Body::empty())));
        }
        let many: Vec<_> = (0..64)
            .map(|_| arrivals.call(Request::new(Body::empty())))
            .collect();
        drop(many);
        tokio::time::timeout(Duration::from_secs(50), calls.outgrown())
            .await
            .expect("though three are in flight");
    }

    #[tokio::test]
    async fn who_is_answered_at_once_does_not_stand_in_line() {
        let (answered, mut told) = oneshot::channel();
        Tasks.execute(async { answered.send(()) });
        assert!(told.try_recv().is_ok());

        let (ready, waits) = oneshot::channel();
        let (answered, mut told) = oneshot::channel();
        Tasks.execute(async {
            waits.await.unwrap();
            answered.send(())
        });
        assert!(told.try_recv().is_err(), "not ready");
        ready.send(()).unwrap();
        told.await.unwrap();
    }
}
