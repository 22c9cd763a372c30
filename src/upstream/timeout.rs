//! Two bounds on time: the call's deadline, and the time of a single attempt.

use std::future::{poll_fn, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until, timeout_at};
use tower::{Layer, Service};

use super::error::{Error, Kind};
use super::operation::{Call, Reply};

/// An attempt that would have less time than this is not begun, nor its request sent where it had to wait
/// until then: it could only end in doubt.
pub(super) const SHORTEST_ATTEMPT: Duration = Duration::from_millis(5);

/// Ends a call at its deadline, whatever it is doing: waiting for a token, sleeping, sending.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineLayer;

#[derive(Debug, Clone)]
pub(super) struct DeadlineService<S> {
    inner: S,
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner }
    }
}

impl<S> Service<Call> for DeadlineService<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let deadline = call.deadline;
        let mut travel = Box::pin(self.inner.call(call));
        let mut end = Box::pin(sleep_until(deadline));
        Box::pin(poll_fn(move |cx| {
            if let Poll::Ready(result) = travel.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            // The clock decides and the timer only wakes: a busy runtime fires timers late, and
            // the caller's library, which has a timer too, must not be the first to answer.
            if end.as_mut().poll(cx).is_ready() || Instant::now() >= deadline {
                return Poll::Ready(Err(Error::Deadline));
            }
            Poll::Pending
        }))
    }
}

/// Bounds one attempt by its own time and by what is left of the deadline.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptTimeoutLayer {
    attempt: Duration,
}

impl AttemptTimeoutLayer {
    pub(super) fn new(attempt: Duration) -> Self {
        AttemptTimeoutLayer { attempt }
    }
}

#[derive(Debug, Clone)]
pub(super) struct AttemptTimeout<S> {
    inner: S,
    attempt: Duration,
}

impl<S> Layer<S> for AttemptTimeoutLayer {
    type Service = AttemptTimeout<S>;

    fn layer(&self, inner: S) -> Self::Service {
        AttemptTimeout {
            inner,
            attempt: self.attempt,
        }
    }
}

impl<S> Service<Call> for AttemptTimeout<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
    S::Future: Send + 'static,
{
    type Response = Reply;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Reply, Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let now = Instant::now();
        let deadline = call.deadline;
        let remaining = deadline.saturating_duration_since(now);
        if remaining < SHORTEST_ATTEMPT {
            // Waiting took it all. A write sent now would be cut at once, and be in doubt.
            return Box::pin(ready(Err(Error::Deadline)));
        }
        let limit = self.attempt.min(remaining);
        // All that those below have.
        let end = now + limit;
        call.deadline = end;
        let progress = call.progress.clone();
        let own = progress.next_attempt();
        let attempt = self.inner.call(call);
        Box::pin(async move {
            let result = timeout_at(end, attempt).await;
            // From here on it is not sent any more, so that what is said of it stays true.
            drop(own);
            let result = match result {
                // There is no time left for it to be sent.
                Ok(Err(Error::NeverSent { .. }))
                    if Instant::now() + SHORTEST_ATTEMPT > deadline =>
                {
                    Err(Error::Deadline)
                }
                Ok(result) => result,
                // The deadline is what ended it: one more attempt could not do better.
                Err(_) if limit == remaining => Err(Error::Deadline),
                Err(_) if progress.in_doubt() => Err(Error::TimedOut { after: limit }),
                Err(_) => Err(Error::NeverSent {
                    cause: format!("not sent within {limit:?}"),
                }),
            };
            if !leaves_doubt(&result) {
                progress.settle();
            }
            if result.as_ref().is_err_and(Error::is_unanswered) {
                progress.mark_unanswered();
            }
            result
        })
    }
}

fn leaves_doubt(result: &Result<Reply, Error>) -> bool {
    match result {
        Ok(_) => false,
        Err(Error::Deadline) => true,
        Err(error) => error.kind() == Kind::Ambiguous,
    }
}

#[cfg(test)]
#[path = "timeout_tests.rs"]
mod tests;
