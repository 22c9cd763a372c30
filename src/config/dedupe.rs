//! The `dedupe` section: how long, how many, and where `request_id`s are remembered.

use std::time::Duration;

use secrecy::ExposeSecret;

use crate::{
    settings::{
        Section,
        yaml::{self, Node},
    },
    upstream::{
        secret::Secret,
        settings::{censored, positive, secret},
    },
};

#[derive(Clone, Debug)]
pub struct Dedupe {
    pub window: Duration,
    pub max_entries: usize,
    /// Of the Redis that replicas share; without it this process's memory.
    pub redis_url: Option<Secret>,
}

impl Default for Dedupe {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(600),
            max_entries: 100_000,
            redis_url: None,
        }
    }
}

impl Dedupe {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        Self {
            window: positive(section, "window", default.window),
            max_entries: section.within("max_entries", default.max_entries, 1..=100_000_000),
            redis_url: redis_url(section),
        }
    }

    pub(super) fn to_yaml(&self) -> Node {
        yaml::map([
            ("window", self.window.into()),
            ("max_entries", self.max_entries.into()),
            (
                "redis_url_file",
                self.redis_url.as_ref().map_or(Node::Null, censored),
            ),
        ])
    }
}

/// The file is looked into, so that a mistake is told at the start; the server is not called, as
/// the gateway starts without it.
fn redis_url(section: &mut Section<'_>) -> Option<Secret> {
    let key = "redis_url_file";
    if section.is_absent(key) {
        // Taken, as a `null` would else be an unknown key.
        section.optional::<String>(key);
        return None;
    }
    let secret = secret(section, key)?;
    let url = secret.read().ok()?;
    section.check(key, is_usable(url.expose_secret()), || {
        "the file must hold a URL that begins with redis://, rediss:// or unix://; \
             of a password /, ?, #, @ and % are written as %2F, %3F, %23, %40 and %25"
    });
    Some(secret)
}

/// The only fragment that the client knows asks it to trust any certificate.
fn is_usable(url: &str) -> bool {
    let plain = redis::parse_redis_url(url).is_some_and(|it| it.fragment().is_none());
    plain && redis::Client::open(url).is_ok()
}
