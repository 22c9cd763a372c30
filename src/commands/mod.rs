//! The commands of the binary, and what their exit codes say.

mod check;
mod health;
mod sandbox;
mod serve;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use tokio::runtime::Runtime;

use crate::app::RUNTIME_GRACE;
use crate::config::Config;
use crate::lifecycle::about;
use crate::settings;

/// `EX_CONFIG` of sysexits.h.
const BAD_CONFIGURATION: u8 = 78;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the gateway. Exits with 0 after a drain, 1 when the drain had to be cut, 78 when
    /// the configuration is wrong.
    Serve {
        /// The configuration, a YAML file.
        #[arg(long, env = "SWITCHBOARD_CONFIG", value_name = "FILE")]
        config: PathBuf,
    },
    /// Simulates both vendors on loopback with the gateway in front, and plays the documented
    /// calls.
    Sandbox(sandbox::Arguments),
    /// Validates a configuration and prints the effective one, secrets left out.
    Check {
        /// The configuration, a YAML file.
        #[arg(long, env = "SWITCHBOARD_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Also logs every account in once, and fetches the keys of callers' tokens where they are
        /// at a URL. Exits with 1 when one fails.
        #[arg(long)]
        online: bool,
    },
    /// Asks a running gateway whether it serves. Exits with 0 when it does, else with 1.
    Health(health::Arguments),
}

/// Runs one command to its end.
pub fn run(command: &Command) -> ExitCode {
    // One provider for the whole process, before anything makes a TLS configuration. An error
    // would mean that there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match command {
        Command::Serve { config } => serve::run(config),
        Command::Sandbox(arguments) => sandbox::run(arguments),
        Command::Check { config, online } => check::run(config, *online),
        Command::Health(arguments) => health::run(arguments),
    }
}

/// The configuration, or its problems on stderr and the exit code that says so.
fn load(path: &Path) -> Result<Config, ExitCode> {
    Config::load(path, settings::layers::environment()).map_err(|error| {
        let heading = format!("{} cannot be used:", path.display());
        fail(BAD_CONFIGURATION, &format!("{heading}\n{error}"))
    })
}

/// Says on stderr why the command failed.
fn fail(code: u8, error: &dyn Display) -> ExitCode {
    // A closed stderr leaves the exit code.
    let _ = writeln!(io::stderr(), "switchboard: {error}");
    ExitCode::from(code)
}

/// Prints a line on stdout.
fn say(line: &dyn Display) -> io::Result<()> {
    writeln!(Stdout, "{line}")
}

/// Stdout, where a reader that has gone away is not an error.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_unread(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_unread(io::stdout().flush(), ())
    }
}

fn unless_unread<T>(written: io::Result<T>, all: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(all),
        written => written,
    }
}

/// Runs a future on a runtime with a worker for each CPU that the process may use.
fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = Runtime::new().map_err(|error| about("cannot start the runtime", &error))?;
    let output = runtime.block_on(future);
    // What hangs now was given its time already.
    runtime.shutdown_timeout(RUNTIME_GRACE);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_help_writes_them() {
        let switchboard = Command::augment_subcommands(clap::Command::new("switchboard"));
        let mut tried = 0;
        for command in switchboard.get_subcommands() {
            for argument in command.get_arguments() {
                let names = argument.get_value_names().unwrap_or_default();
                let value = match names.first().map(clap::builder::Str::as_str) {
                    Some("HOST:PORT") => "localhost:1",
                    Some("IP:PORT") => "127.0.0.1:1",
                    _ => continue,
                };
                let option = format!("--{}", argument.get_long().unwrap());
                let line = ["switchboard", command.get_name(), &option, value];
                let taken = switchboard.clone().try_get_matches_from(line);
                assert!(taken.is_ok(), "{line:?}: {}", taken.unwrap_err());
                tried += 1;
            }
        }
        assert_eq!(tried, 4);
    }
}
