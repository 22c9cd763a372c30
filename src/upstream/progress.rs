//! How far a call has come, and what its caller has to be told of that.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;
use super::timeout::SHORTEST_ATTEMPT;

/// What has been sent so far for a call; shared by everybody who has to tell the caller.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Travelled>);

#[derive(Debug, Default)]
struct Travelled {
    attempts: AtomicU32,
    sending: AtomicU64,
    was_in_doubt: AtomicBool,
    unanswered: AtomicBool,
    proof: AtomicU8,
    budget_spent: AtomicBool,
    joined: AtomicBool,
    account: OnceLock<Arc<str>>,
    /// Of the last answer; 0 where there was none.
    vendor_status: AtomicU16,
    vendor_nanos: AtomicU64,
    repeat: Mutex<Option<&'static str>>,
    /// What this is a part of.
    whole: Option<Progress>,
}

/// What was sent and what still may be are one word, so that sending and giving up exclude each
/// other: how many requests were sent is in its lower half, and above these the present attempt's
/// number.
const SENT: u64 = u32::MAX as u64;
const IN_DOUBT: u64 = 1 << 32;
const GIVEN_UP: u64 = 1 << 33;
const CUT: u64 = 1 << 34;
const ATTEMPT: u32 = 35;

/// Whether it is waited for that a write shows, and whether that was accepted.
const NOT_AWAITED: u8 = 0;
const PERHAPS: u8 = 1;
const ACCEPTED: u8 = 2;

/// A try to get the call to the vendor. It ends when this is dropped, and from then on its request
/// is not sent any more, wherever it waits.
#[must_use]
pub(super) struct Attempt(Progress);

impl Drop for Attempt {
    fn drop(&mut self) {
        self.0.0.sending.fetch_add(1 << ATTEMPT, Ordering::Relaxed);
    }
}

/// One attempt's leave to send its request.
#[derive(Debug)]
pub(crate) struct Leave {
    progress: Progress,
    attempt: u64,
    /// Of the attempt.
    end: Instant,
}

impl Leave {
    /// The first byte of the request goes out, unless it was given up before, or has no time left to be
    /// answered in.
    #[must_use]
    pub(crate) fn take(&self) -> bool {
        if Instant::now() + SHORTEST_ATTEMPT > self.end {
            return false;
        }
        let send = |sending: u64| {
            let stands = sending & GIVEN_UP == 0 && sending >> ATTEMPT == self.attempt;
            stands.then_some((sending + 1) | IN_DOUBT)
        };
        if self.progress.update(send).is_err() {
            return false;
        }
        let whole = self.progress.0.whole.as_ref();
        if whole.is_none_or(Progress::count_in) {
            return true;
        }
        self.progress.unmark_sent();
        false
    }
}

/// A call that waits to learn whether another one does its write, or what became of that.
#[must_use]
pub struct Joined(Progress);

impl Drop for Joined {
    fn drop(&mut self) {
        self.0.0.joined.store(false, Ordering::Relaxed);
    }
}

impl Progress {
    /// How many requests have been sent to the vendor.
    pub fn sent(&self) -> u32 {
        (self.sending() & SENT) as u32
    }

    /// Whether a request may be at the vendor with its outcome unknown.
    pub fn in_doubt(&self) -> bool {
        self.sending() & IN_DOUBT != 0
    }

    /// The same, or whether one may still get there.
    pub fn may_yet_happen(&self) -> bool {
        let sending = self.sending();
        sending & IN_DOUBT != 0 || sending & GIVEN_UP == 0
    }

    fn sending(&self) -> u64 {
        self.0.sending.load(Ordering::Relaxed)
    }

    /// Relaxed, as there is nothing beside this one word that has to be in order with it.
    fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> Result<u64, u64> {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.sending.fetch_update(set, fetch, change)
    }

    /// The call's time is over: what was not sent until now never is.
    pub fn give_up(&self) {
        self.0.sending.fetch_or(GIVEN_UP, Ordering::Relaxed);
    }

    /// The same because the gateway ends; what this leaves is told to the caller.
    pub fn cut(&self) {
        let cut = GIVEN_UP | CUT;
        self.0.sending.fetch_or(cut, Ordering::Relaxed);
    }

    /// Whether either of these came, so that its caller was told of it.
    pub fn was_given_up(&self) -> bool {
        self.sending() & GIVEN_UP != 0
    }

    /// Whether it was cut before anything was sent: its caller makes it elsewhere.
    pub fn is_left_to_others(&self) -> bool {
        self.sending() & (CUT | SENT) == CUT
    }

    /// Whether an attempt before the present one ended with its outcome unknown.
    pub fn was_in_doubt(&self) -> bool {
        self.0.was_in_doubt.load(Ordering::Relaxed)
    }

