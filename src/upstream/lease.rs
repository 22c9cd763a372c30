//! A token in use, and the moments of its life.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request};
use secrecy::SecretString;
use tokio::time::Instant;

use super::auth::Token;
use super::secret;

/// No token is used for the last part of its life: clocks and networks are not exact.
const LONGEST_MARGIN: Duration = Duration::from_secs(60);

/// A token in use. Its identity is its address: that is how a refused one is told from its
/// successor.
pub(super) struct Lease<T> {
    token: T,
    /// Of the secret that it was got with.
    pub(super) version: secret::Version,
    from: Instant,
    refresh_at: Option<Instant>,
    wait_at: Option<Instant>,
    ends_at: Option<Instant>,
    pub(super) life: Option<Duration>,
    /// Since the vendor took it last.
    refusals: AtomicU32,
}

/// In place of a number of refusals: the vendor never took it.
const UNTRIED: u32 = u32::MAX;

impl<T> Lease<T> {
    pub(super) fn new(
        token: T,
        life: Option<Duration>,
        from: Instant,
        version: secret::Version,
    ) -> Self {
        let margin = |life: Duration| LONGEST_MARGIN.min(life / 10);
        Lease {
            token,
            version,
            from,
            refresh_at: life.map(|life| from + life / 2),
            wait_at: life.map(|life| from + life - margin(life)),
            ends_at: life.map(|life| from + life),
            life,
            refusals: AtomicU32::new(UNTRIED),
        }
    }

    pub(super) fn token(&self) -> &T {
        &self.token
    }

    /// The vendor took it.
    pub(super) fn mark_accepted(&self) {
        if self.refusals.load(Ordering::Relaxed) != 0 {
            self.refusals.store(0, Ordering::Relaxed);
        }
    }

    /// At least once.
    pub(super) fn was_accepted(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) != UNTRIED
    }

    /// Counts a refusal of one that was accepted; how many there have been since.
    pub(super) fn refused_again(&self) -> u32 {
        self.refusals.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How long ago its login was sent, and what is left of its life, if that is known.
    pub(super) fn times(&self, now: Instant) -> (Duration, Option<Duration>) {
        let left = self.ends_at.map(|end| end.saturating_duration_since(now));
        (now.saturating_duration_since(self.from), left)
    }

    /// Half of its life is over: time to look for a successor.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        past(self.refresh_at, now)
    }

    /// So near its end that it is used only when no successor can be had.
    pub(super) fn is_ending(&self, now: Instant) -> bool {
        past(self.wait_at, now)
    }

    pub(super) fn has_ended(&self, now: Instant) -> bool {
        past(self.ends_at, now)
    }
}

fn past(moment: Option<Instant>, now: Instant) -> bool {
    moment.is_some_and(|moment| now >= moment)
}

impl<T: Token> Token for Lease<T> {
    fn sign(&self, request: &mut Request<bytes::Bytes>) {
        self.token.sign(request);
    }

    fn answered(&self, headers: &HeaderMap) {
        self.token.answered(headers);
    }

    fn secrets(&self) -> Vec<SecretString> {
        self.token.secrets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moments_of_a_life() {
        // In seconds: the life, when it is due, when it is kept for bad times, when it ends.
        for [life, due, ending, ended] in [
            [10, 5, 9, 10],
            [600, 300, 540, 600],
            [3600, 1800, 3540, 3600],
        ] {
            let from = Instant::now();
            let lives = Some(Duration::from_secs(life));
            let lease = Lease::new((), lives, from, secret::Version::default());
            for second in 0..=life {
                let now = from + Duration::from_secs(second);
                assert_eq!(lease.is_due(now), second >= due, "{second} of {life}");
                assert_eq!(lease.is_ending(now), second >= ending, "{second} of {life}");
                assert_eq!(lease.has_ended(now), second >= ended, "{second} of {life}");
            }
        }
    }
}
