//! The `aicc` section of the configuration.

use std::{collections::BTreeMap, time::Duration};

use url::Url;

use crate::{
    settings::{
        Section,
        yaml::{self, Node},
    },
    upstream::{secret::Secret, settings},
};

/// Where tokens are had, unless the operator says otherwise.
pub(super) const TOKEN_PATH: &str = "/apigovernance/api/oauth/tokenByAkSk";

/// What the vendor gives out: `X-Token-Expire` is in whole seconds and goes up to an hour.
const LONGEST_LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
pub struct Config {
    /// Perhaps with a path, never with a slash at the end of it.
    pub base_url: Url,
    pub token_url: Url,
    /// Whole seconds.
    pub token_lifetime: Duration,
    pub accounts: BTreeMap<String, Account>,
    pub upstream: settings::Settings,
}

#[derive(Clone, Debug)]
pub struct Account {
    pub app_key: String,
    pub secret: Secret,
}

impl Config {
    pub const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(600);

    /// Where tokens are had with this `base_url`.
    pub fn default_token_url(base_url: &Url) -> Url {
        let mut url = base_url.clone();
        url.set_path(&format!("{}{TOKEN_PATH}", url.path().trim_end_matches('/')));
        url
    }

    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let upstream = settings::Settings::read(section);
        let base_url = settings::base_url(section, upstream.allow_plaintext);
        let token_url = settings::endpoint(section, "token_url", upstream.allow_plaintext);
        let token_lifetime = lifetime(section);
        let accounts = settings::accounts(section, Account::read);
        let base_url = base_url?;
        Some(Self {
            token_url: token_url.unwrap_or_else(|| Self::default_token_url(&base_url)),
            base_url,
            token_lifetime,
            accounts,
            upstream,
        })
    }

    pub fn to_yaml(&self) -> Node {
        let accounts = self.accounts.iter();
        let own = [
            ("base_url", (&self.base_url).into()),
            ("token_url", (&self.token_url).into()),
            ("token_lifetime", self.token_lifetime.into()),
            (
                "accounts",
                yaml::map(accounts.map(|(name, account)| (name, account.to_yaml()))),
            ),
        ];
        yaml::map(own.into_iter().chain(self.upstream.entries()))
    }
}

fn lifetime(section: &mut Section<'_>) -> Duration {
    let lifetime = section.or("token_lifetime", Config::DEFAULT_TOKEN_LIFETIME);
    let whole = lifetime.subsec_nanos() == 0 && !lifetime.is_zero();
    section.check(
        "token_lifetime",
        whole && lifetime <= LONGEST_LIFETIME,
        || "must be whole seconds, 1s to 3600s",
    );
    lifetime
}

impl Account {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let app_key = section.required("app_key");
        let secret = settings::secret(section, "app_secret_file");
        let app_key: String = app_key?;
        // It travels in a header.
        let fits = !app_key.is_empty() && app_key.bytes().all(|b| b.is_ascii_graphic());
        section.check(
            "app_key",
            fits,
            || "must be printable ASCII without spaces, and not empty",
        );
        Some(Self {
            app_key,
            secret: secret?,
        })
    }

    fn to_yaml(&self) -> Node {
        yaml::map([
            ("app_key", self.app_key.as_str().into()),
            ("app_secret_file", settings::censored(&self.secret)),
        ])
    }
}
