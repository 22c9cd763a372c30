//! What the gRPC library leaves undone: errors that it answers on its own carry no details, and it takes
//! requests for calls that are none.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::details::Rejection;
use super::{deadline, methods};
use crate::pb::ErrorReason;

/// How long the rest of a request that is no call of gRPC may take to arrive.
const REST: Duration = Duration::from_secs(1);

/// Gives an `ErrorInfo` to what comes back without one, and refuses what is no call of gRPC.
#[derive(Debug, Clone)]
pub(super) struct BareErrorLayer {
    methods: Arc<HashSet<String>>,
}

impl BareErrorLayer {
    /// `methods` are the paths that exist: `/package.Service/Method`.
    pub(super) fn new(methods: Arc<HashSet<String>>) -> Self {
        BareErrorLayer { methods }
    }
}

#[derive(Debug, Clone)]
pub(super) struct BareError<S> {
    inner: S,
    methods: Arc<HashSet<String>>,
}

impl<S> Layer<S> for BareErrorLayer {
    type Service = BareError<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BareError {
            inner,
            methods: Arc::clone(&self.methods),
        }
    }
}

impl<S, B> Service<Request<B>> for BareError<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Some(refused) = no_call(request.method(), request.headers()) {
            return Box::pin(async {
                let _ = timeout(REST, over(request.into_body())).await;
                Ok(refused)
            });
        }
        let known = self.methods.contains(request.uri().path());
        // The standard services' errors are those of their own specifications.
        let standard = methods::is_standard(request.uri().path());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            match bare(response.headers()).filter(|_| !standard) {
                Some(status) => Ok(complete(&status, known).into_http()),
                None => Ok(response),
            }
        })
    }
}

/// The answer to a request that is not made as gRPC makes calls. Pages can have a browser make others, with
/// its reader's certificate, and who sees a GET fail may repeat it. Another HTTP status than 200 is for clients
/// that do not know gRPC, to which its own errors look like a success.
fn no_call(method: &Method, headers: &HeaderMap) -> Option<Response<Body>> {
    let (http, what) = match (method == Method::POST, is_grpc(headers)) {
        // Its caller counts on a deadline that nobody here would keep.
        (true, true) if deadline::is_malformed(headers) => (
            StatusCode::OK,
            "the request's grpc-timeout is not 1 to 8 digits and one of H, M, S, m, u and n",
        ),
        (true, true) => return None,
        (true, false) => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the request is not of the type application/grpc",
        ),
        (false, _) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "the request's method is not POST",
        ),
    };
    let refused = Rejection::new(Code::Internal, ErrorReason::InvalidMessage, what);
    let mut answer = refused.fact("attempts", &0).into_status().into_http();
    *answer.status_mut() = http;
    if http == StatusCode::METHOD_NOT_ALLOWED {
        let post = HeaderValue::from_static("POST");
        answer.headers_mut().insert(ALLOW, post);
    }
    Some(answer)
}

/// Until nothing more of a request comes. An answer before its end cuts its sender short, which not every
/// client of HTTP takes for an answer.
async fn over(rest: impl http_body::Body) {
    let mut rest = pin!(rest);
    while let Some(Ok(_)) = rest.frame().await {}
}

/// `application/grpc`, which may be followed by the message's format or by parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &str = "application/grpc";
    let named = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let parts = named.and_then(|named| named.split_at_checked(GRPC.len()));
    parts.is_some_and(|(name, rest)| {
        let ends = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
        ends && name.eq_ignore_ascii_case(GRPC.as_bytes())
    })
}

/// The status of a response that is an error and says nothing more.
fn bare(headers: &HeaderMap) -> Option<Status> {
    let status = Status::from_header_map(headers)?;
    (status.code() != Code::Ok && status.details().is_empty()).then_some(status)
}

fn complete(status: &Status, known: bool) -> Status {
    let (reason, message) = match (status.code(), known) {
        (Code::Unimplemented, false) => (
            ErrorReason::UnknownMethod,
            "the gateway has no such method, or its vendor is not configured",
        ),
        (Code::Cancelled | Code::Unknown, _) => (ErrorReason::GatewayFailed, status.message()),
        _ => (ErrorReason::InvalidMessage, status.message()),
    };
    let mut complete = Rejection::new(status.code(), reason, message)
        .fact("attempts", &0)
        .into_status();
    // With a message packed in a way that is not known here comes word of which ways are.
    complete.metadata_mut().clone_from(status.metadata());
    complete
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    #[test]
    fn a_bare_error_is_completed_and_a_full_one_left() {
        let bare_one = Status::out_of_range("message too large").into_http::<Body>();
        let status = complete(&bare(bare_one.headers()).unwrap(), true);
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(
            status.get_details_error_info().unwrap().reason,
            "INVALID_MESSAGE"
        );

        let full = super::super::status::overloaded().into_http::<Body>();
        assert!(bare(full.headers()).is_none());
        assert!(bare(&HeaderMap::new()).is_none());
    }
}
