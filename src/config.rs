//! The configuration: a YAML file with the environment laid over it, checked as a whole.

mod callers;
mod dedupe;
mod log;
mod server;

use std::{fmt, path::Path};

use crate::{
    grpc::caller::policy::Policy,
    settings::{
        Problem, Problems, Section, layers,
        yaml::{self, Node},
    },
    vendors::{aicc, genesys},
};

pub use callers::{Jwks, Jwt, Tls};
pub use dedupe::Dedupe;
pub use log::Log;
pub use server::Server;

#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    /// Without it, whoever has an identity may do everything.
    pub policy: Option<Policy>,
    pub log: Log,
    pub dedupe: Dedupe,
    pub genesys: Option<genesys::config::Config>,
    pub aicc: Option<aicc::config::Config>,
}

/// Why there is no configuration: every problem, each on a line of its own.
#[derive(Debug)]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

impl Config {
    /// Reads the file and the given environment: in the program [`layers::environment`].
    pub fn load(
        path: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = layers::file(path).map_err(|problem| ConfigError {
            problems: vec![problem],
        })?;
        let mut problems = Problems::default();
        layers::overlay(&mut table, environment, &mut problems);
        let config = Section::root(table, &mut problems, Self::read);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError {
                problems: problems.into_vec(),
            }),
        }
    }

    /// `None` goes with a problem reported, but a problem may be reported without it.
    fn read(root: &mut Section<'_>) -> Option<Self> {
        // Before anything in them is read, as what is wrong with an account is no problem of the policy's.
        let accounts = ["genesys", "aicc"].map(|vendor| root.names(vendor, "accounts"));
        let server = root.section("server", Server::read);
        let log = root.section("log", Log::read);
        let dedupe = root.section("dedupe", Dedupe::read);
        let genesys = root.optional_section("genesys", genesys::config::Config::read);
        let aicc = root.optional_section("aicc", aicc::config::Config::read);
        root.check(
            "genesys, aicc",
            genesys.is_some() || aicc.is_some(),
            || "at least one vendor must be configured",
        );
        let (genesys, aicc) = (transposed(genesys), transposed(aicc));
        let policy = Self::policy(root, server.as_ref(), &accounts.concat());
        Some(Self {
            server: server?,
            policy,
            log,
            dedupe,
            genesys: genesys?,
            aicc: aicc?,
        })
    }

    /// A policy that nobody can be held against protects nothing.
    fn policy(
        root: &mut Section<'_>,
        server: Option<&Server>,
        accounts: &[String],
    ) -> Option<Policy> {
        let policy = callers::policy(root, accounts);
        root.check(
            "policy",
            policy.is_none() || server.is_none_or(Server::knows_callers),
            || "nobody has an identity: set server.tls.client_ca_file or server.jwt",
        );
        policy
    }

    /// The configuration in force, with defaults filled in and secrets named by their files only.
    /// It loads as the same configuration.
    pub fn to_yaml(&self) -> String {
        let genesys = self.genesys.as_ref().map(|it| ("genesys", it.to_yaml()));
        let aicc = self.aicc.as_ref().map(|it| ("aicc", it.to_yaml()));
        let policy = self
            .policy
            .as_ref()
            .map_or(Node::Null, callers::policy_to_yaml);
        let common = [
            ("server", self.server.to_yaml()),
            ("policy", policy),
            ("log", self.log.to_yaml()),
            ("dedupe", self.dedupe.to_yaml()),
        ];
        yaml::map(common.into_iter().chain(genesys).chain(aicc)).to_string()
    }
}

/// Absent is fine, present but wrong is not.
fn transposed<T>(section: Option<Option<T>>) -> Option<Option<T>> {
    match section {
        Some(None) => None,
        Some(read) => Some(read),
        None => Some(None),
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// The operator's file, for the fuzzer: what loads is printed as what loads as the same.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    use crate::config::Config;
    use crate::settings::{Problems, Section, layers};

    pub(crate) fn file(bytes: &[u8]) {
        let load = |text: &str| {
            let table = layers::parse(text).ok()?;
            let mut problems = Problems::default();
            let config = Section::root(table, &mut problems, Config::read);
            config.filter(|_| problems.is_empty())
        };
        if let Some(config) = str::from_utf8(bytes).ok().and_then(load) {
            let printed = config.to_yaml();
            let again = load(&printed).map(|config| config.to_yaml());
            assert_eq!(Some(&printed), again.as_ref());
        }
    }
}

#[cfg(test)]
mod tests;
