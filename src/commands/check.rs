//! `switchboard check`: is this configuration right, and do its logins work?

use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::{BAD_CONFIGURATION, block_on, fail, load, say};
use crate::app::{App, Login};
use crate::config::Config;
use crate::grpc::caller::policy::{Pattern, Policy};
use crate::grpc::caller::tokens::TokensError;
use crate::telemetry::Metrics;

pub(super) fn run(path: &Path, online: bool) -> ExitCode {
    let config = match load(path) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let metrics = match Metrics::new() {
        Ok(metrics) => metrics,
        Err(error) => return fail(1, &error),
    };
    // Reads the files that the configuration names.
    let app = match App::new(&config, metrics) {
        Ok(app) => app,
        Err(error) => return fail(BAD_CONFIGURATION, &error),
    };
    // As into a file on a full disk, which must not pass for the whole of it.
    let unprinted = |error: io::Error| fail(1, &format!("the result cannot be printed: {error}"));
    let printed = say(&config.to_yaml().trim_end()).and_then(|()| say(&table(&config)));
    if let Err(error) = printed {
        return unprinted(error);
    }
    if !online {
        return ExitCode::SUCCESS;
    }
    match block_on(async { (app.try_jwks_url().await, app.log_in().await) }) {
        Ok((keys, logins)) => report(keys, logins).unwrap_or_else(unprinted),
        Err(error) => fail(1, &error),
    }
}

/// A line stays one, whatever an operator or a vendor has written.
fn line(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

/// Who may call what, as YAML comments so that the output as a whole stays YAML.
fn table(config: &Config) -> String {
    let all = |patterns: &[Pattern]| {
        let texts: Vec<_> = patterns.iter().map(|it| line(it.as_str())).collect();
        texts.join(", ")
    };
    let mut rows = vec![["callers", "methods", "accounts"].map(str::to_owned)];
    if config.server.knows_callers() {
        let open = all(&config.server.open_methods);
        if !open.is_empty() {
            rows.push(["anybody".to_owned(), open, "*".to_owned()]);
        }
        match &config.policy {
            Some(Policy(rules)) => rows.extend(
                rules
                    .iter()
                    .map(|rule| [all(&rule.callers), all(&rule.methods), all(&rule.accounts)]),
            ),
            None => rows.push(["whoever has an identity", "*", "*"].map(str::to_owned)),
        }
        rows.push(["everybody else", "none", "none"].map(str::to_owned));
    } else {
        rows.push(["anybody", "*", "*"].map(str::to_owned));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (first, second) = (width(0).unwrap_or(0), width(1).unwrap_or(0));
    let lines = rows.iter().map(|[callers, methods, accounts]| {
        format!("# {callers:first$}  {methods:second$}  {accounts}")
    });
    let lines: Vec<_> = lines.collect();
    format!(
        "# Who may call what; the first line that fits allows:\n{}",
        lines.join("\n")
    )
}

/// One line for the keys of tokens and for each account, as YAML comments so that the output as a
/// whole stays YAML.
fn report(keys: Option<Result<(), TokensError>>, logins: Vec<Login>) -> io::Result<ExitCode> {
    let mut failed = false;
    let mut tell = |what: &str, good: &str, error: Option<String>| {
        failed |= error.is_some();
        let how = error.map_or_else(|| good.to_owned(), |error| format!("FAILED: {error}"));
        say(&format!("# {what}: {}", line(&how)))
    };
    if let Some(keys) = keys {
        let error = keys.err().map(|it| it.to_string());
        tell("server.jwt.jwks_url", "had", error)?;
    }
    for login in logins {
        let account = format!("{} account {}", login.vendor, login.account);
        let error = login.result.err().map(|it| it.to_string());
        tell(&account, "logged in", error)?;
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
