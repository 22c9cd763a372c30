//! Errors that the gRPC library answers on its own carry no details; they get theirs here.

use std::collections::HashSet;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::details::Rejection;
use super::methods;
use crate::pb::ErrorReason;

/// Gives an `ErrorInfo` to what comes back without one.
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
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
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
