//! Connections to the admin port: few, and the newest of them.
//!
//! Whoever reaches the port can open them and say nothing, and a client that was cut off leaves its
//! own behind. Each takes a file descriptor, and when those run out no call is accepted. To refuse
//! the next one would turn away a probe; so the oldest makes room.

use std::collections::VecDeque;
use std::pin::pin;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::lifecycle::accept;

/// Far more than probes, scrapers and people need; each of these is answered at once.
pub(super) const MOST: usize = 64;

/// Serves until `stop`, and then until the answers under way have gone out.
pub(super) async fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) {
    let mut open = VecDeque::with_capacity(MOST);
    loop {
        let stream = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            stream = accept(&listener, "admin") => stream,
        };
        open.retain(|it: &AbortOnDropHandle<()>| !it.is_finished());
        if open.len() == MOST
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            // Gone when this returns: where many come at once, the loop would be ahead of its tasks.
            let _ = oldest.await;
        }
        let serving = connection(stream, routes.clone(), stop.clone());
        open.push_back(AbortOnDropHandle::new(tokio::spawn(serving)));
    }
    // Now, so that who comes too late is refused and does not wait.
    drop(listener);
    for connection in open {
        // It has no end but its own; a panic in it concerns nobody else.
        let _ = connection.await;
    }
}

/// How a connection ends is for its client to tell.
async fn connection(stream: TcpStream, routes: Router, stop: CancellationToken) {
    let service = TowerToHyperService::new(routes);
    let mut serving = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = serving.as_mut() => return,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}
