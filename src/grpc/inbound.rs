//! What every call brings and takes home: its request id, its deadline, and how many requests
//! it cost at the vendor.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::caller::Permit;
use super::connections::{Hold, Leaving};
use crate::telemetry::server::{Costs, Notes};
use crate::upstream::client::Ticket;
use crate::upstream::progress::Progress;

const REQUEST_ID: &str = "x-request-id";
const ATTEMPTS: &str = "x-switchboard-attempts";

/// Sent by gRPC clients that retry on their own (gRFC A6).
const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

/// Longer ids of callers are not passed on.
const LONGEST_REQUEST_ID: usize = 128;

/// Gives every call an id and a place to count in, and every response the metadata that tells
/// of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct InboundLayer;

#[derive(Debug, Clone)]
pub(super) struct Inbound<S> {
    inner: S,
}

impl<S> Layer<S> for InboundLayer {
    type Service = Inbound<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Inbound { inner }
    }
}

impl<S, B, R> Service<Request<B>> for Inbound<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut id = request_id(request.headers());
        let progress = Progress::default();
        if let Some(notes) = request.extensions().get::<Notes>() {
            notes.set(id.clone(), progress.clone());
        }
        request.extensions_mut().insert(progress.clone());
        // Never seen again: in the connection's table of headers it would only drive others out.
        id.set_sensitive(true);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            let headers = response.headers_mut();
            headers.insert(REQUEST_ID, id);
            headers.insert(ATTEMPTS, progress.sent().into());
            Ok(response)
        })
    }
}

/// For the access log.
impl Costs for Progress {
    fn attempts(&self) -> u32 {
        self.sent()
    }

    fn account(&self) -> Option<Arc<str>> {
        Progress::account(self)
    }

    fn vendor_status(&self) -> Option<u16> {
        Progress::vendor_status(self)
    }

    fn vendor_time(&self) -> Duration {
        Progress::vendor_time(self)
    }
}

/// The caller's id when it is fit to be passed on, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let fit = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=LONGEST_REQUEST_ID).contains(&bytes.len())
            && bytes.iter().all(|byte| (0x20..=0x7e).contains(byte))
    };
    headers
        .get(REQUEST_ID)
        .filter(fit)
        .cloned()
        .unwrap_or_else(|| {
            // Not by `new_v4`, which asks the kernel each time.
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
            let id = Bytes::copy_from_slice(id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
            HeaderValue::from_maybe_shared(id).expect("a UUID is printable ASCII")
        })
}

/// When a call has to be answered; put into its extensions by the deadline layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    /// Within the operator's bounds, whatever the caller asked for.
    pub(super) bounded: Instant,
    /// The caller's own, for calls that the operator's bounds do not end.
    pub(super) asked: Option<Instant>,
}

/// A message that says for which account it is, and what it is about.
pub trait Addressed {
    fn account(&self) -> &str;
    fn account_mut(&mut self) -> &mut String;

    /// The id of what is read or written, for the audit log; empty where there is none.
    fn target(&self) -> &str;
}

/// Tells where in messages their account is, and the id of what they are about:
/// `addressed!(GetSessionRequest: session_id, ListSessionsRequest)`.
macro_rules! addressed {
    ($($message:ty $(: $target:ident)?),* $(,)?) => {$(
        impl $crate::grpc::inbound::Addressed for $message {
            fn account(&self) -> &str {
                &self.account
            }

            fn account_mut(&mut self) -> &mut String {
                &mut self.account
            }

            fn target(&self) -> &str {
                [$(&*self.$target,)? ""][0]
            }
        }
    )*};
}
pub(crate) use addressed;

