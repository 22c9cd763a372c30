//! A panic in a handler becomes an error of that call.

use std::any::Any;

use http::Response;
use tonic::body::Body;
use tower_http::catch_panic::CatchPanicLayer;

use super::status;

type Answer = fn(Box<dyn Any + Send + 'static>) -> Response<Body>;

pub(super) fn layer() -> CatchPanicLayer<Answer> {
    CatchPanicLayer::custom(answer as Answer)
}

/// The layer boxes the body that it watched; this is the type that the stack goes on with.
pub(super) fn unwrapped<B>(response: Response<B>) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    response.map(Body::new)
}

/// What the panic says goes to the log alone: it may quote anything.
fn answer(_: Box<dyn Any + Send + 'static>) -> Response<Body> {
    tracing::error!("a handler panicked; see the panic message before this line");
    status::defect("a handler panicked").into_http()
}
