//! `grpc-timeout` becomes the call's deadline, within the operator's bounds.

use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::inbound::Deadline;

/// How much earlier than the caller's own deadline the answer leaves, so that it arrives: a
/// late one is replaced by a bare CANCELLED or DEADLINE_EXCEEDED without details.
const HEAD_START: Duration = Duration::from_millis(20);

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
    fn allowed(self, headers: &HeaderMap) -> Duration {
        match grpc_timeout(headers) {
            None => self.default,
            Some(asked) => (asked - HEAD_START.min(asked / 2)).min(self.max),
        }
    }
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

impl<S, B> Service<Request<B>> for DeadlineService<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let deadline = Instant::now() + self.bounds.allowed(request.headers());
        request.extensions_mut().insert(Deadline(deadline));
        self.inner.call(request)
    }
}

/// The caller's timeout (gRPC over HTTP/2: at most 8 digits and a unit); one that cannot be
/// read counts as none.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const BOUNDS: DeadlineLayer = DeadlineLayer {
        default: Duration::from_secs(10),
        max: Duration::from_secs(30),
    };

    fn allowed(timeout: &str) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_str(timeout).unwrap());
        BOUNDS.allowed(&headers)
    }

    #[test]
    fn the_caller_decides_within_bounds() {
        assert_eq!(BOUNDS.allowed(&HeaderMap::new()), BOUNDS.default);
        assert_eq!(allowed("1S"), Duration::from_millis(980));
        assert_eq!(allowed("250m"), Duration::from_millis(230));
        assert_eq!(allowed("1H"), BOUNDS.max);
        assert_eq!(allowed("99999999H"), BOUNDS.max);
        assert_eq!(allowed("10m"), Duration::from_millis(5));
        assert_eq!(allowed("0m"), Duration::ZERO);
    }

    #[test]
    fn nonsense_counts_as_none() {
        for nonsense in ["", "S", "5", "-1S", "123456789S", "1.5S", "1s", "1ä"] {
            let mut headers = HeaderMap::new();
            headers.insert(
                "grpc-timeout",
                HeaderValue::from_bytes(nonsense.as_bytes()).unwrap(),
            );
            assert_eq!(BOUNDS.allowed(&headers), BOUNDS.default, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_asked_nor_than_the_maximum(amount in 0u64..=99_999_999, unit in "[HMSmun]") {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_str(&format!("{amount}{unit}")).unwrap());
            let asked = grpc_timeout(&headers).unwrap();
            let allowed = BOUNDS.allowed(&headers);
            prop_assert!(allowed <= BOUNDS.max && allowed <= asked);
            prop_assert!(asked.is_zero() || !allowed.is_zero() || asked == Duration::from_nanos(1));
        }
    }
}
