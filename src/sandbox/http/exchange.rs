//! One request from its bytes to the bytes of its answer: read, draw a fault, ask the vendor, note, deliver.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::body::Body;
use super::disturb::{Delivery, disturb};
use super::listener::Serve;
use super::wire::{Abort, Wire};
use super::{Simulator, TEXT, respond};
use crate::sandbox::faults::{Drawn, Fault, Plan, Stage};
use crate::sandbox::journal::{Entry, Journal};

/// Far above any documented request; it only keeps a runaway client from filling the memory.
const LARGEST_REQUEST: usize = 1024 * 1024;

pub(in crate::sandbox) struct Exchange<S> {
    simulator: Arc<S>,
    plan: Arc<Plan>,
    journal: Arc<Journal>,
}

/// Serves a simulator on each connection that the listener hands over.
pub(in crate::sandbox) fn site<S: Simulator>(exchange: Exchange<S>) -> Serve {
    let exchange = Arc::new(exchange);
    Arc::new(move |wire| Box::pin(converse(Arc::clone(&exchange), wire)))
}

async fn converse<S: Simulator>(exchange: Arc<Exchange<S>>, wire: Wire) {
    let (connection, abort) = (wire.id(), wire.abort());
    let service = service_fn(move |request| {
        let (exchange, abort) = (Arc::clone(&exchange), abort.clone());
        async move { exchange.answer(request, connection, &abort).await }
    });
    let mut server = http1::Builder::new();
    // An idle connection stays: only the fault plan closes connections here.
    server.header_read_timeout(None::<Duration>);
    // How a connection ended is for the client to tell; here it ends on purpose as often as not.
    let _ = server.serve_connection(TokioIo::new(wire), service).await;
}

impl<S: Simulator> Exchange<S> {
    pub(in crate::sandbox) fn new(
        simulator: Arc<S>,
        plan: Arc<Plan>,
        journal: Arc<Journal>,
    ) -> Self {
        Self {
            simulator,
            plan,
            journal,
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        connection: u64,
        abort: &Abort,
    ) -> io::Result<Response<Body>> {
        let Some(request) = read(request).await? else {
            let refusal = respond(
                StatusCode::PAYLOAD_TOO_LARGE,
                TEXT,
                "request body above 1 MiB",
            );
            return Ok(refusal.map(Body::whole));
        };
        let operation = self.simulator.operation(&request);
        let drawn = self.plan.draw(S::NAME, operation);
        // Noted on arrival: a request that is never answered, or whose client leaves, shows as well.
        let fault = drawn.as_ref().map(|drawn| drawn.fault.kind());
        let entry = Entry::arrived(S::NAME, operation, connection, &request, fault);
        let sequence = self.journal.record(entry);
        let delivery = self.deliver(&request, sequence, drawn).await;
        if let Some(response) = delivery.response() {
            self.journal
                .amend(sequence, |entry| entry.answered(response));
        }
        send(delivery, abort).await
    }

    async fn deliver(
        &self,
        request: &Request<Bytes>,
        sequence: u64,
        drawn: Option<Drawn>,
    ) -> Delivery {
        let Some(Drawn { stage, fault }) = drawn else {
            return Delivery::Whole(self.ask(request, sequence).await);
        };
        if stage == Stage::Before {
            wait(&fault).await;
        }
        let asked = stage == Stage::After || fault.lets_through();
        let answer = match asked {
            true => Some(self.ask(request, sequence).await),
            false => None,
        };
        if stage == Stage::After {
            wait(&fault).await;
        }
        disturb::<S>(&fault, answer)
    }

    async fn ask(&self, request: &Request<Bytes>, sequence: u64) -> Response<Bytes> {
        let answer = self.simulator.handle(request).await;
        self.journal
            .amend(sequence, |entry| entry.applied = answer.applied);
        answer.response
    }
}

async fn wait(fault: &Fault) {
    if let Fault::Latency { ms } = fault {
        tokio::time::sleep(Duration::from_millis(*ms)).await;
    }
}

/// `None` when the body is larger than accepted; an error when the client went away in the middle of it.
async fn read(request: Request<Incoming>) -> io::Result<Option<Request<Bytes>>> {
    let (head, body) = request.into_parts();
    match Limited::new(body, LARGEST_REQUEST).collect().await {
        Ok(body) => Ok(Some(Request::from_parts(head, body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// An error makes the HTTP server drop the connection without an answer.
async fn send(delivery: Delivery, abort: &Abort) -> io::Result<Response<Body>> {
    match delivery {
        Delivery::Whole(response) => Ok(response.map(Body::whole)),
        Delivery::Cut(response) => Ok(response.map(Body::cut)),
        Delivery::Trickle(response, pause) => Ok(response.map(|body| Body::trickle(body, pause))),
        Delivery::Reset => {
            abort.engage();
            Err(io::ErrorKind::ConnectionReset.into())
        }
        Delivery::Hang => pending().await,
    }
}
