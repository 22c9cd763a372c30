//! The settings that every vendor has.

mod rules;

use std::{path::PathBuf, time::Duration};

use crate::settings::{
    ByteSize, Section,
    yaml::{self, Node},
};

pub use rules::{
    accounts, address, base_url, censored, endpoint, is_loopback, positive, readable, secret,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The semaphores behind the limits have an end too; this one is far beyond use and below theirs.
const MOST_CALLS: usize = 1_000_000;

/// What every vendor's section of the configuration may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub allow_plaintext: bool,
    pub timeout: Timeout,
    pub retry: Retry,
    pub limit: Limit,
    pub breaker: Breaker,
    /// The longest answer in bytes.
    pub max_answer: u64,
    pub tls: Tls,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    pub connect: Duration,
    pub attempt: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// In all, the first one included.
    pub attempts: u32,
    pub base: Duration,
    pub cap: Duration,
    pub budget_percent: u32,
    /// Retries per second that the budget allows whatever the traffic.
    pub budget_floor: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub in_flight: usize,
    pub queue: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    pub enabled: bool,
    pub window: Duration,
    /// Fewer attempts in the window say nothing.
    pub min_calls: u32,
    pub failure_percent: u32,
    /// How long it stays open before one attempt may try.
    pub open: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            allow_plaintext: false,
            timeout: Timeout::default(),
            retry: Retry::default(),
            limit: Limit::default(),
            breaker: Breaker::default(),
            max_answer: 4 * MIB,
            tls: Tls::default(),
        }
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(5),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(50),
            cap: Duration::from_secs(2),
            budget_percent: 20,
            budget_floor: 10,
        }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            in_flight: 512,
            queue: 1024,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Duration::from_secs(10),
            min_calls: 20,
            failure_percent: 50,
            open: Duration::from_secs(10),
        }
    }
}

impl Settings {
    pub fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let answers = ByteSize(KIB)..=ByteSize(64 * MIB);
        Self {
            allow_plaintext: section.or("allow_plaintext", default.allow_plaintext),
            timeout: section.section("timeout", Timeout::read),
            retry: section.section("retry", Retry::read),
            limit: section.section("limit", Limit::read),
            breaker: section.section("breaker", Breaker::read),
            max_answer: section
                .within("max_answer", ByteSize(default.max_answer), answers)
                .0,
            tls: section.section("tls", Tls::read),
        }
    }

    /// The keys and values to print, in the order of the documentation.
    pub fn entries(&self) -> [(&'static str, Node); 7] {
        [
            ("allow_plaintext", self.allow_plaintext.into()),
            ("timeout", self.timeout.to_yaml()),
            ("retry", self.retry.to_yaml()),
            ("limit", self.limit.to_yaml()),
            ("breaker", self.breaker.to_yaml()),
            ("max_answer", ByteSize(self.max_answer).into()),
            ("tls", self.tls.to_yaml()),
        ]
    }
}

impl Timeout {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            connect: positive(section, "connect", default.connect),
            attempt: positive(section, "attempt", default.attempt),
        }
    }

    fn to_yaml(&self) -> Node {
        yaml::map([
            ("connect", self.connect.into()),
            ("attempt", self.attempt.into()),
        ])
    }
}

impl Retry {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let retry = Self {
            attempts: section.within("attempts", default.attempts, 1..=10),
            base: section.or("base", default.base),
            cap: section.or("cap", default.cap),
            budget_percent: section.within("budget_percent", default.budget_percent, 0..=100),
            // Beyond it the budget's arithmetic would overflow, and mean nothing.
            budget_floor: section.within("budget_floor", default.budget_floor, 0..=100_000),
        };
        section.check_pair(
            "cap",
            "base",
            retry.cap >= retry.base,
            || "must not be shorter than `base`",
        );
        retry
    }

    fn to_yaml(&self) -> Node {
        yaml::map([
            ("attempts", self.attempts.into()),
            ("base", self.base.into()),
            ("cap", self.cap.into()),
            ("budget_percent", self.budget_percent.into()),
            ("budget_floor", self.budget_floor.into()),
        ])
    }
}

impl Limit {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            in_flight: section.within("in_flight", default.in_flight, 1..=MOST_CALLS),
            queue: section.within("queue", default.queue, 0..=MOST_CALLS),
        }
    }

    fn to_yaml(&self) -> Node {
        yaml::map([
            ("in_flight", self.in_flight.into()),
            ("queue", self.queue.into()),
        ])
    }
}

impl Breaker {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            enabled: section.or("enabled", default.enabled),
            window: positive(section, "window", default.window),
            min_calls: section.within("min_calls", default.min_calls, 1..=1_000_000),
            failure_percent: section.within("failure_percent", default.failure_percent, 1..=100),
            open: positive(section, "open", default.open),
        }
    }

    fn to_yaml(&self) -> Node {
        yaml::map([
            ("enabled", self.enabled.into()),
            ("window", self.window.into()),
            ("min_calls", self.min_calls.into()),
            ("failure_percent", self.failure_percent.into()),
            ("open", self.open.into()),
        ])
    }
}

impl Tls {
    fn read(section: &mut Section<'_>) -> Self {
        let tls = Self {
            ca_file: section.optional("ca_file"),
            client_cert_file: section.optional("client_cert_file"),
            client_key_file: section.optional("client_key_file"),
        };
        let (cert, key) = (
            tls.client_cert_file.is_some(),
            tls.client_key_file.is_some(),
        );
        section.check_pair(
            "client_key_file",
            "client_cert_file",
            key || !cert,
            || "required beside `client_cert_file`",
        );
        section.check_pair(
            "client_cert_file",
            "client_key_file",
            cert || !key,
            || "required beside `client_key_file`",
        );
        readable(section, "ca_file", tls.ca_file.as_deref());
        readable(section, "client_cert_file", tls.client_cert_file.as_deref());
        readable(section, "client_key_file", tls.client_key_file.as_deref());
        tls
    }

    fn to_yaml(&self) -> Node {
        yaml::map([
            ("ca_file", (&self.ca_file).into()),
            ("client_cert_file", (&self.client_cert_file).into()),
            ("client_key_file", (&self.client_key_file).into()),
        ])
    }
}

#[cfg(test)]
mod tests;
