//! The rules for addresses, files and accounts.

use std::{collections::BTreeMap, path::Path, time::Duration};

use url::{Host, Url};

use crate::{
    settings::{Section, yaml::Node},
    upstream::{files, secret::Secret},
};

/// A duration that must not be zero.
pub fn positive(section: &mut Section<'_>, key: &'static str, default: Duration) -> Duration {
    let duration = section.or(key, default);
    section.check(key, !duration.is_zero(), || "must be longer than 0s");
    duration
}

/// A URL that is asked for as it stands: http or https with a host, no fragment; and nothing in plain
/// text to another machine, unless the operator has said so.
pub fn address(section: &mut Section<'_>, key: &'static str, allow_plaintext: bool) -> Option<Url> {
    let url: Url = section.optional(key)?;
    // One rule at a time: the later ones presume the earlier.
    let wrong = if !matches!(url.scheme(), "http" | "https") {
        "must begin with http:// or https://"
    } else if !url.username().is_empty() || url.password().is_some() {
        "must not hold a user name or a password"
    } else if url.fragment().is_some() {
        "must have no fragment"
    } else if url.scheme() == "http" && !allow_plaintext && !is_loopback(&url) {
        "plain http:// beyond loopback needs `allow_plaintext: true`"
    } else {
        return Some(url);
    };
    section.problem(key, wrong);
    None
}

/// An [`address`] that paths can be added to.
pub fn endpoint(
    section: &mut Section<'_>,
    key: &'static str,
    allow_plaintext: bool,
) -> Option<Url> {
    let url = address(section, key, allow_plaintext)?;
    if url.query().is_none() {
        return Some(url);
    }
    section.problem(key, "must have no query");
    None
}

/// An [`endpoint`] that must be there, without the slash at its end.
pub fn base_url(section: &mut Section<'_>, allow_plaintext: bool) -> Option<Url> {
    let key = "base_url";
    if section.is_absent(key) {
        section.required::<Url>(key);
    }
    let mut url = endpoint(section, key, allow_plaintext)?;
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

/// Whether what is sent there stays on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The accounts of a vendor: at least one, with names fit for a metric's label and a variable.
pub fn accounts<T>(
    section: &mut Section<'_>,
    mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut names = Vec::new();
    let accounts = section.map("accounts", |name, account| {
        names.push(name.to_owned());
        read(account)
    });
    section.check(
        "accounts",
        !names.is_empty(),
        || "at least one account is required",
    );
    for name in names.iter().filter(|it| !is_account_name(it)) {
        section.problem(
            &format!("accounts.{name}"),
            "a name has 1 to 64 letters, digits, dots, underscores and hyphens",
        );
    }
    accounts
}

fn is_account_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// A secret in a file, which must be readable now: to learn of it at the first login is too late.
pub fn secret(section: &mut Section<'_>, key: &'static str) -> Option<Secret> {
    let secret = Secret::file(section.required(key)?);
    match secret.read() {
        Ok(_) => Some(secret),
        Err(why) => {
            section.problem(key, why.to_string());
            None
        }
    }
}

/// How a secret is printed: where it is and not what it is.
pub fn censored(secret: &Secret) -> Node {
    match secret.path() {
        Some(path) => Node::Text(path.display().to_string()),
        None => "*****".into(),
    }
}

/// Reports a file that cannot be opened.
pub fn readable(section: &mut Section<'_>, key: &str, path: Option<&Path>) {
    if let Some(Err(why)) = path.map(files::open) {
        section.problem(key, why.to_string());
    }
}
