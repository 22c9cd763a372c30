//! A drain that has to be cut still answers: whoever waits is told whether the call can be made again.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{methods, status};
use crate::upstream::progress::Progress;

/// Ends every call below it, by an answer, as soon as the drain is cut.
#[derive(Debug, Clone)]
pub(super) struct CutLayer {
    cut: CancellationToken,
    once: Arc<HashSet<String>>,
}

impl CutLayer {
    pub(super) fn new(cut: CancellationToken) -> Self {
        CutLayer {
            cut,
            once: Arc::new(methods::paths(|method| method.once)),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Cut<S> {
    inner: S,
    layer: CutLayer,
}

impl<S> Layer<S> for CutLayer {
    type Service = Cut<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Cut {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for Cut<S>
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
        let once = self.layer.once.contains(request.uri().path());
        let progress = request.extensions().get::<Progress>().cloned();
        let progress = progress.unwrap_or_default();
        let cut = self.layer.cut.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            // Kept until the status is made: what ends with the call is forgotten.
            let mut answer = pin!(answer);
            // A call that had to wait for its turn until now does not begin any more.
            if !cut.is_cancelled() {
                tokio::select! {
                    biased;
                    answer = &mut answer => return answer,
                    () = cut.cancelled() => {}
                }
            }
            Ok(status::cut(once, &progress).into_http())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::poll;
    use tonic::{Code, Status};
    use tonic_types::StatusExt;
    use tower::ServiceExt;

    use super::*;

    const ATTACH: &str = "/contactcenter.v1.SmsSessionData/AttachUserData";
    const UPDATE: &str = "/contactcenter.v1.SmsSessionData/UpdateUserData";

    /// What is told of a call that is cut after so much of it was done.
    async fn told(path: &str, done: impl FnOnce(&Progress)) -> (Code, String, String) {
        let cut = CancellationToken::new();
        let never = tower::service_fn(|_: Request<()>| std::future::pending());
        let never = never.map_response(|never: Response<Body>| never);
        let never = never.map_err(|never: Infallible| never);
        let progress = Progress::default();
        let mut request = Request::post(path).body(()).unwrap();
        request.extensions_mut().insert(progress.clone());
        let mut call = Box::pin(CutLayer::new(cut.clone()).layer(never).oneshot(request));
        assert!(poll!(&mut call).is_pending());
        done(&progress);
        cut.cancel();
        let answer = call.await.unwrap();
        let sent = progress.sent();
        assert!(progress.is_left_to_others() == (sent == 0), "for good");
        let status = Status::from_header_map(answer.headers()).unwrap();
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        let reason = status.get_details_error_info().unwrap().reason;
        let pushback = pushback.to_str().unwrap().to_owned();
        (status.code(), reason, pushback)
    }

    async fn begin(_: Request<()>) -> Result<Response<Body>, Infallible> {
        panic!("begun")
    }

    #[tokio::test]
    async fn a_call_whose_turn_comes_too_late_does_not_begin() {
        let cut = CancellationToken::new();
        let call = CutLayer::new(cut.clone()).layer(tower::service_fn(begin));
        cut.cancel();
        let answer = call.oneshot(Request::post(ATTACH).body(()).unwrap()).await;
        let status = Status::from_header_map(answer.unwrap().headers()).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn only_a_write_that_was_sent_is_of_unknown_outcome() {
        let again = || (Code::Unavailable, "GATEWAY_DRAINING".into(), "1".into());
        let unknown = || (Code::Unknown, "OUTCOME_UNKNOWN".into(), "-1".into());
        assert_eq!(told(ATTACH, |_| {}).await, again());
        assert_eq!(told(ATTACH, Progress::mark_sent).await, unknown());
        assert_eq!(told(UPDATE, Progress::mark_sent).await, again());
        // Another one does the same write, and how far that is nobody here knows.
        let joined = |progress: &Progress| std::mem::forget(progress.join());
        assert_eq!(told(ATTACH, joined).await, unknown());
        assert_eq!(told(UPDATE, joined).await, again());
        let alone = |progress: &Progress| drop(progress.join());
        assert_eq!(told(ATTACH, alone).await, again());
    }
}
