//! The binary: reads the arguments and runs one command.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use switchboard::commands::{self, Command};

/// A tenth of a call's instructions less than with the C library's, and no more memory
/// (docs/adr/0018-allocator.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
