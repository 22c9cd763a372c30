//! `switchboard check`: is this configuration right, and do its logins work?

use std::path::Path;
use std::process::ExitCode;

use super::{BAD_CONFIGURATION, block_on, fail, load, say};
use crate::app::{App, Login};
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
    say(&config.to_yaml().trim_end());
    if !online {
        return ExitCode::SUCCESS;
    }
    match block_on(app.log_in()) {
        Ok(logins) => report(&logins),
        Err(error) => fail(1, &error),
    }
}

/// One line for each account, as YAML comments so that the output as a whole stays YAML.
fn report(logins: &[Login]) -> ExitCode {
    let mut failed = false;
    for login in logins {
        let account = format!("# {} account {}", login.vendor, login.account);
        match &login.result {
            Ok(()) => say(&format!("{account}: logged in")),
            Err(error) => {
                failed = true;
                say(&format!("{account}: FAILED: {error}"));
            }
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
