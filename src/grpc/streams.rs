//! Streams without an end of their own, such as a health watch, end when the server drains or
//! their connection is old: else one open stream would keep it waiting for ever. So does a call
//! that has not got its message by then. And there are only so many of both: whoever may ask for the
//! health need not be known to the gateway.

use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::connections::Leaving;
use super::{methods, status};

/// More than there are connections of callers, and a library watches once on each.
pub(super) const MOST_STREAMS: usize = 10_000;

/// Calls that are no stream, or none yet: their message has not come, or their answer has not been
/// taken. Each holds up to three times what its headers may be.
pub(super) const MOST_CALLS: usize = 4096;

/// Ends every call of the service below it, and every response body.
#[derive(Debug, Clone)]
pub(super) struct EndOnDrainLayer {
    closing: CancellationToken,
    /// The paths of methods that answer with a stream.
    streaming: Arc<HashSet<String>>,
    streams: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

impl EndOnDrainLayer {
    /// Clones share the places.
    pub(super) fn new(closing: CancellationToken, most_streams: usize, most_calls: usize) -> Self {
        EndOnDrainLayer {
            closing,
            streaming: Arc::new(methods::paths(|method| method.streams)),
            streams: Arc::new(Semaphore::new(most_streams)),
            calls: Arc::new(Semaphore::new(most_calls)),
        }
    }

    /// A place for a call, and one for the stream that it may become.
    fn admit(
        &self,
        path: &str,
    ) -> Result<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>), TryAcquireError> {
        let place = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned();
        let streams = self.streaming.contains(path);
        let stream = streams.then(|| place(&self.streams)).transpose()?;
        Ok((place(&self.calls)?, stream))
    }
}

#[derive(Debug, Clone)]
pub(super) struct EndOnDrain<S> {
    inner: S,
    layer: EndOnDrainLayer,
}

impl<S> Layer<S> for EndOnDrainLayer {
    type Service = EndOnDrain<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EndOnDrain {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for EndOnDrain<S>
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
        // A connection's own end comes no later than the server's.
        let hold = request.extensions().get().map(Leaving::hold);
        let closing = self.layer.closing.clone();
        let Ok((call, stream)) = self.layer.admit(request.uri().path()) else {
            let refusal = status::too_many_open().into_http();
            return Box::pin(std::future::ready(Ok(refusal)));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut end = Box::pin(async move {
                match hold {
                    Some(hold) => hold.leaving().await,
                    None => closing.cancelled().await,
                }
                // To be opened again at once: another replica is there for it.
                status::draining()
            });
            let mut answer = pin!(answer);
            tokio::select! {
                biased;
                answer = &mut answer => {
                    // Kept for as long as the stream is open, or until a short answer is taken.
                    let place = stream.unwrap_or(call);
                    let end = end.inspect(move |_| drop(place));
                    Ok(answer?.map(|body| Ending::softly(body, end)))
                }
                status = &mut end => Ok(status.into_http()),
            }
        })
    }
}

/// A body that ends with a status when a future does.
pub(super) struct Ending {
    /// `None` once the trailers of the end are sent.
    body: Option<Body>,
    end: BoxFuture<'static, Status>,
    at_once: bool,
}

impl Ending {
    /// What is ready goes out first, so that a short answer is never cut.
    fn softly(body: Body, end: impl Future<Output = Status> + Send + 'static) -> Body {
        Self::around(body, end, false)
    }

    /// What is ready by then goes out no more.
    pub(super) fn at_once(body: Body, end: impl Future<Output = Status> + Send + 'static) -> Body {
        Self::around(body, end, true)
    }

    fn around(
        body: Body,
        end: impl Future<Output = Status> + Send + 'static,
        at_once: bool,
    ) -> Body {
        Body::new(Ending {
            body: Some(body),
            end: Box::pin(end),
            at_once,
        })
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Ending { body, end, at_once } = &mut *self;
        let Some(open) = body else {
            return Poll::Ready(None);
        };
        if !*at_once && let Poll::Ready(frame) = Pin::new(&mut *open).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match end.as_mut().poll(cx) {
            Poll::Ready(status) => {
                *body = None;
                Poll::Ready(Some(Ok(Frame::trailers(trailers(status)))))
            }
            Poll::Pending if *at_once => Pin::new(open).poll_frame(cx),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map(HttpBody::size_hint)
            .unwrap_or_default()
    }
}

/// The end of a stream.
fn trailers(status: Status) -> http::HeaderMap {
    let mut trailers = status.into_http::<Body>().headers().clone();
    // Of an answer without a body; trailers describe no content.
    trailers.remove(http::header::CONTENT_TYPE);
    trailers
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
