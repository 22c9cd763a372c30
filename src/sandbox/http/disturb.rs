//! What each fault makes of an answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::{JSON, Simulator, TEXT, page, respond};
use crate::sandbox::faults::Fault;

/// Neither JSON nor UTF-8 nor a gzip stream, though it begins like one.
const GARBAGE: &[u8] = b"\x1f\x8b\x00{\"half\": \xff\xfe\x00 not json";

/// How the answer travels.
pub(super) enum Delivery {
    Whole(Response<Bytes>),
    Cut(Response<Bytes>),
    Trickle(Response<Bytes>, Duration),
    Reset,
    Hang,
}

impl Delivery {
    /// What the client gets to see, in part at least.
    pub(super) fn response(&self) -> Option<&Response<Bytes>> {
        match self {
            Self::Whole(response) | Self::Cut(response) | Self::Trickle(response, _) => {
                Some(response)
            }
            Self::Reset | Self::Hang => None,
        }
    }
}

/// `answer` is what the vendor said, if it was asked at all.
pub(super) fn disturb<S: Simulator>(fault: &Fault, answer: Option<Response<Bytes>>) -> Delivery {
    let said = answer.unwrap_or_else(S::accepted);
    Delivery::Whole(match fault {
        Fault::Latency { .. } => said,
        Fault::Trickle { ms_per_byte } => {
            return Delivery::Trickle(said, Duration::from_millis(*ms_per_byte));
        }
        Fault::CutBody => return Delivery::Cut(said),
        Fault::Reset => return Delivery::Reset,
        Fault::Hang => return Delivery::Hang,
        // The others put something in the place of what the vendor said.
        Fault::Status {
            status,
            body,
            content_type,
            retry_after,
            location,
        } => {
            let mut response = respond(code(*status), TEXT, body.clone().unwrap_or_default());
            set(&mut response, CONTENT_TYPE, content_type.as_deref());
            set(&mut response, RETRY_AFTER, retry_after.as_deref());
            set(&mut response, LOCATION, location.as_deref());
            response
        }
        Fault::Throttle { retry_after } => {
            let mut response = respond(StatusCode::TOO_MANY_REQUESTS, TEXT, "too many requests");
            set(&mut response, RETRY_AFTER, Some(retry_after));
            response
        }
        Fault::Garbage => respond(StatusCode::OK, JSON, GARBAGE),
        Fault::Html { status } => page(code(*status)),
        Fault::Oversize { bytes } => oversize(S::accepted(), *bytes),
        Fault::WrongType => S::wrong_type(),
        Fault::NoCode => respond(StatusCode::OK, JSON, "{}"),
        Fault::Unauthorized => S::unauthorized(),
        Fault::ForbiddenToken => S::forbidden_token(),
        Fault::VendorCode { code, message } => S::refused(code.to_value(), message),
    })
}

/// A yes of exactly this size: only a client that bounds what it reads will refuse it.
fn oversize(accepted: Response<Bytes>, bytes: usize) -> Response<Bytes> {
    const OPEN: &[u8] = b",\"padding\":\"";
    const CLOSE: &[u8] = b"\"}";
    accepted.map(|body| {
        let Some(stem) = body.strip_suffix(b"}") else {
            return body;
        };
        let padding = bytes.saturating_sub(stem.len() + OPEN.len() + CLOSE.len());
        [stem, OPEN, &vec![b'x'; padding], CLOSE].concat().into()
    })
}

/// Rules are checked on their way into the plan, so both fallbacks are out of reach.
fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn set(response: &mut Response<Bytes>, name: HeaderName, value: Option<&str>) {
    if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().insert(name, value);
    }
}
