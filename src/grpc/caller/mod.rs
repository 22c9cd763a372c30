//! Who calls, and what that caller may do.
//!
//! A caller is known by its certificate, once for each connection, or by a token, which goes
//! before it. The layer looks whether the method is allowed; whether the account is,
//! [`inbound::open`](super::inbound::open) asks as soon as the message is there, so that no
//! facade can forget to. Both, and every write, leave a line in the audit log.

mod audit;
mod bearer;
mod certificate;
mod lapse;
mod layer;
pub mod policy;
pub mod tokens;

use std::sync::Arc;

pub(super) use self::audit::{Record, handshake_refused};
pub(super) use self::certificate::identity;
pub(super) use self::layer::CallerLayer;
use self::policy::{Pattern, Policy};
use self::tokens::Tokens;
use super::methods;

/// No identity is longer, in bytes: it goes into logs, and into the key of each `request_id`.
const LONGEST_IDENTITY: usize = 1024;

/// What the operator demands of callers. With no source of identities everybody is anonymous and
/// may do everything.
#[derive(Default)]
pub struct Access {
    /// Client certificates are verified, so a connection may tell who is behind it.
    pub certificates: bool,
    pub tokens: Option<Arc<Tokens>>,
    /// Methods that need no identity.
    pub open_methods: Vec<Pattern>,
    /// Without one, whoever has an identity may do everything.
    pub policy: Option<Policy>,
}

impl Access {
    /// Whether callers have to say who they are.
    fn is_closed(&self) -> bool {
        self.certificates || self.tokens.is_some()
    }

    /// Until some caller can be let in. Where only tokens do that, it takes the keys that verify
    /// them.
    pub(super) async fn opens(&self) {
        let all = methods::all();
        let mut served = all.iter().filter(|it| !methods::is_standard(&it.name));
        let open = served.any(|it| policy::any(&self.open_methods, &it.name));
        if let Some(tokens) = &self.tokens
            && !self.certificates
            && !open
        {
            tokens.had().await;
        }
    }
}

/// Among the extensions of a request that was let through: on whose behalf, and how far.
#[derive(Clone)]
pub(super) struct Permit {
    access: Arc<Access>,
    method: Arc<str>,
    caller: Option<Arc<str>>,
    /// What the audit log is told once the message is there.
    record: Record,
}

impl Permit {
    pub(super) fn caller(&self) -> Option<&Arc<str>> {
        self.caller.as_ref()
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Whether the caller may use this account of the method's vendor, be there one or not.
    pub(super) fn allows(&self, account: &str) -> bool {
        match (&self.access.policy, &self.caller) {
            (Some(policy), Some(caller)) => policy.allows(caller, &self.method, account),
            // Nobody without an identity gets here, but to what is open to everybody.
            _ => true,
        }
    }
}

/// Fit to stand in a log, a header or a key.
fn is_sound(identity: &str) -> bool {
    (1..=LONGEST_IDENTITY).contains(&identity.len()) && !identity.contains(breaks_lines)
}

/// What could end a line, or move about on a screen, as what turns the direction of all that follows.
fn breaks_lines(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || turns
}
