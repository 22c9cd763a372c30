//! Turns answers into yes or no, below every layer that looks at errors.

use std::marker::PhantomData;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::StatusCode;
use serde::de::DeserializeOwned;
use tower::{Layer, Service};

use super::backoff::retry_after;
use super::error::{Answer, Error, Refusal};
use super::lenient::{lenient, unmarked};
use super::operation::{Call, Meta, Reply, Vendor};
use super::redact::Sent;

/// Applies a vendor's `judge`, and takes everything secret out of what it quotes.
pub(super) struct JudgeLayer<V>(PhantomData<V>);

pub(super) struct Judge<S, V> {
    inner: S,
    vendor: PhantomData<V>,
}

impl<V> JudgeLayer<V> {
    pub(super) fn new() -> Self {
        JudgeLayer(PhantomData)
    }
}

impl<S: Clone, V> Clone for Judge<S, V> {
    fn clone(&self) -> Self {
        Judge {
            inner: self.inner.clone(),
            vendor: PhantomData,
        }
    }
}

impl<S, V> Layer<S> for JudgeLayer<V> {
    type Service = Judge<S, V>;

    fn layer(&self, inner: S) -> Self::Service {
        Judge {
            inner,
            vendor: PhantomData,
        }
    }
}

impl<S, V> Service<Call> for Judge<S, V>
where
    V: Vendor,
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
        let meta = call.meta;
        let sent = Sent::with(&call);
        let answer = self.inner.call(call);
        Box::pin(async move {
            let mut result = V::judge(meta, answer.await?);
            if let Some(answer) = result.as_mut().err().and_then(Error::answer_mut) {
                sent.redactor().clean_answer(answer);
            }
            result
        })
    }
}

/// What an HTTP status means where the vendor's own envelope says nothing: `None` for 2xx.
///
/// `text` are the vendor's words, as far as it gave any.
pub fn by_status(meta: &Meta, reply: &Reply, code: Option<String>, text: String) -> Option<Error> {
    let meaning = match reply.status {
        status if status.is_success() => return None,
        // Those that come before an answer never get here: this one is all that was said.
        status if status.is_informational() => {
            let cause = format!("HTTP {} is no answer", status.as_u16());
            return Some(unreadable(reply, cause));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            return Some(Error::Throttled {
                retry_after: retry_after(&reply.headers),
                answer: answer(reply, code, text),
            });
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            let answer = answer(reply, code, text);
            return Some(match retry_after(&reply.headers) {
                Some(retry_after) => Error::Busy {
                    retry_after,
                    answer,
                },
                None => Error::Bare(answer),
            });
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
            return Some(Error::Bare(answer(reply, code, text)));
        }
        StatusCode::UNAUTHORIZED => {
            return Some(Error::CredentialRefused(answer(reply, code, text)));
        }
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Refusal::Invalid,
        StatusCode::FORBIDDEN if is_html(reply) => Refusal::Blocked,
        StatusCode::FORBIDDEN => Refusal::Denied,
        StatusCode::NOT_FOUND => Refusal::NotFound,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Refusal::Misconfigured,
        StatusCode::CONFLICT if meta.creates => Refusal::AlreadyExists,
        StatusCode::CONFLICT => Refusal::Conflict,
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        StatusCode::IM_A_TEAPOT => Refusal::Blocked,
        _ => Refusal::Failed,
    };
    Some(Error::Refused {
        meaning,
        answer: answer(reply, code, text),
    })
}

pub fn answer(reply: &Reply, code: Option<String>, text: String) -> Answer {
    Answer {
        status: reply.status,
        code,
        text,
    }
}

/// A whole answer that makes no sense. A page comes from something in front of the vendor, such as a
/// sign-on, and that is where whoever reads the error has to look.
pub fn unreadable(reply: &Reply, cause: impl Into<String>) -> Error {
    let cause = match is_page(&reply.body) {
        true => "it is an HTML page".to_owned(),
        false => cause.into(),
    };
    Error::Unreadable {
        status: Some(reply.status),
        cause,
    }
}

/// Reads a body that is a JSON object, lenient in its encoding; `None` for anything else.
///
/// Serde alone would take an array for a struct, field by field, and `[0]` for a yes.
pub fn object<T: DeserializeOwned>(reply: &Reply) -> Option<T> {
    let text = lenient(&reply.body);
    let object = text.trim_start().starts_with('{');
    object.then(|| serde_json::from_str(&text).ok()).flatten()
}

/// Whether the answer is a page for people: it comes from something in front of the vendor.
pub fn is_html(reply: &Reply) -> bool {
    let declared = reply
        .headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().contains("html"));
    declared || is_page(&reply.body)
}

fn is_page(body: &[u8]) -> bool {
    unmarked(body).trim_ascii_start().starts_with(b"<")
}

/// The first line of an answer that is not JSON, for the error; pages are only named.
pub fn plain_text(reply: &Reply) -> String {
    if is_html(reply) {
        return "an HTML page".to_owned();
    }
    let text = String::from_utf8_lossy(unmarked(&reply.body));
    text.trim().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
