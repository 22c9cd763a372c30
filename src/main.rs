//! The binary: reads the arguments and runs one command.

use std::process::ExitCode;

use clap::Parser;
use switchboard::commands::{self, Command};

/// A gRPC gateway in front of contact-centre vendors.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    commands::run(&Arguments::parse().command)
}
