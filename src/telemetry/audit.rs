//! Lines of the audit log on their way to stderr.
//!
//! None is ever dropped, and each is written before the call that it is about is answered. Calls
//! that end at the same time write their lines together: each write is a system call that wakes
//! whoever reads stderr.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::logs;

/// Those that were told and are not written yet: stderr is the process's own, and so is this.
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// What a line is told to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines;

/// A line that may not be written yet. It is once this is dropped.
#[must_use]
#[derive(Debug)]
pub struct Told(());

impl Told {
    /// A line was told just now.
    pub fn now() -> Self {
        Told(())
    }

    /// Lets those calls add their lines that are about to end too.
    ///
    /// Written when it returns, and also when it is not waited for to its end.
    pub async fn written_with_others(self) {
        tokio::task::yield_now().await;
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let mut lines = lines();
        if !lines.is_empty() {
            // Held meanwhile: who comes now finds its line written once it has the lock.
            if io::stderr().write_all(&lines).is_err() {
                logs::refused(lines.iter().filter(|byte| **byte == b'\n').count());
            }
            lines.clear();
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lines().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines() -> MutexGuard<'static, Vec<u8>> {
    // Nothing is done under the lock that could leave it half written.
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}
