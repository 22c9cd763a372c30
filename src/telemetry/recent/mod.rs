//! What happened lately, for a page that a person looks at: each vendor's last minutes, each
//! account's last login, the newest failed calls.
//!
//! Metrics tell the same to a system that remembers; this is for the moment when there is none
//! at hand. Bounded by what is configured. Recording takes one short lock.

mod failed;
mod window;

pub use failed::{Details, FailedCall, REMEMBERED};
pub use window::{BUCKET, BUCKETS, Counts, Outcome, Window, sum};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use failed::Ring;

/// Clones share it.
#[derive(Clone, Debug)]
pub struct Recent(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    vendors: Vec<Vendor>,
    failed: Mutex<Ring>,
}

#[derive(Debug)]
struct Vendor {
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Window,
    circuit: Option<Circuit>,
    accounts: Vec<Account>,
}

/// Whether the vendor's circuit lets everything through, and since when, counted from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Circuit {
    closed: bool,
    since: Duration,
}

/// A fixed word, and when it was said, counted from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub word: &'static str,
    pub at: Duration,
}

/// The logins of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    /// `ok`, or the kind of failure.
    pub last: Option<Told>,
    /// The last failure, also when logins succeed again.
    pub failure: Option<Told>,
}

/// A vendor as it is now.
#[derive(Clone, Debug)]
pub struct VendorReport {
    pub name: &'static str,
    /// When its circuit opened or closed last, counted from the start. None as long as its breaker
    /// has said nothing.
    pub circuit_since: Option<Duration>,
    pub accounts: Vec<Account>,
    /// From the oldest to the one under way.
    pub buckets: Vec<Counts>,
}

impl Recent {
    /// Of the vendors and accounts that are configured; word of others is passed over.
    pub fn new<A>(vendors: impl IntoIterator<Item = (&'static str, A)>) -> Self
    where
        A: IntoIterator<Item = String>,
    {
        let vendor = |(name, accounts): (_, A)| Vendor {
            name,
            state: Mutex::new(State {
                window: Window::default(),
                circuit: None,
                accounts: accounts.into_iter().map(Account::new).collect(),
            }),
        };
        Recent(Arc::new(Shared {
            start: Instant::now(),
            vendors: vendors.into_iter().map(vendor).collect(),
            failed: Mutex::default(),
        }))
    }

    /// Since it was set up.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.start.elapsed()
    }

    pub fn attempt(&self, vendor: &str, outcome: Outcome, took: Duration) {
        let now = self.elapsed();
        if let Some(mut state) = self.state(vendor) {
            state.window.add(now, outcome, took);
        }
    }

    /// One that is open stays so through its probes, of which its breaker tells, too.
    pub fn breaker(&self, vendor: &str, closed: bool) {
        let since = self.elapsed();
        if let Some(mut state) = self.state(vendor)
            && state.circuit.is_none_or(|before| before.closed != closed)
        {
            state.circuit = Some(Circuit { closed, since });
        }
    }

    /// `result` is `ok` or the kind of failure.
    pub fn login(&self, vendor: &str, account: &str, result: &'static str) {
        let at = self.elapsed();
        let Some(mut state) = self.state(vendor) else {
            return;
        };
        if let Some(account) = state.accounts.iter_mut().find(|it| it.name == account) {
            account.told(Told { word: result, at });
        }
    }

    pub fn failed(&self, call: FailedCall) {
        lock(&self.0.failed).push(call);
    }

    #[must_use]
    pub fn failed_calls(&self) -> Vec<FailedCall> {
        lock(&self.0.failed).newest_first()
    }

    #[must_use]
    pub fn vendors(&self) -> Vec<VendorReport> {
        let now = self.elapsed();
        let report = |vendor: &Vendor| {
            let state = lock(&vendor.state);
            VendorReport {
                name: vendor.name,
                circuit_since: state.circuit.map(|circuit| circuit.since),
                accounts: state.accounts.clone(),
                buckets: state.window.buckets(now),
            }
        };
        self.0.vendors.iter().map(report).collect()
    }

    fn state(&self, vendor: &str) -> Option<MutexGuard<'_, State>> {
        let vendor = self.0.vendors.iter().find(|it| it.name == vendor)?;
        Some(lock(&vendor.state))
    }
}

impl Account {
    fn new(name: String) -> Self {
        Account {
            name,
            last: None,
            failure: None,
        }
    }

    fn told(&mut self, told: Told) {
        self.last = Some(told);
        if told.word != "ok" {
            self.failure = Some(told);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counts and words are valid one by one, wherever a panic left them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent() -> Recent {
        Recent::new([("genesys", ["default".to_owned(), "other".to_owned()])])
    }

    #[tokio::test(start_paused = true)]
    async fn each_vendor_and_account_has_its_own_story() {
        let recent = recent();
        recent.login("genesys", "default", "ok");
        tokio::time::advance(Duration::from_secs(60)).await;
        recent.login("genesys", "default", "refused");
        recent.attempt("genesys", Outcome::Failed, Duration::from_millis(5));

        let report = &recent.vendors()[0];
        let later = Duration::from_secs(60);
        let told = |word, at| Some(Told { word, at });
        let account = &report.accounts[0];
        assert_eq!(account.last, told("refused", later));
        assert_eq!(account.failure, told("refused", later));
        assert_eq!(report.accounts[1], Account::new("other".to_owned()));
        assert_eq!(report.buckets[BUCKETS - 1].failed, 1);

        recent.login("genesys", "default", "ok");
        let account = &recent.vendors()[0].accounts[0];
        assert_eq!(account.last, told("ok", later));
        assert_eq!(account.failure, told("refused", later), "of before");
    }

    /// Each probe of an outage is word of the breaker, too.
    #[tokio::test(start_paused = true)]
    async fn a_circuit_is_open_since_it_opened() {
        let recent = recent();
        let since = || recent.vendors()[0].circuit_since;
        assert_eq!(since(), None);
        recent.breaker("genesys", true);
        tokio::time::advance(Duration::from_secs(5)).await;
        recent.breaker("genesys", false);
        for _probe in 0..3 {
            tokio::time::advance(Duration::from_secs(10)).await;
            recent.breaker("genesys", false);
        }
        assert_eq!(since(), Some(Duration::from_secs(5)));
        recent.breaker("genesys", true);
        assert_eq!(since(), Some(Duration::from_secs(35)));
    }

    #[test]
    fn what_is_not_configured_takes_no_room() {
        let recent = recent();
        recent.attempt("aicc", Outcome::Ok, Duration::ZERO);
        recent.breaker("aicc", false);
        recent.login("genesys", "stranger", "ok");
        let vendors = recent.vendors();
        assert_eq!((vendors.len(), vendors[0].accounts.len()), (1, 2));
        assert_eq!(sum(&vendors[0].buckets).attempts(), 0);
    }
}
