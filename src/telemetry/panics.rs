//! Panics as lines of the log: one each, with the trace of the call that it ended.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, PanicHookInfo};
use std::thread;

/// What says so when a panic cannot be shown.
const NO_TEXT: &str = "(no text)";

/// From now on, in the whole process. At a level that hides errors the standard library tells them
/// as it does without us: a process that ends by one must not end without a word.
pub fn log_panics() {
    let standard = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if tracing::event_enabled!(tracing::Level::ERROR) {
            tell(panic);
        } else {
            standard(panic);
        }
    }));
}

fn tell(panic: &PanicHookInfo<'_>) {
    // As `RUST_BACKTRACE` wants it.
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        thread = thread::current().name(),
        at = panic.location().map(tracing::field::display),
        backtrace = captured.then(|| tracing::field::display(&backtrace)),
        "panicked: {}",
        text(panic.payload())
    );
}

/// What `panic!` was given: a text as it stands, or one that was put together.
fn text(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<&str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or(NO_TEXT, |it| it),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::Value;

    use super::*;
    use crate::telemetry::{Format, Options, init};

    /// Set for a process that is to panic.
    const LEVEL: &str = "PANICS_AT_LEVEL";

    /// Not a test by itself: hooks and subscribers are the whole process's.
    #[test]
    fn panics_in_a_process_of_its_own() {
        let Ok(level) = std::env::var(LEVEL) else {
            return;
        };
        let telemetry = init(&Options {
            level,
            format: Format::Json,
            audit: true,
        });
        log_panics();
        let thread = thread::Builder::new().name("worker".to_owned());
        let worker = thread.spawn(|| panic!("first\nsecond \"{}\"", "third"));
        worker.unwrap().join().unwrap_err();
        telemetry.unwrap().shutdown();
    }

    /// What such a process says on stderr.
    fn told(level: &str) -> String {
        let name = "telemetry::panics::tests::panics_in_a_process_of_its_own";
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(LEVEL, level)
            .env("RUST_BACKTRACE", "0")
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        assert!(process.status.success(), "{process:?}");
        String::from_utf8(process.stderr).unwrap()
    }

    #[test]
    fn a_panic_is_one_line_like_any_other() {
        let told = told("error");
        let line: Value = serde_json::from_str(told.trim_end()).expect(&told);
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["message"], "panicked: first\nsecond \"third\"");
        assert_eq!(line["thread"], "worker");
        assert!(
            line["at"].as_str().unwrap().contains("panics.rs:"),
            "{line}"
        );
        assert!(line.get("backtrace").is_none(), "{line}");
    }

    #[test]
    fn where_errors_are_not_logged_it_is_told_all_the_same() {
        let told = told("off");
        assert!(told.contains("second \"third\""), "{told}");
    }
}