    /// Whether an attempt ended without an answer for the vendor, which may be at it for as long as
    /// it likes: what later attempts come to changes nothing about that.
    pub fn was_unanswered(&self) -> bool {
        self.0.unanswered.load(Ordering::Relaxed)
    }

    /// The write was sent, and accepted or perhaps so, and it is waited for that it shows.
    pub fn await_proof(&self, accepted: bool) {
        let awaited = if accepted { ACCEPTED } else { PERHAPS };
        self.0.proof.store(awaited, Ordering::Relaxed);
    }

    /// Whether it was accepted, while it is waited for that it shows.
    pub fn awaited_proof(&self) -> Option<bool> {
        match self.0.proof.load(Ordering::Relaxed) {
            NOT_AWAITED => None,
            awaited => Some(awaited == ACCEPTED),
        }
    }

    /// Whether another call may be doing the same write, or has done it, for all that this one knows.
    pub fn joined(&self) -> bool {
        self.0.joined.load(Ordering::Relaxed)
    }

    /// It may be doing so for as long as what comes back is kept.
    pub fn join(&self) -> Joined {
        self.0.joined.store(true, Ordering::Relaxed);
        Joined(self.clone())
    }

    /// Of another call that is made on behalf of this one. Its requests count here, too, and it sends
    /// none once this one is given up; whether they are in doubt is its own matter.
    #[must_use]
    pub fn part(&self) -> Progress {
        Progress(Arc::new(Travelled {
            whole: Some(self.clone()),
            ..Travelled::default()
        }))
    }

    /// A part sends a request, unless this was given up before.
    fn count_in(&self) -> bool {
        let count = |sending: u64| (sending & GIVEN_UP == 0).then_some(sending + 1);
        self.update(count).is_ok()
    }

    /// The vendor's account, once it is known to be one of the configuration's.
    pub fn account(&self) -> Option<Arc<str>> {
        self.0.account.get().cloned()
    }

    /// A call is made with this account, which must be one of the configuration's.
    pub fn note_account(&self, account: &Arc<str>) {
        self.0.account.get_or_init(|| Arc::clone(account));
    }

    /// The HTTP status of the vendor's last answer.
    pub fn vendor_status(&self) -> Option<u16> {
        let status = self.0.vendor_status.load(Ordering::Relaxed);
        (status > 0).then_some(status)
    }

    /// How long all attempts took together.
    pub fn vendor_time(&self) -> Duration {
        Duration::from_nanos(self.0.vendor_nanos.load(Ordering::Relaxed))
    }

    /// An attempt ended, with this answer if any.
    pub(super) fn attempted(&self, status: Option<u16>, took: Duration) {
        let code = status.unwrap_or_default();
        self.0.vendor_status.store(code, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.vendor_nanos.fetch_add(nanos, Ordering::Relaxed);
        if let Some(whole) = &self.0.whole {
            whole.attempted(status, took);
        }
    }

    /// Why the attempt that comes next is made, if it is a repeat. Told once.
    pub(super) fn take_repeat(&self) -> Option<&'static str> {
        self.repeat().take()
    }

    /// What failed so is sent again, unless something comes between.
    pub fn mark_repeat(&self, reason: &'static str) {
        // What was never sent, for want of a token, is no repeat when it is.
        if self.0.attempts.load(Ordering::Relaxed) > 0 {
            *self.repeat() = Some(reason);
        }
    }

