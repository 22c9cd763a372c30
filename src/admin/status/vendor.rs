//! One vendor in `/status.json`: its last minutes and its logins.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::report::{rounded, seconds};
use crate::telemetry::Reading;
use crate::telemetry::recent::{self, BUCKET, Counts, Told, VendorReport};

/// The figures at the top of a vendor are of so many buckets, the one under way included.
const LATELY: usize = 4;

#[derive(Debug, Serialize)]
pub(super) struct Vendor {
    name: &'static str,
    breaker: Option<Breaker>,
    retry_budget_balance: Option<f64>,
    lately: Lately,
    bucket_s: u64,
    buckets: Vec<Bucket>,
    accounts: Vec<Account>,
}

#[derive(Debug, Serialize)]
struct Breaker {
    state: &'static str,
    since_s: f64,
}

#[derive(Debug, Serialize)]
struct Lately {
    span_s: f64,
    requests_per_minute: f64,
    #[serde(flatten)]
    bucket: Bucket,
}

#[derive(Debug, Serialize)]
struct Bucket {
    ok: u32,
    refused: u32,
    failed: u32,
    cancelled: u32,
    success: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Account {
    name: String,
    last_login: Option<Login>,
    token_age_s: Option<f64>,
    token_expires_in_s: Option<f64>,
    last_failure: Option<Login>,
}

/// In seconds, by account.
struct Tokens<'a> {
    age: HashMap<&'a str, f64>,
    expiry: HashMap<&'a str, f64>,
}

#[derive(Debug, Serialize)]
struct Login {
    result: &'static str,
    ago_s: f64,
}

impl Vendor {
    pub(super) fn new(vendor: VendorReport, reading: &Reading, now: Duration) -> Self {
        let label = [("vendor", vendor.name)];
        let breaker = Breaker::new(&vendor, reading, now);
        let tokens = Tokens::of(&label, reading);
        let accounts = vendor.accounts.into_iter();
        let account = |account| Account::new(account, &tokens, now);
        Vendor {
            name: vendor.name,
            breaker,
            retry_budget_balance: reading.value("switchboard_retry_budget_balance", &label),
            lately: Lately::new(&vendor.buckets, now),
            bucket_s: BUCKET.as_secs(),
            accounts: accounts.map(account).collect(),
            buckets: vendor.buckets.iter().map(Bucket::new).collect(),
        }
    }
}

impl Breaker {
    fn new(vendor: &VendorReport, reading: &Reading, now: Duration) -> Option<Self> {
        let state = reading.value("switchboard_breaker_state", &[("vendor", vendor.name)])?;
        let since = vendor.circuit_since?;
        Some(Breaker {
            state: match state {
                0.0 => "closed",
                1.0 => "half_open",
                _ => "open",
            },
            since_s: ago(now, since),
        })
    }
}

impl Lately {
    fn new(buckets: &[Counts], now: Duration) -> Self {
        let counts = recent::sum(&buckets[buckets.len() - LATELY..]);
        let under_way = now.as_secs_f64() % BUCKET.as_secs_f64();
        let full = BUCKET.as_secs_f64() * (LATELY - 1) as f64;
        // Right after the start there is less to look back on; never divided by next to nothing.
        let span = (full + under_way).min(now.as_secs_f64()).max(1.0);
        Lately {
            span_s: rounded(span),
            requests_per_minute: rounded(counts.attempts() as f64 * 60.0 / span),
            bucket: Bucket::new(&counts),
        }
    }
}

impl Bucket {
    fn new(counts: &Counts) -> Self {
        Bucket {
            ok: counts.ok,
            refused: counts.refused,
            failed: counts.failed,
            cancelled: counts.cancelled,
            success: counts.success(),
            p50_ms: counts.quantile_ms(0.5).map(rounded),
            p99_ms: counts.quantile_ms(0.99).map(rounded),
        }
    }
}

impl<'a> Tokens<'a> {
    fn of(vendor: &[(&str, &str)], reading: &'a Reading) -> Self {
        let by_account = |name| reading.values_by("account", name, vendor);
        Tokens {
            age: by_account("switchboard_token_age_seconds"),
            expiry: by_account("switchboard_token_expiry_seconds"),
        }
    }
}

impl Account {
    fn new(account: recent::Account, tokens: &Tokens<'_>, now: Duration) -> Self {
        let login = |told: Told| Login {
            result: told.word,
            ago_s: ago(now, told.at),
        };
        Account {
            token_expires_in_s: tokens.expiry.get(&*account.name).copied(),
            last_login: account.last.map(login),
            token_age_s: tokens.age.get(&*account.name).copied(),
            last_failure: account.failure.map(login),
            name: account.name,
        }
    }
}

fn ago(now: Duration, then: Duration) -> f64 {
    seconds(now.saturating_sub(then))
}
