//! A stream ends when what it was opened with is good no longer: its token has expired, or the
//! certificate of its connection is not accepted any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::sleep;
use tonic::Status;
use tonic::body::Body;

use super::audit::Audited;
use super::layer::WITHDRAWN;
use super::tokens::{self, EXPIRED};
use crate::grpc::connections::Certificate;
use crate::grpc::{status, streams};

/// The longest sleep between two looks at the clock: it may be set while a stream lasts.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What an identity rests on.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// Good until so many seconds after 1970.
    Token(u64),
    Certificate(Arc<Certificate>),
}

impl Proof {
    /// Until it is good no longer; why, in words for the caller.
    async fn lapsed(self) -> &'static str {
        match self {
            Proof::Token(until) => {
                while let Some(left) = tokens::left(until) {
                    sleep(left.min(LOOK_AGAIN)).await;
                }
                EXPIRED
            }
            Proof::Certificate(certificate) => {
                certificate.withdrawn().await;
                WITHDRAWN
            }
        }
    }
}

/// The answers of a stream, for as long as its caller may have them.
pub(super) struct Lapsing {
    /// None once the trailers of the end are sent.
    body: Option<Body>,
    lapsed: BoxFuture<'static, &'static str>,
    audited: Audited,
}

impl Lapsing {
    pub(super) fn around(body: Body, proof: Proof, audited: Audited) -> Body {
        Body::new(Lapsing {
            body: Some(body),
            lapsed: Box::pin(proof.lapsed()),
            audited,
        })
    }
}

impl HttpBody for Lapsing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.body.is_none() {
            return Poll::Ready(None);
        }
        // First: what is ready then is for this caller no more.
        if let Poll::Ready(why) = self.lapsed.as_mut().poll(cx) {
            self.body = None;
            self.audited.lapsed();
            let trailers = streams::trailers(status::unauthenticated(why));
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
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
