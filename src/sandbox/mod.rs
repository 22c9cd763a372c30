//! Both vendors simulated over real HTTP on loopback, so that callers can rehearse what production rarely shows.
//!
//! It is written from the vendors' documents and shares no code with the clients of this crate: a misreading on
//! one side shows as a failing call instead of being agreed upon by both.
//!
//! ```text
//! http/      listeners and connections; reads a request, draws a fault, asks the simulator, delivers the answer
//! genesys/   Genesys Web Services v2: Basic, cookies, CSRF, SMS sessions, their user data, notifications of it
//! aicc/      Huawei Cloud AICC: tokens, agent settings
//! faults     what goes wrong, when, and how often
//! journal    every request as it arrived and as it was answered
//! control/   the endpoint that sets faults and the notification plan, shows journal and state, and resets all of it
//! tour/      plays the documented calls through a gateway and holds them against the documents
//! ```

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

pub mod aicc;
mod control;
pub mod faults;
pub mod genesys;
mod http;
pub mod journal;
pub mod tour;

pub use self::http::Listener;
use self::http::{Exchange, Serve, Simulator, site};

/// Where the sandbox listens. Port 0 lets the system choose.
#[derive(Debug, Clone)]
pub struct Options {
    pub genesys: SocketAddr,
    pub aicc: SocketAddr,
    pub control: SocketAddr,
}

impl Default for Options {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            genesys: any,
            aicc: any,
            control: any,
        }
    }
}

/// A running sandbox. Clones share it; it ends with [`Sandbox::stop`] or with the last clone.
#[derive(Clone)]
pub struct Sandbox {
    parts: Parts,
    listeners: Arc<Listeners>,
}

/// What the control endpoint works on, too.
#[derive(Clone)]
struct Parts {
    genesys: Arc<genesys::Genesys>,
    aicc: Arc<aicc::Aicc>,
    faults: Arc<faults::Plan>,
    journal: Arc<journal::Journal>,
}

struct Listeners {
    genesys: Listener,
    aicc: Listener,
    control: Listener,
}

impl Sandbox {
    pub async fn start(options: Options) -> io::Result<Self> {
        let parts = Parts {
            genesys: Arc::default(),
            aicc: Arc::default(),
            faults: Arc::default(),
            journal: Arc::default(),
        };
        let open = |what: &str, address, serve| {
            Listener::open(address, serve).map_err(|error| {
                let message = format!("{what}: cannot listen on {address}: {error}");
                io::Error::new(error.kind(), message)
            })
        };
        let listeners = Listeners {
            genesys: open("Genesys", options.genesys, parts.site_of(&parts.genesys))?,
            aicc: open("AICC", options.aicc, parts.site_of(&parts.aicc))?,
            control: open("control", options.control, control::site(parts.clone()))?,
        };
        Ok(Self {
            parts,
            listeners: Arc::new(listeners),
        })
    }

    pub fn genesys_url(&self) -> String {
        self.listeners.genesys.url()
    }

    pub fn aicc_url(&self) -> String {
        self.listeners.aicc.url()
    }

    pub fn control_url(&self) -> String {
        self.listeners.control.url()
    }

    /// To take one vendor down and bring it back at the same address, with its state kept.
    pub fn genesys_listener(&self) -> &Listener {
        &self.listeners.genesys
    }

    /// To take one vendor down and bring it back at the same address, with its state kept.
    pub fn aicc_listener(&self) -> &Listener {
        &self.listeners.aicc
    }

    pub fn genesys(&self) -> &Arc<genesys::Genesys> {
        &self.parts.genesys
    }

    pub fn aicc(&self) -> &Arc<aicc::Aicc> {
        &self.parts.aicc
    }

    pub fn faults(&self) -> &Arc<faults::Plan> {
        &self.parts.faults
    }

    pub fn journal(&self) -> &Arc<journal::Journal> {
        &self.parts.journal
    }

    /// State back to the seeds; faults and journal cleared. Connections stay.
    pub fn reset(&self) {
        self.parts.reset();
    }

    /// Closes the listeners and kills every open connection without a word. May be called again.
    pub async fn stop(&self) {
        self.listeners.genesys.stop().await;
        self.listeners.aicc.stop().await;
        self.listeners.control.stop().await;
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listeners {
            genesys,
            aicc,
            control,
        } = &*self.listeners;
        let mut sandbox = f.debug_struct("Sandbox");
        sandbox
            .field("genesys", genesys)
            .field("aicc", aicc)
            .field("control", control);
        sandbox.finish_non_exhaustive()
    }
}

impl Parts {
    fn site_of<S: Simulator>(&self, simulator: &Arc<S>) -> Serve {
        let (faults, journal) = (Arc::clone(&self.faults), Arc::clone(&self.journal));
        site(Exchange::new(Arc::clone(simulator), faults, journal))
    }

    fn reset(&self) {
        // Faults first: a request arriving in between must meet no leftover of the old rehearsal.
        self.faults.clear();
        self.genesys.reset();
        self.aicc.reset();
        self.journal.clear();
    }
}

#[cfg(test)]
mod tests;
