//! Calls as they arrive over a connection.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
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

impl<S, B> hyper::service::Service<Request<Incoming>> for Arrivals<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = TrackedFuture<S::Future>;

    /// Enters the stack now. The call gets a task of its own, and where more calls have arrived
    /// than the processor can carry, that task waits for its turn: limits that began there would
    /// not see the calls that wait, and deadlines would run out without being noticed.
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(self.peer.clone());
        extensions.insert(Leaving(self.leaving.clone()));
        extensions.insert(Arrival(Instant::now()));
        // Without `poll_ready`, which in this stack never has to be waited for.
        let answer = self.stack.clone().call(request);
        self.calls.count(answer)
    }
}
