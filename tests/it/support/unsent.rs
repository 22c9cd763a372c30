//! Calls that met the end of their connection before they were on it. Clients of other languages
//! send those again by themselves, as gRPC asks of them; tonic's leaves that to its user.

use std::error::Error;

use tonic::Status;

/// Repeats a call as long as it is certain that nobody has begun with it.
pub async fn transparently<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    loop {
        match call().await {
            Err(status) if is_unsent(&status) => {}
            result => return result,
        }
    }
}

/// Cancelled in the client's own queue, or beyond the last stream that a GOAWAY names.
pub fn is_unsent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        let queued = |error: &hyper::Error| error.is_canceled();
        let refused = |error: &h2::Error| error.is_remote() && error.is_go_away();
        if error.downcast_ref().is_some_and(queued) || error.downcast_ref().is_some_and(refused) {
            return true;
        }
        cause = error.source();
    }
    false
}
