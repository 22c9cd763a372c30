//! How long to wait before sending again: full jitter, and the vendor's own Retry-After.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use rand::Rng;

/// A vendor's Retry-After is used as t to t + this, so that callers do not return all at once.
const SPREAD: Duration = Duration::from_secs(5);

/// The first wait after a 429 that does not say how long.
const THROTTLED_BASE: Duration = Duration::from_secs(1);

/// At least half of it: a throttled vendor wants a pause, not a chance of none.
pub(super) const LEAST_THROTTLED: Duration = Duration::from_millis(500);

/// Exponential backoff between two bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) base: Duration,
    pub(super) cap: Duration,
}

impl Backoff {
    /// The wait before repeat number `repeat`, which counts from 0.
    pub(super) fn wait(self, repeat: u32) -> Duration {
        let ceiling = self.base.saturating_mul(1 << repeat.min(16)).min(self.cap);
        rand::rng().random_range(Duration::ZERO..=ceiling)
    }

    /// The same for a vendor that limits the rate without saying for how long.
    pub(super) fn wait_throttled(self, repeat: u32) -> Duration {
        let rest = Backoff {
            base: THROTTLED_BASE - LEAST_THROTTLED,
            cap: self.cap.max(THROTTLED_BASE) - LEAST_THROTTLED,
        };
        LEAST_THROTTLED + rest.wait(repeat)
    }
}

/// A Retry-After spread out, as far as `room` allows; `None` when it does not fit at all.
///
/// Half of what is left stays for the attempt itself: one begun at the very end of the deadline
/// would be cut, and a write would be in doubt for it.
pub(super) fn spread(retry_after: Duration, room: Duration) -> Option<Duration> {
    let slack = room.checked_sub(retry_after)? / 2;
    Some(retry_after + rand::rng().random_range(Duration::ZERO..=slack.min(SPREAD)))
}

/// What callers are told to wait when the vendor gave no time of its own.
pub fn advised(throttled: bool) -> Duration {
    if throttled {
        THROTTLED_BASE
    } else {
        Duration::from_millis(500)
    }
}

/// A Retry-After beyond this, be it of more digits than any number has, is not waited for either.
const AGES: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Retry-After in seconds or as an HTTP date; a date in the past means now. It is past or to come by
/// the answer's own Date: the clock here may be minutes off.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let date = |text| httpdate::parse_http_date(text).ok();
    let value = text(header::RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(AGES, Duration::from_secs).min(AGES));
    }
    let now = text(header::DATE).and_then(date);
    let now = now.unwrap_or_else(SystemTime::now);
    Some(date(value)?.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn parsed(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parsed("7"), Some(Duration::from_secs(7)));
        assert_eq!(parsed(" 0 "), Some(Duration::ZERO));
        assert_eq!(
            parsed("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(parsed("-1"), None);
        assert_eq!(parsed("+1"), None);
        assert_eq!(parsed(""), None);
        assert_eq!(parsed("99999999999999999999999999"), Some(AGES));
        assert_eq!(parsed("99999999999"), Some(AGES));
        assert_eq!(parsed("soon"), None);
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        let wait = parsed(&date).unwrap();
        assert!(wait > Duration::from_secs(25) && wait <= Duration::from_secs(30));
    }

    #[test]
    fn a_date_is_read_by_the_clock_that_it_was_made_by() {
        let told = |at: &str, now: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(at).unwrap());
            headers.insert(header::DATE, HeaderValue::from_str(now).unwrap());
            retry_after(&headers)
        };
        let noon = "Sun, 06 Nov 1994 12:00:00 GMT";
        for (at, seconds) in [
            ("Sun, 06 Nov 1994 12:00:30 GMT", 30),
            ("Sun, 06 Nov 1994 11:59:59 GMT", 0),
            ("5", 5),
        ] {
            assert_eq!(told(at, noon), Some(Duration::from_secs(seconds)), "{at}");
        }
        let past = told(noon, "at noon");
        assert_eq!(past, Some(Duration::ZERO), "ours, where there is no other");
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(repeat in 0u32..100, base in 1u64..1000, cap in 1u64..5000) {
            let backoff = Backoff {
                base: Duration::from_millis(base),
                cap: Duration::from_millis(cap),
            };
            let wait = backoff.wait(repeat);
            prop_assert!(wait <= backoff.cap);
            prop_assert!(wait <= backoff.base * (1 << repeat.min(16)));
            let throttled = backoff.wait_throttled(repeat);
            prop_assert!(throttled >= LEAST_THROTTLED);
            prop_assert!(throttled <= backoff.cap.max(THROTTLED_BASE));
        }

        #[test]
        fn a_retry_after_is_never_undercut(after in 0u64..100, room in 0u64..100) {
            let (after, room) = (Duration::from_secs(after), Duration::from_secs(room));
            match spread(after, room) {
                Some(wait) => {
                    prop_assert!(wait >= after && wait <= after + SPREAD);
                    prop_assert!(room - wait >= (room - after) / 2);
                }
                None => prop_assert!(after > room),
            }
        }
    }
}
