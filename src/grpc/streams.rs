//! Streams without an end of their own, such as a health watch, end when the server drains or
//! their connection is old: else one open stream would keep it waiting for ever.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::connections::Leaving;
use super::status;

/// Ends every response body of the service below it.
#[derive(Debug, Clone)]
pub(super) struct EndOnDrainLayer {
    closing: CancellationToken,
}

impl EndOnDrainLayer {
    pub(super) fn new(closing: CancellationToken) -> Self {
        EndOnDrainLayer { closing }
    }
}

#[derive(Debug, Clone)]
pub(super) struct EndOnDrain<S> {
    inner: S,
    closing: CancellationToken,
}

impl<S> Layer<S> for EndOnDrainLayer {
    type Service = EndOnDrain<S>;

    fn layer(&self, inner: S) -> Self::Service {
        EndOnDrain {
            inner,
            closing: self.closing.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for EndOnDrain<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
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
        let closing = self.closing.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let end = async move {
                match hold {
                    Some(hold) => hold.leaving().await,
                    None => closing.cancelled().await,
                }
                // To be opened again at once: another replica is there for it.
                status::draining()
            };
            Ok(answer.await?.map(|body| Ending::softly(body, end)))
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
