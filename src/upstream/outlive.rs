//! A write that must not be cut in half: it goes on when its caller leaves.
//!
//! As long as the caller waits, the write runs within the caller's own task, so that an answer
//! at the deadline depends on no other task being scheduled in time. A caller that leaves drops
//! the future, and what is left of it moves to a task of its own, which the drain waits for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use opentelemetry::Context as TraceContext;
use opentelemetry::trace::FutureExt as _;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::error::Failure;

pub(super) struct Outlive<T: Send + 'static> {
    /// `None` once it has ended.
    write: Option<BoxFuture<'static, Result<T, Failure>>>,
    operation: &'static str,
    tasks: TaskTracker,
    span: TraceContext,
}

impl<T: Send + 'static> Outlive<T> {
    pub(super) fn new(
        operation: &'static str,
        tasks: TaskTracker,
        write: BoxFuture<'static, Result<T, Failure>>,
    ) -> Self {
        Outlive {
            write: Some(write),
            operation,
            tasks,
            span: TraceContext::current(),
        }
    }
}

impl<T: Send + 'static> Future for Outlive<T> {
    type Output = Result<T, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let write = self.write.as_mut().expect("not polled after its end");
        let result = ready!(write.as_mut().poll(cx));
        self.write = None;
        Poll::Ready(result)
    }
}

impl<T: Send + 'static> Drop for Outlive<T> {
    fn drop(&mut self) {
        let Some(write) = self.write.take() else {
            return;
        };
        // Without a runtime the process is at its end, and nothing can go on.
        if Handle::try_current().is_ok() {
            let rest = unheard(self.operation, write);
            self.tasks.spawn(rest.with_context(self.span.clone()));
        }
    }
}

async fn unheard<T>(operation: &'static str, write: BoxFuture<'static, Result<T, Failure>>) {
    let outcome = write.await;
    let failed = |failure: &Failure| (failure.error.to_string(), failure.outcome_unknown());
    log_unheard(operation, outcome.as_ref().err().map(failed));
}

/// Nobody listens any more: the log is the only place that is sure to have the outcome. Of a write that
/// failed, by what, and whether it may have been done.
pub fn log_unheard(operation: &'static str, failed: Option<(String, bool)>) {
    match failed {
        None => tracing::info!(operation, "done after its caller left"),
        Some((error, outcome_unknown)) => {
            tracing::warn!(
                operation,
                error,
                outcome_unknown,
                "failed after its caller left"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    /// A write that ends when told to, and tells that it has.
    fn write(tasks: &TaskTracker) -> (oneshot::Sender<()>, oneshot::Receiver<()>, Outlive<u8>) {
        let (end, ended) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        let write = async move {
            let _ = ended.await;
            let _ = tell.send(());
            Ok(7)
        };
        (
            end,
            told,
            Outlive::new("write", tasks.clone(), write.boxed()),
        )
    }

    #[tokio::test]
    async fn it_is_no_task_while_its_caller_waits() {
        let tasks = TaskTracker::new();
        let (end, _, mut write) = write(&tasks);
        assert!(futures_util::poll!(&mut write).is_pending());
        end.send(()).unwrap();
        assert_eq!((&mut write).await.unwrap(), 7);
        drop(write);
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn it_goes_on_without_its_caller_and_the_drain_waits_for_it() {
        let tasks = TaskTracker::new();
        let (end, told, mut write) = write(&tasks);
        assert!(futures_util::poll!(&mut write).is_pending());
        drop(write);
        tasks.close();
        assert_eq!(tasks.len(), 1);
        end.send(()).unwrap();
        told.await.unwrap();
        tasks.wait().await;
    }
}
