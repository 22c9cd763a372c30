//! The audit log: a line for each write and for each refusal of a caller. It names who, what and
//! how it ended, and never a value.

use std::sync::{Arc, OnceLock};

use http::HeaderMap;
use tonic::Status;
use tonic_types::StatusExt;

use super::breaks_lines;
use crate::telemetry::audit::Told;
use crate::telemetry::server::{ANONYMOUS, Code};
use crate::upstream::redact::cut;

/// The longest text of a caller that is written, in characters: ids that were refused for their
/// length have any.
const LONGEST: usize = 128;

/// The same of why a certificate was refused, which may say all that it is for.
const LONGEST_REASON: usize = 512;

/// What a call is about; empty until its message is there.
#[derive(Debug, Clone, Default)]
pub(in crate::grpc) struct Record(Arc<OnceLock<About>>);

#[derive(Debug)]
struct About {
    account: String,
    target: String,
}

impl Record {
    /// Said once; the account as the caller meant it, the id as it was written.
    pub(in crate::grpc) fn tell(&self, account: &str, target: &str) {
        let [account, target] = [account, target].map(|it| printable(it, LONGEST));
        let _ = self.0.set(About { account, target });
    }
}

/// A call that is going to have its line, whatever becomes of it.
pub(super) struct Audited {
    pub(super) method: Arc<str>,
    pub(super) caller: Option<Arc<str>>,
    pub(super) peer: Option<Arc<str>>,
    pub(super) record: Record,
    /// Reads have a line only when they are refused.
    pub(super) writes: bool,
    pub(super) told: bool,
}

impl Audited {
    /// The answer's head is there. The answer of a single message that is no error comes without
    /// a status in its head.
    pub(super) fn answered(&mut self, headers: &HeaderMap) -> Option<Told> {
        self.told = true;
        let code = Code::of(headers).map_or("OK", Code::name);
        let status = match code {
            "OK" => None,
            _ => Status::from_header_map(headers),
        };
        let info = status.as_ref().and_then(Status::get_details_error_info);
        let reason = info.as_ref().map(|info| &*info.reason);
        if matches!(reason, Some("CALLER_UNAUTHENTICATED" | "CALLER_DENIED")) {
            // In the gateway's own words.
            let why = status.as_ref().map(Status::message);
            return Some(self.line("refused", code, reason, why));
        }
        self.writes.then(|| self.line("write", code, reason, None))
    }

    /// A stream was ended for what its caller is no longer.
    pub(super) fn lapsed(&self, why: &str) {
        let reason = Some("CALLER_UNAUTHENTICATED");
        drop(self.line("refused", "UNAUTHENTICATED", reason, Some(why)));
    }

    fn line(
        &self,
        what: &'static str,
        code: &str,
        reason: Option<&str>,
        why: Option<&str>,
    ) -> Told {
        let about = self.record.0.get();
        tracing::info!(
            target: "switchboard::audit",
            caller = self.caller.as_deref().unwrap_or(ANONYMOUS),
            peer = self.peer.as_deref(),
            method = &*self.method,
            account = about.map(|it| &*it.account),
            target_id = about.map(|it| &*it.target),
            code,
            reason,
            why,
            "{what}"
        );
        Told::now()
    }
}

impl Drop for Audited {
    /// The caller has hung up. A write that must not be cut in half goes on all the same.
    fn drop(&mut self) {
        if !self.writes || self.told {
            return;
        }
        let (code, reason) = if std::thread::panicking() {
            ("INTERNAL", "GATEWAY_FAILED")
        } else {
            ("CANCELLED", "CALLER_LEFT")
        };
        drop(self.line("write", code, Some(reason), None));
    }
}

/// A certificate that was not accepted: there is no call yet, and no code.
pub(in crate::grpc) fn handshake_refused(peer: Option<&str>, why: &str) {
    tracing::info!(
        target: "switchboard::audit",
        caller = ANONYMOUS,
        peer,
        reason = printable(why, LONGEST_REASON),
        "handshake refused"
    );
    drop(Told::now());
}

/// One line of bounded length, whatever a caller wrote; a part is marked as one.
fn printable(text: &str, longest: usize) -> String {
    cut(text, longest).replace(breaks_lines, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_wrote_is_one_bounded_line() {
        for (text, written) in [
            (
                "a\r\nb\u{85}\u{2028}c\u{1b}[0m",
                "a\u{fffd}\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}[0m",
            ),
            // As a screen shows it, what follows on the line would be a part of it.
            ("a\u{202e}b\u{2066}c\u{2069}", "a\u{fffd}b\u{fffd}c\u{fffd}"),
            // Marks of scripts that run from right to left change nothing but what is beside them.
            ("שלום\u{200f}!", "שלום\u{200f}!"),
        ] {
            assert_eq!(printable(text, LONGEST), written);
        }
    }

    /// Else it would pass for another id.
    #[test]
    fn a_part_of_an_id_is_marked_as_one() {
        let longest = "é".repeat(LONGEST);
        assert_eq!(printable(&longest, LONGEST), longest);
        let written = printable(&"é".repeat(1_000_000), LONGEST);
        assert_eq!(written, format!("{longest}…"));
    }
}
