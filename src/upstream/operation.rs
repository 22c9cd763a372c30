//! What a call is made of: an operation is data and two pure functions, and does no I/O.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde::Serialize;
use tokio::time::Instant;

use super::auth::Signed;
use super::error::Error;

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
    pub deadline: Instant,
    /// The caller is itself repeating, so this is not the place to multiply it.
    pub caller_repeats: bool,
    pub progress: Progress,
    /// Whose credentials the request carries, once it does.
    pub(super) signed: Option<Signed>,
}

/// What has been sent so far for a call; shared by everybody who has to tell the caller.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Travelled>);

#[derive(Debug, Default)]
struct Travelled {
    attempts: AtomicU32,
    sent: AtomicU32,
    in_doubt: AtomicBool,
    was_in_doubt: AtomicBool,
    budget_spent: AtomicBool,
    joined: AtomicBool,
    account: OnceLock<Arc<str>>,
    /// Of the last answer; 0 where there was none.
    vendor_status: AtomicU16,
    vendor_nanos: AtomicU64,
    repeated_for: Mutex<Option<&'static str>>,
}

/// A call that waits to learn whether another one does its write.
#[must_use]
pub struct Joined(Progress);

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.0.joined.store(false, Ordering::Relaxed);
    }
}

impl Progress {
    /// How many requests have been sent to the vendor.
    pub fn sent(&self) -> u32 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Whether a request may be at the vendor with its outcome unknown.
    pub fn in_doubt(&self) -> bool {
        self.0.in_doubt.load(Ordering::Relaxed)
    }

    /// Whether an attempt before the present one ended with its outcome unknown.
    pub fn was_in_doubt(&self) -> bool {
        self.0.was_in_doubt.load(Ordering::Relaxed)
    }

    /// Whether another call may be doing the same write, so that this one knows nothing of it.
    pub fn joined(&self) -> bool {
        self.0.joined.load(Ordering::Relaxed)
    }

    /// It may be doing so for as long as what comes back is kept.
    pub fn join(&self) -> Joined {
        self.0.joined.store(true, Ordering::Relaxed);
        Joined(self.clone())
    }

    /// Counts the requests of another call in, which was made on behalf of this one.
    pub fn absorb(&self, other: &Progress) {
        self.0.sent.fetch_add(other.sent(), Ordering::Relaxed);
        self.attempted(other.vendor_status(), other.vendor_time());
    }

    /// The vendor's account, once it is known to be one of the configuration's.
    pub fn account(&self) -> Option<Arc<str>> {
        self.0.account.get().cloned()
    }

    /// A call is made with this account, which must be one of the configuration's.
    pub fn note_account(&self, account: &Arc<str>) {
        self.0.account.get_or_init(|| Arc::clone(account));
    }

    /// The HTTP status of the vendor's last answer.
    pub fn vendor_status(&self) -> Option<u16> {
        let status = self.0.vendor_status.load(Ordering::Relaxed);
        (status > 0).then_some(status)
    }

    /// How long all attempts took together.
    pub fn vendor_time(&self) -> Duration {
        Duration::from_nanos(self.0.vendor_nanos.load(Ordering::Relaxed))
    }

    /// An attempt ended, with this answer if any.
    pub(super) fn attempted(&self, status: Option<u16>, took: Duration) {
        let status = status.unwrap_or_default();
        self.0.vendor_status.store(status, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.vendor_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Why the attempt that comes next is made, if it is a repeat.
    pub(super) fn repeated_for(&self) -> Option<&'static str> {
        *self.repeat()
    }

    pub(super) fn mark_repeat(&self, reason: &'static str) {
        *self.repeat() = Some(reason);
    }

    fn repeat(&self) -> std::sync::MutexGuard<'_, Option<&'static str>> {
        // Nothing is done under the lock that could leave it half written.
        let lock = self.0.repeated_for.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn budget_spent(&self) -> bool {
        self.0.budget_spent.load(Ordering::Relaxed)
    }

    /// Another attempt is made; returns how many there were before.
    pub(super) fn count_attempt(&self) -> u32 {
        self.0.attempts.fetch_add(1, Ordering::Relaxed)
    }

    /// The first byte of a request goes out.
    pub(crate) fn mark_sent(&self) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
        self.0.in_doubt.store(true, Ordering::Relaxed);
    }

    /// What was marked as sent turned out not to have been.
    pub(super) fn unmark_sent(&self) {
        self.0.sent.fetch_sub(1, Ordering::Relaxed);
        self.settle();
    }

    /// What was in doubt was found not to have happened.
    pub fn forget_doubt(&self) {
        self.settle();
        self.0.was_in_doubt.store(false, Ordering::Relaxed);
    }

    /// The present attempt's outcome is known.
    pub(super) fn settle(&self) {
        self.0.in_doubt.store(false, Ordering::Relaxed);
    }

    /// Another attempt begins.
    pub(super) fn next_attempt(&self) {
        if self.0.in_doubt.swap(false, Ordering::Relaxed) {
            self.0.was_in_doubt.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn mark_budget_spent(&self) {
        self.0.budget_spent.store(true, Ordering::Relaxed);
    }
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
