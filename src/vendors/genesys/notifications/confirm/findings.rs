//! What reads of the session, and an error that may be about the write, come to. Pure.

use tokio::time::Instant;

use crate::pb::SmsSession;
use crate::upstream::error::Failure;
use crate::vendors::genesys::inferred;

/// How the wait for proof ended.
pub(super) enum Proof {
    InPlace(SmsSession, &'static str),
    Rejected(Box<Failure>),
    Absent,
    /// The session is not there any more.
    Gone(Box<Failure>),
    None,
}

impl Proof {
    /// By what it was found, or what was found.
    pub(super) fn how(&self) -> &'static str {
        match self {
            Proof::InPlace(_, how) => how,
            Proof::Rejected(_) => "rejected",
            Proof::Absent | Proof::Gone(_) => "absent",
            Proof::None => "unknown",
        }
    }
}

/// What a read shows.
pub(super) enum Seen {
    InPlace(SmsSession),
    Absent,
    /// It is not in place, though it may have been.
    Changed,
    /// A node that knows nothing of the session yet says this, too.
    Gone(Box<Failure>),
    Nothing,
}

/// What has been found so far.
pub(super) struct Findings {
    /// Whether one read that shows the write in place will do.
    seen_once: bool,
    /// Whether nothing can be under way any more, so that what is absent stays so.
    over: bool,
    /// What the last reads have all shown, and when the first of them began.
    shown: Option<(Sight, Instant)>,
    rejection: Option<Rejection>,
}

/// What reads can show again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    InPlace,
    Absent,
    Changed,
    Gone,
}

/// An error that the vendor told, perhaps of this write: then the write is not done from here on.
struct Rejection {
    failure: Box<Failure>,
    told: Instant,
    not_done: Option<Instant>,
}

impl Findings {
    pub(super) fn new(seen_once: bool, over: bool) -> Self {
        Findings {
            seen_once,
            over,
            shown: None,
            rejection: None,
        }
    }

    /// The newest error counts: an earlier one may be another write's.
    pub(super) fn perhaps_rejected(&mut self, failure: Box<Failure>) {
        self.rejection = Some(Rejection {
            failure,
            told: Instant::now(),
            not_done: None,
        });
    }

    /// What a read that was begun then has shown; the proof, when it is one.
    pub(super) fn take_in(&mut self, seen: Seen, begun: Instant) -> Option<Proof> {
        let sight = seen.sight()?;
        let stays = self.stays(sight, begun);
        match (seen, &mut self.rejection) {
            (Seen::InPlace(session), rejection) => {
                if let Some(rejection) = rejection {
                    rejection.not_done = None;
                }
                (stays || self.seen_once).then_some(Proof::InPlace(session, "read"))
            }
            (_, Some(rejection)) => {
                let not_done = begun >= rejection.told
                    && long_enough(*rejection.not_done.get_or_insert(begun), begun);
                not_done.then(|| Proof::Rejected(rejection.failure.clone()))
            }
            (Seen::Absent, None) => (stays && self.over).then_some(Proof::Absent),
            (Seen::Gone(failure), None) => (stays && self.over).then_some(Proof::Gone(failure)),
            (Seen::Changed | Seen::Nothing, None) => None,
        }
    }

    /// Whether this is what reads show, and nothing else, since one that was begun long enough before.
    fn stays(&mut self, sight: Sight, begun: Instant) -> bool {
        match self.shown {
            Some((shown, since)) if shown == sight => long_enough(since, begun),
            _ => {
                self.shown = Some((sight, begun));
                false
            }
        }
    }

    /// There is no time left to find more.
    pub(super) fn at_the_deadline(self) -> Proof {
        let in_place = matches!(self.shown, Some((Sight::InPlace, _)));
        match self.rejection {
            Some(rejection) if !in_place => Proof::Rejected(rejection.failure),
            _ => Proof::None,
        }
    }
}

impl Seen {
    /// A read that shows nothing takes nothing back either.
    fn sight(&self) -> Option<Sight> {
        match self {
            Seen::InPlace(_) => Some(Sight::InPlace),
            Seen::Absent => Some(Sight::Absent),
            Seen::Changed => Some(Sight::Changed),
            Seen::Gone(_) => Some(Sight::Gone),
            Seen::Nothing => None,
        }
    }
}

