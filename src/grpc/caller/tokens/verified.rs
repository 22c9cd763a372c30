//! Tokens that were found good, so that not every call pays for a signature.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};

/// Of each of two generations: when the younger is full, the older is forgotten.
const MOST: usize = 4096;

/// By their digests, so that no token lies about in memory.
type Print = [u8; 32];

#[derive(Default)]
pub(super) struct Verified(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Print, Bearer>,
    old: HashMap<Print, Bearer>,
}

/// Whom a good token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::grpc::caller) struct Bearer {
    /// `jwt:` and the subject.
    pub(in crate::grpc::caller) identity: Arc<str>,
    /// In seconds since 1970: good before, and no more from then on.
    pub(in crate::grpc::caller) until: u64,
}

impl Verified {
    pub(super) fn get(&self, token: &str) -> Option<Bearer> {
        self.get_at(token, now())
    }

    fn get_at(&self, token: &str, now: u64) -> Option<Bearer> {
        let print = print(token);
        // Whoever panicked here left whole entries behind.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bearer = match kept.young.get(&print) {
            Some(bearer) => bearer.clone(),
            None => {
                let bearer = kept.old.remove(&print)?;
                kept.add(print, bearer.clone());
                bearer
            }
        };
        (now < bearer.until).then_some(bearer)
    }

    pub(super) fn put(&self, token: &str, bearer: Bearer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.add(print(token), bearer);
    }
}

impl Generations {
    fn add(&mut self, print: Print, bearer: Bearer) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(print, bearer);
    }
}

fn print(token: &str) -> Print {
    let mut print = [0; 32];
    print.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    print
}

/// Until a second after 1970; none when it has come.
pub(in crate::grpc::caller) fn left(until: u64) -> Option<Duration> {
    left_at(until, SystemTime::now())
}

fn left_at(until: u64, now: SystemTime) -> Option<Duration> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = Duration::from_secs(until).checked_sub(now)?;
    (!left.is_zero()).then_some(left)
}

/// A clock from before 1970 makes every token a new one.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(u64::MAX, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(identity: &str) -> Bearer {
        Bearer {
            identity: identity.into(),
            until: 100,
        }
    }

    #[test]
    fn a_token_is_known_until_it_expires() {
        let verified = Verified::default();
        verified.put("token", bearer("jwt:a"));
        assert_eq!(verified.get_at("token", 99), Some(bearer("jwt:a")));
        assert_eq!(verified.get_at("token", 100), None);
        assert_eq!(verified.get_at("other", 99), None);
    }

    #[test]
    fn a_token_has_time_left_until_its_second_has_come() {
        let at = |seconds: f64| UNIX_EPOCH + Duration::from_secs_f64(seconds);
        for (until, now, expected) in [
            (100, 0.0, Some(100.0)),
            (100, 99.5, Some(0.5)),
            (100, 100.0, None),
            (100, 101.0, None),
            (0, 0.0, None),
        ] {
            let left = left_at(until, at(now)).map(|it| it.as_secs_f64());
            assert_eq!(left, expected, "{until} {now}");
        }
        assert!(left(u64::MAX).is_some());
        let before_1970 = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(left_at(3, before_1970), Some(Duration::from_secs(3)));
    }

    #[test]
    fn as_many_as_there_is_room_for_and_those_in_use_stay() {
        let verified = Verified::default();
        verified.put("used", bearer("jwt:used"));
        verified.put("unused", bearer("jwt:unused"));
        for n in 0..3 * MOST {
            verified.put(&n.to_string(), bearer("jwt:x"));
            assert!(verified.get_at("used", 1).is_some(), "{n}");
        }
        assert!(verified.get_at("unused", 1).is_none());
        let kept = verified.0.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * MOST);
    }
}
