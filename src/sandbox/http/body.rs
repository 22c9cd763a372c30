//! A response body in the three ways it can reach the client: whole, cut off, or byte by byte.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

pub(super) struct Body {
    rest: Bytes,
    /// What Content-Length promises; hyper takes it from the size hint.
    promised: u64,
    pace: Pace,
}

enum Pace {
    Whole,
    Cut {
        flushed: bool,
    },
    Trickle {
        pause: Duration,
        next: Pin<Box<Sleep>>,
    },
}

impl Body {
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self {
            promised: bytes.len() as u64,
            rest: bytes,
            pace: Pace::Whole,
        }
    }

    /// Promises all, sends half, then fails, upon which the connection is closed.
    pub(super) fn cut(mut bytes: Bytes) -> Self {
        // Of an empty body nothing could be missing.
        let promised = bytes.len().max(1) as u64;
        bytes.truncate(bytes.len() / 2);
        Self {
            rest: bytes,
            promised,
            pace: Pace::Cut { flushed: false },
        }
    }

    pub(super) fn trickle(bytes: Bytes, pause: Duration) -> Self {
        let next = Box::pin(tokio::time::sleep(pause));
        Self {
            promised: bytes.len() as u64,
            rest: bytes,
            pace: Pace::Trickle { pause, next },
        }
    }

    fn poll_trickle(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if let Pace::Trickle { pause, next } = &mut self.pace {
            ready!(next.as_mut().poll(cx));
            next.as_mut().reset(Instant::now() + *pause);
        }
        Poll::Ready(Some(self.rest.split_to(1)))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if matches!(self.pace, Pace::Trickle { .. }) {
            return self
                .poll_trickle(cx)
                .map(|byte| byte.map(|byte| Ok(Frame::data(byte))));
        }
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let Pace::Cut { flushed } = &mut self.pace else {
            return Poll::Ready(None);
        };
        if *flushed {
            return Poll::Ready(Some(Err(io::Error::other("cut off by the fault plan"))));
        }
        // An error throws away what is buffered; being pending once lets hyper flush the first half.
        *flushed = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !matches!(self.pace, Pace::Cut { .. })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