/// Between the beginnings of two reads that show the same.
fn long_enough(first: Instant, second: Instant) -> bool {
    second - first >= inferred::ABSENT_AFTER
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::upstream::error::Error;
    use crate::vendors::genesys::notifications::snapshot::failure;

    const ONCE: bool = true;
    const TWICE: bool = false;
    const OVER: bool = true;
    const UNDER_WAY: bool = false;

    fn in_place() -> Seen {
        Seen::InPlace(SmsSession::default())
    }

    fn gone() -> Seen {
        Seen::Gone(error())
    }

    fn error() -> Box<Failure> {
        Box::new(failure(Error::Deadline))
    }

    /// What a read that is begun and ends now comes to; half of the time that counts goes by after it.
    async fn read(findings: &mut Findings, seen: Seen) -> &'static str {
        let proof = findings.take_in(seen, Instant::now());
        advance(inferred::ABSENT_AFTER / 2).await;
        proof.map_or("open", |proof| proof.how())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_place_is_so_at_once_or_when_it_stays() {
        let mut findings = Findings::new(ONCE, UNDER_WAY);
        assert_eq!(read(&mut findings, Seen::Absent).await, "open");
        assert_eq!(read(&mut findings, in_place()).await, "read");

        let mut findings = Findings::new(TWICE, UNDER_WAY);
        assert_eq!(read(&mut findings, in_place()).await, "open");
        assert_eq!(read(&mut findings, Seen::Nothing).await, "open");
        assert_eq!(read(&mut findings, in_place()).await, "read");
        assert_eq!(read(&mut findings, Seen::Absent).await, "open", "anew");
        assert_eq!(read(&mut findings, in_place()).await, "open");
    }

    #[tokio::test(start_paused = true)]
    async fn what_stays_absent_was_not_done_once_nothing_is_under_way() {
        for seen in [|| Seen::Absent, gone] {
            for (over, then) in [(OVER, "absent"), (UNDER_WAY, "open")] {
                let mut findings = Findings::new(ONCE, over);
                assert_eq!(read(&mut findings, seen()).await, "open");
                assert_eq!(read(&mut findings, seen()).await, "open", "too soon");
                assert_eq!(read(&mut findings, seen()).await, then);
                assert_eq!(findings.at_the_deadline().how(), "unknown");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_done_and_changed_is_never_called_absent() {
        let mut findings = Findings::new(TWICE, OVER);
        assert_eq!(read(&mut findings, in_place()).await, "open");
        for _ in 0..4 {
            assert_eq!(read(&mut findings, Seen::Changed).await, "open");
        }
        assert_eq!(read(&mut findings, in_place()).await, "open", "anew");
        assert_eq!(findings.at_the_deadline().how(), "unknown");
    }

    /// What was seen in between may have been the write, or shows that the session is there.
    #[tokio::test(start_paused = true)]
    async fn what_is_absent_now_and_then_does_not_stay_so() {
        for seen in [|| Seen::Absent, gone] {
            for between in [in_place, || Seen::Changed, || Seen::Absent, gone] {
                let mut findings = Findings::new(TWICE, OVER);
                if seen().sight() == between().sight() {
                    continue;
                }
                assert_eq!(read(&mut findings, seen()).await, "open");
                assert_eq!(read(&mut findings, between()).await, "open");
                assert_eq!(read(&mut findings, seen()).await, "open", "anew");
                assert_eq!(read(&mut findings, Seen::Nothing).await, "open");
                assert_eq!(read(&mut findings, seen()).await, "absent");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_may_be_anothers_counts_when_the_write_is_not_done_from_then_on() {
        for seen in [|| Seen::Absent, || Seen::Changed, gone] {
            for over in [OVER, UNDER_WAY] {
                let mut findings = Findings::new(ONCE, over);
                // Of before the error: they say nothing about it.
                let begun = Instant::now();
                assert_eq!(read(&mut findings, seen()).await, "open");
                findings.perhaps_rejected(error());
                assert!(findings.take_in(seen(), begun).is_none());
                assert_eq!(read(&mut findings, seen()).await, "open");
                assert_eq!(read(&mut findings, seen()).await, "open", "too soon");
                // Another one, and all is open again.
                findings.perhaps_rejected(error());
                assert_eq!(read(&mut findings, seen()).await, "open");
                assert_eq!(read(&mut findings, seen()).await, "open", "too soon");
                assert_eq!(read(&mut findings, seen()).await, "rejected");
            }
        }
        let mut findings = Findings::new(ONCE, UNDER_WAY);
        findings.perhaps_rejected(error());
        assert_eq!(read(&mut findings, Seen::Absent).await, "open");
        assert_eq!(read(&mut findings, in_place()).await, "read");

        let mut findings = Findings::new(TWICE, UNDER_WAY);
        findings.perhaps_rejected(error());
        assert_eq!(read(&mut findings, Seen::Absent).await, "open");
        assert_eq!(read(&mut findings, in_place()).await, "open");
        assert_eq!(read(&mut findings, Seen::Absent).await, "open", "anew");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_deadline_an_error_counts_unless_something_was_seen() {
        let mut findings = Findings::new(TWICE, UNDER_WAY);
        findings.perhaps_rejected(error());
        assert_eq!(read(&mut findings, Seen::Absent).await, "open");
        assert_eq!(findings.at_the_deadline().how(), "rejected");

        let mut findings = Findings::new(TWICE, UNDER_WAY);
        findings.perhaps_rejected(error());
        assert_eq!(read(&mut findings, in_place()).await, "open");
        assert_eq!(findings.at_the_deadline().how(), "unknown");
    }
}
