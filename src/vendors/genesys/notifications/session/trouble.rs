//! What goes wrong with a session, how long that is put up with, and how long it rests meanwhile.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::super::{PATIENCE, PATIENCE_AT_FIRST};
use crate::upstream::error::Error;

/// Before a handshake that is made again, at the most and for the first time: when a node dies,
/// all its agents come at once.
pub(super) const SPREAD: Duration = Duration::from_secs(2);
pub(super) const LONGEST_REST: Duration = Duration::from_secs(20);

/// Between connects of one client: well below CometD's maxInterval of 10 s, after which the
/// server would have forgotten the client and its events.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Troubles after which a connect that is answered, but by nothing to go by, has the client begin anew.
const MOST_BORNE: u32 = 3;

/// Credentials that are replaced in a row, at once: nodes that come and go lose them more than once.
pub(super) const MOST_REPLACED: u32 = 3;

/// What went wrong since all was well.
#[derive(Default)]
pub(super) struct Trouble {
    /// From the very beginning at first, as the streams wait for their first message from then on;
    /// later from a failure, as a connect is held for as long as all is well.
    since: Option<Instant>,
    times: u32,
    /// For how long the vendor asked to be left alone when it failed last.
    told_to_wait: Duration,
    /// How often credentials were refused and replaced.
    refused: u32,
    /// All was well once.
    begun: bool,
}

impl Trouble {
    /// A session begins.
    pub(super) fn at_first() -> Self {
        Trouble {
            since: Some(Instant::now()),
            ..Trouble::default()
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.times == 0
    }

    /// All is well.
    pub(super) fn over(&mut self) {
        *self = Trouble {
            begun: true,
            ..Trouble::default()
        };
    }

    /// Counts a failure; gives the error back when it is time to tell the streams, or would be by the
    /// time that the vendor may be asked again.
    pub(super) fn bear(&mut self, error: Error) -> Result<(), Error> {
        let now = Instant::now();
        self.times += 1;
        self.told_to_wait = error.told_to_wait();
        let since = *self.since.get_or_insert(now);
        let (patience, may_pass) = match (self.begun, &error) {
            // What worked once may be denied for a moment by a node that is on its way in or out.
            (true, Error::CredentialRefused(_)) => (PATIENCE_AT_FIRST, true),
            (true, Error::Refused { .. }) => (PATIENCE, true),
            (true, error) => (PATIENCE, error.may_pass()),
            (false, error) => (PATIENCE_AT_FIRST, error.may_pass()),
        };
        match may_pass && now - since + self.told_to_wait < patience {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// Refused credentials have been thrown away by now; the next request comes with new ones, which
    /// may do a few times. A login that is refused, or of no use, is told by an error of its own.
    pub(super) fn is_cured(&mut self, error: &Error) -> bool {
        if !matches!(error, Error::CredentialRefused(_)) {
            return false;
        }
        self.refused += 1;
        self.refused <= MOST_REPLACED
    }

    /// Whether another connect that is answered by nothing to go by is one too many for its client.
    pub(super) fn is_enough(&self) -> bool {
        self.times >= MOST_BORNE
    }

    /// What the vendor asked for is waited for once.
    fn told(&mut self) -> Duration {
        std::mem::take(&mut self.told_to_wait)
    }

    /// Before a connect that is made again.
    pub(super) fn pause(&mut self) -> Duration {
        let longest = FIRST_PAUSE * (1 << self.times.min(5));
        self.told() + rand::rng().random_range(FIRST_PAUSE / 2..=longest.min(LONGEST_PAUSE))
    }

    /// Before a handshake that is made again.
    pub(super) fn rest(&mut self) -> Duration {
        let longest = match self.begun {
            true => SPREAD * (1 << self.times.min(4)),
            // Who has just opened a stream waits for its first message.
            false => SPREAD,
        };
        self.told() + rand::rng().random_range(Duration::ZERO..=longest.min(LONGEST_REST))
    }
}
