//! What a call is made of: an operation is data and two pure functions, and does no I/O.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde::Serialize;
use tokio::time::Instant;

use super::auth::Signed;
use super::error::Error;
use super::progress::Progress;

/// A vendor: how its answers say yes and no.
pub trait Vendor: Send + Sync + 'static {
    const NAME: &'static str;

    /// Accepts or refuses an answer by its status and envelope; a 200 can be a no.
    fn judge(meta: &Meta, reply: Reply) -> Result<Reply, Error>;
}

/// One thing that a vendor can do.
pub trait Operation: Send + 'static {
    type Vendor: Vendor;
    type Output: Send + 'static;
    const META: Meta;

    /// The request with a path below the vendor's base URL; no host, no credentials.
    fn request(&self) -> Result<Request<Bytes>, Error>;

    /// Reads an answer that the vendor's `judge` accepted.
    fn decode(&self, reply: &Reply) -> Result<Self::Output, Error>;
}

/// An operation that is also looked at after it was sent.
impl<O: Operation + Sync> Operation for Arc<O> {
    type Vendor = O::Vendor;
    type Output = O::Output;
    const META: Meta = O::META;

    fn request(&self) -> Result<Request<Bytes>, Error> {
        O::request(self)
    }

    fn decode(&self, reply: &Reply) -> Result<Self::Output, Error> {
        O::decode(self, reply)
    }
}

/// What is fixed about an operation. No field has a default: the author decides.
#[derive(Debug)]
pub struct Meta {
    /// The vendor's word for it.
    pub name: &'static str,
    pub method: Method,
    /// The path with placeholders, for spans and metrics.
    pub template: &'static str,
    pub replay: Replay,
    /// Whether a 409 means that the thing exists already.
    pub creates: bool,
}

/// Whether an operation may be sent again when its outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Changes nothing.
    Safe,
    /// Twice is the same as once.
    Idempotent,
    /// Twice is not the same as once.
    Once,
}

/// An answer, whole.
#[derive(Clone)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// One call on its way through the vendor stack.
#[derive(Clone)]
pub struct Call {
    pub meta: &'static Meta,
    /// Boxed: a call moves through a future of each layer.
    pub request: Box<Request<Bytes>>,
    /// Of the call; within an attempt, the attempt's.
    pub deadline: Instant,
    /// The caller is itself repeating, so this is not the place to multiply it.
    pub caller_repeats: bool,
    /// Its credentials were refused once, and this is another attempt with others.
    pub(super) replayed: bool,
    pub progress: Progress,
    /// Whose credentials the request carries, once it does.
    pub(super) signed: Option<Signed>,
}

impl Call {
    /// What is left of the deadline.
    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// A request with a JSON body.
pub fn json_request(
    meta: &Meta,
    path: &str,
    body: &impl Serialize,
) -> Result<Request<Bytes>, Error> {
    let body = serde_json::to_vec(body).map_err(unbuildable)?;
    Request::builder()
        .method(meta.method.clone())
        .uri(path)
        .header(header::CONTENT_TYPE, JSON)
        .header(header::ACCEPT, JSON)
        .body(Bytes::from(body))
        .map_err(unbuildable)
}

/// A request without a body.
pub fn empty_request(meta: &Meta, path: &str) -> Result<Request<Bytes>, Error> {
    Request::builder()
        .method(meta.method.clone())
        .uri(path)
        .header(header::ACCEPT, JSON)
        .body(Bytes::new())
        .map_err(unbuildable)
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn unbuildable(cause: impl std::fmt::Display) -> Error {
    Error::Unbuildable {
        cause: cause.to_string(),
    }
}
