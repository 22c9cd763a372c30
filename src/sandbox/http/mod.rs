//! The wire below both simulators: what a simulator is, and the parts that carry its answers.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::Value;

mod body;
mod disturb;
mod exchange;
mod listener;
mod wire;

pub(super) use exchange::{Exchange, site};
pub use listener::Listener;
pub(super) use listener::Serve;

pub(super) const JSON: &str = "application/json";
pub(super) const HTML: &str = "text/html";
pub(super) const TEXT: &str = "text/plain";

/// What a request asks for, in the vendor's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// Only calls are met by a fault rule that names no operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Login,
    Notification,
}

impl Operation {
    pub(super) const UNKNOWN: Self = Self::call("Unknown");

    pub(super) const fn call(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Call,
        }
    }

    pub(super) const fn login(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Login,
        }
    }

    pub(super) const fn notification(name: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Notification,
        }
    }
}

/// A simulator's answer, and whether its records changed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Bytes>,
    pub(super) applied: bool,
}

impl Answer {
    pub(super) fn applied(response: Response<Bytes>) -> Self {
        Self {
            response,
            applied: true,
        }
    }

    pub(super) fn unchanged(response: Response<Bytes>) -> Self {
        Self {
            response,
            applied: false,
        }
    }
}

/// A vendor without its wire: requests in, answers out. The functions without `self` are its words for the
/// fault plan, which must say no in each vendor's own way.
pub(super) trait Simulator: Send + Sync + 'static {
    const NAME: &'static str;
    /// Every name that `operation` can give.
    const OPERATIONS: &'static [Operation];

    fn operation(&self, request: &Request<Bytes>) -> Operation;
    /// The answer may have to wait for what others do; a caller that leaves drops it.
    fn handle(&self, request: &Request<Bytes>) -> impl Future<Output = Answer> + Send;

    /// The plainest yes.
    fn accepted() -> Response<Bytes>;
    /// A no inside an HTTP 200.
    fn refused(code: Value, message: &str) -> Response<Bytes>;
    /// A 200 whose code field is no code.
    fn wrong_type() -> Response<Bytes>;
    fn unauthorized() -> Response<Bytes>;
    /// The 403 that a fresh login cures.
    fn forbidden_token() -> Response<Bytes>;
}

pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The page of a web server that never asked the vendor.
pub(super) fn page(status: StatusCode) -> Response<Bytes> {
    let title = format!(
        "{} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error")
    );
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    );
    respond(status, HTML, page)
}

/// Whether the request says that its body is JSON, whatever parameters follow.
pub(super) fn says_json(request: &Request<Bytes>) -> bool {
    let media_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    media_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(JSON))
}
