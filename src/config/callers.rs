//! `server.tls`, `server.jwt`, `server.open_methods` and `policy`: who may call.

use std::path::PathBuf;

use url::Url;

use crate::{
    grpc::{
        caller::policy::{Pattern, Policy, Rule},
        methods,
    },
    settings::{
        Section,
        yaml::{self, Node},
    },
    upstream::settings::{address, is_loopback, readable},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub client_ca_file: Option<PathBuf>,
    pub crl_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    pub issuer: String,
    pub audiences: Vec<String>,
    pub jwks: Jwks,
}

/// Where the keys of tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Jwks {
    File(PathBuf),
    Url(Url),
}

impl Tls {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let (cert, key) = (section.required("cert_file"), section.required("key_file"));
        let client_ca_file: Option<PathBuf> = section.optional("client_ca_file");
        let crl_file: Option<PathBuf> = section.optional("crl_file");
        let files = [
            ("cert_file", &cert),
            ("key_file", &key),
            ("client_ca_file", &client_ca_file),
            ("crl_file", &crl_file),
        ];
        for (name, file) in files {
            readable(section, name, file.as_deref());
        }
        section.check_pair(
            "crl_file",
            "client_ca_file",
            crl_file.is_none() || client_ca_file.is_some(),
            || "without `client_ca_file` there are no certificates to be revoked",
        );
        Some(Self {
            cert_file: cert?,
            key_file: key?,
            client_ca_file,
            crl_file,
        })
    }

    pub(super) fn to_yaml(&self) -> Node {
        yaml::map([
            ("cert_file", (&Some(self.cert_file.clone())).into()),
            ("key_file", (&Some(self.key_file.clone())).into()),
            ("client_ca_file", (&self.client_ca_file).into()),
            ("crl_file", (&self.crl_file).into()),
        ])
    }
}

impl Jwt {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let issuer: Option<String> = section.required("issuer");
        let audiences: Option<Vec<String>> = section.required("audiences");
        let empty = |text: &String| text.is_empty();
        section.check(
            "issuer",
            !issuer.as_ref().is_some_and(empty),
            || "must not be empty",
        );
        section.check(
            "audiences",
            !audiences
                .as_ref()
                .is_some_and(|it| it.is_empty() || it.iter().any(empty)),
            || "at least one audience is required, and none is empty",
        );
        let jwks = Jwks::read(section);
        Some(Self {
            issuer: issuer?,
            audiences: audiences?,
            jwks: jwks?,
        })
    }

    pub(super) fn to_yaml(&self) -> Node {
        let (file, url) = match &self.jwks {
            Jwks::File(path) => ((&Some(path.clone())).into(), Node::Null),
            Jwks::Url(url) => (Node::Null, url.into()),
        };
        yaml::map([
            ("issuer", self.issuer.as_str().into()),
            ("audiences", self.audiences.as_slice().into()),
            ("jwks_file", file),
            ("jwks_url", url),
        ])
    }
}

impl Jwks {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let both = (
            section.is_absent("jwks_file"),
            section.is_absent("jwks_url"),
        );
        let file: Option<PathBuf> = section.optional("jwks_file");
        readable(section, "jwks_file", file.as_deref());
        let url = address(section, "jwks_url", true);
        // Keys that come in clear could be anybody's.
        let safe = |url: &Url| url.scheme() == "https" || is_loopback(url);
        section.check(
            "jwks_url",
            url.as_ref().is_none_or(safe),
            || "must begin with https:// beyond loopback",
        );
        match both {
            (true, true) => section.problem("jwks_file", "required, unless `jwks_url` is set"),
            (false, false) => section.problem("jwks_url", "not beside `jwks_file`: one of them"),
            _ => return file.map(Jwks::File).or(url.map(Jwks::Url)),
        }
        None
    }
}

/// Methods that need no identity.
pub(super) fn open_methods(section: &mut Section<'_>) -> Vec<Pattern> {
    let key = "open_methods";
    match section.optional::<Vec<String>>(key) {
        Some(texts) => method_patterns(section, key, texts),
        None => vec![Pattern::new("grpc.health.v1.Health/*")],
    }
}

/// One that matches nothing is a slip of the pen, and would deny or open something else than its
/// author believes.
fn method_patterns(section: &mut Section<'_>, key: &str, texts: Vec<String>) -> Vec<Pattern> {
    let all = methods::all();
    let patterns: Vec<Pattern> = texts.into_iter().map(Pattern::new).collect();
    for (i, pattern) in patterns.iter().enumerate() {
        let known = all.iter().any(|method| pattern.matches(&method.name));
        section.check(&format!("{key}[{i}]"), known, || {
            let text = pattern.as_str();
            format!("{text:?} matches no method; they are written as package.Service/Method")
        });
    }
    patterns
}

/// `accounts` are the names of all vendors' accounts.
pub(super) fn policy(root: &mut Section<'_>, accounts: &[String]) -> Option<Policy> {
    let rules = root.list("policy", |section| rule(section, accounts))?;
    root.check(
        "policy",
        !rules.is_empty(),
        || "at least one rule is required; leave it out, and every caller with an identity may do everything",
    );
    Some(Policy(rules.into_iter().flatten().collect()))
}

fn rule(section: &mut Section<'_>, known: &[String]) -> Option<Rule> {
    let callers = texts(section, "callers");
    let methods = texts(section, "methods");
    let accounts = texts(section, "accounts");
    let methods = method_patterns(section, "methods", methods?);
    let accounts = patterns(accounts?);
    for (i, account) in accounts.iter().enumerate() {
        let fits = known.iter().any(|name| account.matches(name));
        section.check(&format!("accounts[{i}]"), fits, || {
            format!("{:?} matches no account of any vendor", account.as_str())
        });
    }
    Some(Rule {
        callers: patterns(callers?),
        methods,
        accounts,
    })
}

/// All three must be there: a rule that forgets one must not mean all.
fn texts(section: &mut Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let texts: Option<Vec<String>> = section.required(key);
    let named = texts
        .as_ref()
        .is_none_or(|it| !it.is_empty() && it.iter().all(|text| !text.is_empty()));
    section.check(key, named, || "at least one is required, and none is empty");
    texts
}

fn patterns(texts: Vec<String>) -> Vec<Pattern> {
    texts.into_iter().map(Pattern::new).collect()
}

pub(super) fn policy_to_yaml(policy: &Policy) -> Node {
    let rules = policy.0.iter().map(|rule| {
        yaml::map([
            ("callers", listed(&rule.callers)),
            ("methods", listed(&rule.methods)),
            ("accounts", listed(&rule.accounts)),
        ])
    });
    Node::Maps(rules.collect())
}

pub(super) fn listed(patterns: &[Pattern]) -> Node {
    let texts = patterns.iter().map(|it| it.as_str().to_owned());
    Node::List(texts.collect())
}
