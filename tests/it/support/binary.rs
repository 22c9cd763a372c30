//! Which gateway is started.

use std::ffi::OsString;

/// The one that was built along with this, or another one that `SWITCHBOARD` names.
pub(crate) fn switchboard() -> OsString {
    std::env::var_os("SWITCHBOARD").unwrap_or_else(|| env!("CARGO_BIN_EXE_switchboard").into())
}
