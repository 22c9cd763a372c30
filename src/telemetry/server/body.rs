//! The answer's body, watched for the status at its end.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use opentelemetry::Context;

use super::{Call, Code};

/// A body that ends its call when it ends itself.
#[derive(Debug)]
pub struct Observed<B: Body> {
    inner: B,
    call: Call,
}

impl<B: Body> Observed<B> {
    pub(super) fn new(inner: B, call: Call) -> Self {
        Self { inner, call }
    }
}

impl<B: Body + Unpin> Body for Observed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Self { inner, call } = self.get_mut();
        // A stream's messages are made in here, under the span of their call.
        let entered = call.span().map(Context::attach);
        let frame = ready!(Pin::new(inner).poll_frame(cx));
        drop(entered);
        match &frame {
            Some(Ok(frame)) => match frame.trailers_ref() {
                Some(trailers) => call.trailed(trailers),
                None => call.told(),
            },
            Some(Err(_)) => call.end(Code::INTERNAL),
            None => call.end(Code::UNKNOWN),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Body> Drop for Observed<B> {
    fn drop(&mut self) {
        // Nobody polls a body that has said it is over. It ended without a
        // status, but the caller did get all of it: that is no cancellation.
        if self.inner.is_end_stream() {
            self.call.end(Code::UNKNOWN);
        }
    }
}
