//! `grpc-timeout` becomes the call's deadline, within the operator's bounds.
//!
//! It bounds the arrival of the request's message here ([`Arriving`]); all that comes after bounds itself.

use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{Extensions, HeaderMap, Request};
use tokio::time::Instant;
use tonic::body::Body;
use tower::{Layer, Service};

use super::arriving::Arriving;
use super::connections::Arrival;
use super::inbound::Deadline;

/// How much earlier than the caller's own deadline the answer leaves, so that it arrives: a
/// late one is replaced by a bare CANCELLED or DEADLINE_EXCEEDED without details.
const HEAD_START: Duration = Duration::from_millis(20);

const TIMEOUT: &str = "grpc-timeout";

/// The operator's bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeadlineLayer {
    /// Where the caller sends none.
    pub(super) default: Duration,
    pub(super) max: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct DeadlineService<S> {
    inner: S,
    bounds: DeadlineLayer,
}

impl DeadlineLayer {
    /// What a caller with these headers gives a call.
    pub(super) fn time(self, headers: &HeaderMap) -> Duration {
        self.allowed(asked(headers))
    }

    /// When a call has to be answered, as far as its head tells.
    pub(super) fn of(self, request: &Parts) -> Instant {
        arrived(&request.extensions) + self.time(&request.headers)
    }

    fn allowed(self, asked: Option<Duration>) -> Duration {
        asked.map_or(self.default, |asked| asked.min(self.max))
    }
}

fn arrived(extensions: &Extensions) -> Instant {
    let arrival = extensions.get::<Arrival>();
    arrival.map_or_else(Instant::now, |arrival| arrival.0)
}

/// The caller's own timeout, less what the answer needs to arrive within it.
fn asked(headers: &HeaderMap) -> Option<Duration> {
    let timeout = grpc_timeout(headers)?;
    Some(timeout - HEAD_START.min(timeout / 2))
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = DeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService {
            inner,
            bounds: *self,
        }
    }
}

impl<S> Service<Request<Body>> for DeadlineService<S>
where
    S: Service<Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let arrived = arrived(request.extensions());
        let asked = asked(request.headers());
        let deadline = arrived + self.bounds.allowed(asked);
        request.extensions_mut().insert(Deadline {
            bounded: deadline,
            asked: asked.map(|asked| arrived + asked),
        });
        self.inner
            .call(request.map(|body| Body::new(Arriving::new(body, deadline))))
    }
}

/// Whether the caller gives a timeout that cannot be read.
pub(super) fn is_malformed(headers: &HeaderMap) -> bool {
    headers.contains_key(TIMEOUT) && grpc_timeout(headers).is_none()
}

/// The caller's timeout (gRPC over HTTP/2: at most 8 digits and a unit).
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Reads a caller's timeout as the layer does.
#[cfg(any(test, fuzzing))]
pub(super) fn take_in(headers: &HeaderMap) {
    let bounds = DeadlineLayer {
        default: Duration::from_secs(10),
        max: Duration::from_secs(30),
    };
    let asked = asked(headers);
    let _ = asked.map(|asked| Instant::now() + asked);
    assert!(bounds.allowed(asked) <= bounds.max);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    use http::HeaderValue;
    use proptest::prelude::*;

    const BOUNDS: DeadlineLayer = DeadlineLayer {
        default: Duration::from_secs(10),
        max: Duration::from_secs(30),
    };

    fn allowed(timeout: &str) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_str(timeout).unwrap());
        BOUNDS.allowed(asked(&headers))
    }

    #[test]
    fn the_caller_decides_within_bounds() {
        assert_eq!(BOUNDS.allowed(asked(&HeaderMap::new())), BOUNDS.default);
        assert_eq!(allowed("1S"), Duration::from_millis(980));
        assert_eq!(allowed("250m"), Duration::from_millis(230));
        assert_eq!(allowed("1H"), BOUNDS.max);
        assert_eq!(allowed("99999999H"), BOUNDS.max);
        assert_eq!(allowed("10m"), Duration::from_millis(5));
        assert_eq!(allowed("0m"), Duration::ZERO);
    }

    /// Also where the call has waited for its turn.
    #[tokio::test(start_paused = true)]
    async fn the_time_runs_from_the_arrival() {
        let arrived = Instant::now();
        tokio::time::advance(Duration::from_millis(300)).await;
        let mut request = Request::new(Body::empty());
        let timeout = HeaderValue::from_static("1S");
        request.headers_mut().insert("grpc-timeout", timeout);
        request.extensions_mut().insert(Arrival(arrived));
        let mut layered = BOUNDS.layer(tower::service_fn(|request: Request<Body>| {
            let deadline = request.extensions().get::<Deadline>().copied();
            std::future::ready(Ok::<_, Infallible>(deadline))
        }));
        let deadline = layered.call(request).await.unwrap().unwrap();
        let expected = arrived + Duration::from_millis(980);
        assert_eq!(deadline.bounded, expected);
        assert_eq!(deadline.asked, Some(expected));
    }

    #[test]
    fn nonsense_is_malformed_and_none_is_not() {
        assert!(!is_malformed(&HeaderMap::new()));
        for (timeout, malformed) in [
            ("", true),
            ("S", true),
            ("5", true),
            ("-1S", true),
            ("123456789S", true),
            ("1.5S", true),
            ("1s", true),
            ("1ä", true),
            ("0n", false),
            ("99999999H", false),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(timeout.as_bytes()).unwrap();
            headers.insert("grpc-timeout", value);
            assert_eq!(is_malformed(&headers), malformed, "{timeout:?}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_asked_nor_than_the_maximum(amount in 0u64..=99_999_999, unit in "[HMSmun]") {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_str(&format!("{amount}{unit}")).unwrap());
            let timeout = grpc_timeout(&headers).unwrap();
            let allowed = BOUNDS.allowed(asked(&headers));
            prop_assert!(allowed <= BOUNDS.max && allowed <= timeout);
            prop_assert!(timeout.is_zero() || !allowed.is_zero() || timeout == Duration::from_nanos(1));
        }
    }
}
