//! The `genesys` section of the configuration.

use std::collections::BTreeMap;

use http::uri::PathAndQuery;
use url::Url;

use crate::{
    settings::{
        Section,
        yaml::{self, Node},
    },
    upstream::{secret::Secret, settings},
};

#[derive(Clone, Debug)]
pub struct Config {
    /// Perhaps with a path, never with a slash at the end of it.
    pub base_url: Url,
    pub allow_undocumented_values: bool,
    pub notifications: Notifications,
    pub accounts: BTreeMap<String, Account>,
    pub upstream: settings::Settings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notifications {
    pub path: String,
    pub channels: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Account {
    pub username: String,
    pub password: Secret,
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            path: "/api/v2/notifications".to_owned(),
            channels: vec!["/v2/me/*".to_owned()],
        }
    }
}

impl Config {
    pub fn read(section: &mut Section<'_>) -> Option<Self> {
        let upstream = settings::Settings::read(section);
        let base_url = settings::base_url(section, upstream.allow_plaintext);
        Some(Self {
            allow_undocumented_values: section.or("allow_undocumented_values", false),
            notifications: section.section("notifications", Notifications::read),
            accounts: settings::accounts(section, Account::read),
            base_url: base_url?,
            upstream,
        })
    }

    pub fn to_yaml(&self) -> Node {
        let accounts = self.accounts.iter();
        let own = [
            ("base_url", (&self.base_url).into()),
            (
                "allow_undocumented_values",
                self.allow_undocumented_values.into(),
            ),
            ("notifications", self.notifications.to_yaml()),
            (
                "accounts",
                yaml::map(accounts.map(|(name, account)| (name, account.to_yaml()))),
            ),
        ];
        yaml::map(own.into_iter().chain(self.upstream.entries()))
    }
}

impl Notifications {
    fn read(section: &mut Section<'_>) -> Self {
        let default = Self::default();
        let read = Self {
            path: section.or("path", default.path),
            channels: section.or("channels", default.channels),
        };
        section.check("path", read.path.starts_with('/'), || "must begin with `/`");
        // Else no request could be made of it, or one for another path.
        let whole = |it: PathAndQuery| it.as_str() == read.path;
        section.check(
            "path",
            read.path.parse().is_ok_and(whole),
            || "must be written as in a URL, without `#`",
        );
        section.check(
            "channels",
            !read.channels.is_empty(),
            || "at least one channel is required",
        );
        for (i, channel) in read.channels.iter().enumerate() {
            let key = format!("channels[{i}]");
            section.check(&key, channel.starts_with('/'), || "must begin with `/`");
        }
        read
    }

    fn to_yaml(&self) -> Node {
        yaml::map([
            ("path", self.path.as_str().into()),
            ("channels", self.channels.as_slice().into()),
        ])
    }
}

impl Account {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let username = section.required("username");
        let password = settings::secret(section, "password_file");
        let username: String = username?;
        // Basic authentication ends the name at the first colon and knows no control characters.
        let unfit = |c: char| c == ':' || c.is_control();
        let fits = !username.is_empty() && !username.contains(unfit);
        section.check(
            "username",
            fits,
            || "must not be empty, nor contain a colon or control characters",
        );
        Some(Self {
            username,
            password: password?,
        })
    }

    fn to_yaml(&self) -> Node {
        yaml::map([
            ("username", self.username.as_str().into()),
            ("password_file", settings::censored(&self.password)),
        ])
    }
}
