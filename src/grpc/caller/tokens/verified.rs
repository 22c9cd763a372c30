//! Tokens that were found good, so that not every call pays for a signature.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};

/// Of each of two generations: when the younger is full, the older is forgotten.
const MOST: usize = 4096;

/// By their digests, so that no token lies about in memory.
type Print = [u8; 32];

#[derive(Default)]
pub(super) struct Verified(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<Print, Entry>,
    old: HashMap<Print, Entry>,
}

#[derive(Clone)]
struct Entry {
    identity: Arc<str>,
    /// Seconds since 1970.
    until: u64,
}

impl Verified {
    pub(super) fn get(&self, token: &str) -> Option<Arc<str>> {
        self.get_at(token, now())
    }

    fn get_at(&self, token: &str, now: u64) -> Option<Arc<str>> {
        let print = print(token);
        // Whoever panicked here left whole entries behind.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = match kept.young.get(&print) {
            Some(entry) => entry.clone(),
            None => {
                let entry = kept.old.remove(&print)?;
                kept.add(print, entry.clone());
                entry
            }
        };
        (now < entry.until).then_some(entry.identity)
    }

    pub(super) fn put(&self, token: &str, identity: Arc<str>, until: u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.add(print(token), Entry { identity, until });
    }
}

impl Generations {
    fn add(&mut self, print: Print, entry: Entry) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(print, entry);
    }
}

fn print(token: &str) -> Print {
    let mut print = [0; 32];
    print.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    print
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

    #[test]
    fn a_token_is_known_until_it_expires() {
        let verified = Verified::default();
        verified.put("token", "jwt:a".into(), 100);
        assert_eq!(verified.get_at("token", 99).as_deref(), Some("jwt:a"));
        assert_eq!(verified.get_at("token", 100), None);
        assert_eq!(verified.get_at("other", 99), None);
    }

    #[test]
    fn as_many_as_there_is_room_for_and_those_in_use_stay() {
        let verified = Verified::default();
        verified.put("used", "jwt:used".into(), 100);
        verified.put("unused", "jwt:unused".into(), 100);
        for n in 0..3 * MOST {
            verified.put(&n.to_string(), "jwt:x".into(), 100);
            assert!(verified.get_at("used", 1).is_some(), "{n}");
        }
        assert!(verified.get_at("unused", 1).is_none());
        let kept = verified.0.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * MOST);
    }
}