/// Splits a request into what a vendor call needs and the message, if the caller may use the
/// account that it names: before anything is said about the message, as who may not use an
/// account is not to learn whether there is one.
///
/// The layers of the server stack put the parts there; a call that came around them could
/// wait for ever, or be anybody's, so it is not served.
pub fn open<T: Addressed>(request: tonic::Request<T>) -> Result<(Opened, T), tonic::Status> {
    let extensions = request.extensions();
    let (Some(&Deadline { bounded, asked }), Some(progress), Some(leaving), Some(permit)) = (
        extensions.get(),
        extensions.get::<Progress>(),
        extensions.get::<Leaving>(),
        extensions.get::<Permit>(),
    ) else {
        return Err(super::status::defect(
            "the call did not pass the server stack",
        ));
    };
    let message = request.get_ref();
    let account = account_name(message.account());
    permit.record().tell(account, message.target());
    if !permit.allows(account) {
        return Err(super::status::denied("use this account"));
    }
    let opened = Opened {
        deadline: bounded,
        asked,
        leaving: leaving.clone(),
        caller_repeats: caller_repeats(request.metadata()),
        progress: progress.clone(),
        place: extensions.get().cloned(),
        caller: permit.caller().cloned(),
    };
    Ok((opened, request.into_inner()))
}

/// What a call brought beside its message.
#[derive(Debug, Clone)]
pub struct Opened {
    deadline: Instant,
    asked: Option<Instant>,
    leaving: Leaving,
    caller_repeats: bool,
    progress: Progress,
    place: Option<Arc<OwnedSemaphorePermit>>,
    caller: Option<Arc<str>>,
}

impl Opened {
    /// Who calls; empty for everybody who is anonymous.
    pub fn caller(&self) -> &str {
        self.caller.as_deref().unwrap_or_default()
    }

    /// The deadline that the caller set itself, if any: all that bounds a stream.
    pub fn asked_deadline(&self) -> Option<Instant> {
        self.asked
    }

    /// For a stream, which ends with its connection, by its age or with the gateway; calls do not.
    pub fn hold(&self) -> Hold {
        self.leaving.hold()
    }

    /// A stream, which is no call of a client's, is for this account of the configuration.
    pub fn note_account(&self, account: &str) {
        self.progress.note_account(&account.into());
    }

    /// What the vendor's client wants to know; an empty account is `default`.
    pub fn ticket(self, account: &str) -> Ticket {
        Ticket {
            account: account_name(account).to_owned(),
            deadline: self.deadline,
            caller_repeats: self.caller_repeats,
            progress: self.progress,
            place: self.place,
        }
    }
}

/// The account that a request means.
pub fn account_name(account: &str) -> &str {
    if account.is_empty() {
        "default"
    } else {
        account
    }
}

fn caller_repeats(metadata: &tonic::metadata::MetadataMap) -> bool {
    metadata
        .get(PREVIOUS_ATTEMPTS)
        .and_then(|value| value.to_str().ok()?.parse::<u32>().ok())
        .is_some_and(|attempts| attempts >= 1)
}

/// Reads a caller's metadata as the layer and the facades do.
#[cfg(any(test, fuzzing))]
pub(super) fn take_in(headers: HeaderMap) {
    let id = request_id(&headers);
    assert!((1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.to_str().is_ok());
    let _ = caller_repeats(&tonic::metadata::MetadataMap::from_headers(headers));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(sent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(
            REQUEST_ID,
            HeaderValue::from_bytes(sent.as_bytes()).unwrap(),
        );
        request_id(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_caller_that_repeats_says_so() {
        for (sent, repeats) in [
            ("0", false),
            ("1", true),
            ("2", true),
            ("", false),
            ("x", false),
        ] {
            let mut metadata = tonic::metadata::MetadataMap::new();
            metadata.insert(PREVIOUS_ATTEMPTS, sent.parse().unwrap());
            assert_eq!(caller_repeats(&metadata), repeats, "{sent:?}");
        }
        assert!(!caller_repeats(&tonic::metadata::MetadataMap::new()));
    }

    #[test]
    fn the_callers_id_is_kept_when_it_is_fit() {
        assert_eq!(id_for("order 4711"), "order 4711");
        assert_eq!(id_for(&"a".repeat(128)), "a".repeat(128));
        for unfit in ["", "käse", &"a".repeat(129)] {
            let id = id_for(unfit);
            assert_eq!(id.len(), 36, "{unfit:?} was replaced by {id:?}");
        }
        assert_ne!(id_for(""), id_for(""));
    }
}
