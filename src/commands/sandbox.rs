//! `switchboard sandbox`: both vendors simulated, the gateway in front, and a tour.

use std::process::ExitCode;

use clap::Args;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Ends after the tour, with 0 only if everything was as documented.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(_arguments: &Arguments) -> ExitCode {
    ExitCode::SUCCESS
}