    fn repeat(&self) -> MutexGuard<'_, Option<&'static str>> {
        // Nothing is done under the lock that could leave it half written.
        let lock = self.0.repeat.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn budget_spent(&self) -> bool {
        self.0.budget_spent.load(Ordering::Relaxed)
    }

    /// Another attempt is made; returns how many there were before.
    pub(super) fn count_attempt(&self) -> u32 {
        self.0.attempts.fetch_add(1, Ordering::Relaxed)
    }

    /// The leave to send of the present attempt, which has time until then, unless the call was given up.
    pub(crate) fn leave(&self, end: Instant) -> Result<Leave, Error> {
        let sending = self.sending();
        if sending & GIVEN_UP != 0 {
            return Err(Error::GivenUp);
        }
        Ok(Leave {
            progress: self.clone(),
            attempt: sending >> ATTEMPT,
            end,
        })
    }

    /// A request is sent as the transport sends them.
    #[cfg(any(test, feature = "benchmarks"))]
    pub(crate) fn mark_sent(&self) {
        let later = Instant::now() + Duration::from_secs(60);
        let leave = self.leave(later).expect("a call that was not given up");
        assert!(leave.take(), "nobody else ends the attempt");
    }

    /// What was marked as sent turned out not to have been.
    pub(super) fn take_back(&self) {
        self.unmark_sent();
        if let Some(whole) = &self.0.whole {
            let _ = whole.update(|sending| Some(sending - 1));
        }
    }

    fn unmark_sent(&self) {
        let _ = self.update(|sending| Some((sending - 1) & !IN_DOUBT));
    }

    /// What was in doubt was found not to have happened.
    pub fn forget_doubt(&self) {
        self.settle();
        self.0.was_in_doubt.store(false, Ordering::Relaxed);
        self.0.proof.store(NOT_AWAITED, Ordering::Relaxed);
    }

    /// The present attempt's outcome is known.
    pub(super) fn settle(&self) {
        self.0.sending.fetch_and(!IN_DOUBT, Ordering::Relaxed);
    }

    /// Another attempt begins.
    pub(super) fn next_attempt(&self) -> Attempt {
        let before = self.0.sending.fetch_and(!IN_DOUBT, Ordering::Relaxed);
        if before & IN_DOUBT != 0 {
            self.0.was_in_doubt.store(true, Ordering::Relaxed);
        }
        Attempt(self.clone())
    }

    pub(super) fn mark_unanswered(&self) {
        self.0.unanswered.store(true, Ordering::Relaxed);
    }

    pub(super) fn mark_budget_spent(&self) {
        self.0.budget_spent.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn leave_is_the_attempts_own_and_ends_with_it_or_with_the_call() {
        let progress = Progress::default();
        let first = progress.next_attempt();
        let (used, late) = (
            progress.leave(later()).unwrap(),
            progress.leave(later()).unwrap(),
        );
        assert!(used.take());
        drop(first);
        assert!(!late.take());
        assert!(progress.in_doubt(), "of what was sent before");

        let second = progress.next_attempt();
        assert!(progress.was_in_doubt() && !progress.in_doubt());
        assert!(!late.take(), "a new attempt gives the old one nothing back");
        let own = progress.leave(later()).unwrap();
        assert!(own.take());
        progress.take_back();
        drop(second);
        assert_eq!((progress.sent(), progress.in_doubt()), (1, false));
    }

    #[test]
    fn what_was_found_not_to_have_happened_leaves_no_doubt() {
        let progress = Progress::default();
        let first = progress.next_attempt();
        progress.mark_sent();
        drop(first);
        let _second = progress.next_attempt();
        progress.mark_sent();
        progress.await_proof(false);
        assert!(progress.in_doubt() && progress.was_in_doubt());
        assert_eq!(progress.awaited_proof(), Some(false));
        progress.forget_doubt();
        assert!(!progress.in_doubt() && !progress.was_in_doubt());
        assert_eq!(progress.awaited_proof(), None);
        assert_eq!(progress.sent(), 2, "it went out all the same");
    }

    #[test]
    fn what_was_given_up_is_never_sent() {
        let ends: [fn(&Progress); 2] = [Progress::give_up, Progress::cut];
        for end in ends {
            for sent in [0, 1] {
                let progress = Progress::default();
                (0..sent).for_each(|_| progress.mark_sent());
                let before = progress.leave(later()).unwrap();
                end(&progress);
                assert!(!before.take());
                let _next = progress.next_attempt();
                assert!(matches!(progress.leave(later()), Err(Error::GivenUp)));
                assert_eq!(progress.sent(), sent);
            }
        }
    }

    #[test]
    fn only_a_call_that_was_cut_with_nothing_sent_is_left_to_others() {
        let told = |sent: bool, end: fn(&Progress)| {
            let progress = Progress::default();
            if sent {
                progress.mark_sent();
            }
            end(&progress);
            progress.is_left_to_others()
        };
        assert!(told(false, Progress::cut));
        assert!(!told(true, Progress::cut));
        assert!(!told(false, Progress::give_up));
        assert!(!told(false, |_| {}));
    }

    #[test]
    fn what_a_part_sends_counts_at_once_and_its_doubt_is_its_own() {
        let whole = Progress::default();
        whole.mark_sent();
        whole.settle();
        let part = whole.part();
        part.mark_sent();
        assert_eq!((part.sent(), whole.sent()), (1, 2));
        assert!(part.in_doubt() && !whole.in_doubt());
        part.take_back();
        assert_eq!((part.sent(), whole.sent()), (0, 1));
        part.attempted(Some(503), Duration::from_millis(7));
        assert_eq!(whole.vendor_status(), Some(503));
        assert_eq!(whole.vendor_time(), Duration::from_millis(7));

        let late = part.leave(later()).unwrap();
        whole.give_up();
        assert!(!late.take(), "what was told of the whole stays true");
        assert_eq!((part.sent(), whole.sent()), (0, 1));
        assert!(!part.in_doubt());
    }

    /// Whoever gives an attempt up knows whether it was sent, and is not proved wrong later.
    #[test]
    fn sending_and_giving_up_exclude_each_other() {
        for _ in 0..2_000 {
            let progress = Progress::default();
            let own = progress.next_attempt();
            let leave = progress.leave(later()).unwrap();
            let sender = std::thread::spawn(move || leave.take());
            drop(own);
            let told = progress.in_doubt();
            assert_eq!(sender.join().unwrap(), told);
        }
    }
}
