//! A vendor's circuit breaker, as its service's health shows it: callers that watch health turn
//! to another replica, or away, instead of being refused.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::grpc;
use crate::upstream::breaker::BreakerState;

type State = watch::Sender<BreakerState>;

/// The last word of each vendor's breaker.
pub(super) struct Circuits(HashMap<&'static str, State>);

/// One vendor's circuit, and what its state is shown by.
pub(super) struct Circuit {
    pub(super) state: watch::Receiver<BreakerState>,
    /// How long the vendor is left alone at a time.
    pub(super) rest: Duration,
    pub(super) service: &'static str,
}

impl Circuits {
    pub(super) fn new(vendors: impl IntoIterator<Item = &'static str>) -> Self {
        let closed = |vendor| (vendor, State::new(BreakerState::Closed));
        Circuits(vendors.into_iter().map(closed).collect())
    }

    /// Cheap: it is told so on the way of a call.
    pub(super) fn tell(&self, vendor: &str, state: BreakerState) {
        if let Some(told) = self.0.get(vendor) {
            told.send_replace(state);
        }
    }

    pub(super) fn of(&self, vendor: &str) -> watch::Receiver<BreakerState> {
        self.0[vendor].subscribe()
    }
}

/// Shows every circuit, as long as it is polled.
pub(super) async fn show(circuits: Vec<Circuit>, health: &grpc::Health) {
    join_all(circuits.into_iter().map(|circuit| circuit.show(health))).await;
    // Without a vendor there is nothing to show, and no end to that.
    std::future::pending::<()>().await;
}

impl Circuit {
    async fn show(mut self, health: &grpc::Health) {
        let mut shown = true;
        loop {
            let state = *self.state.borrow_and_update();
            let serving = match state {
                BreakerState::Closed => true,
                BreakerState::Open => false,
                // The probe is on its way; what comes of it decides.
                BreakerState::HalfOpen => shown,
            };
            if serving != shown {
                health.set_service(self.service, serving).await;
                shown = serving;
            }
            if state == BreakerState::Open && !self.stirs_within_rest().await {
                health.set_service(self.service, true).await;
                shown = true;
            }
            if self.state.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether the breaker says anything new while it lets no call through, or soon after. If
    /// not, nobody has called: those who go by health do not while it says no, and without a
    /// word to them the circuit would stay open for ever, for want of a probe.
    async fn stirs_within_rest(&self) -> bool {
        let rest = self.rest.saturating_add(self.rest / 10);
        let mut state = self.state.clone();
        tokio::time::timeout(rest, state.changed()).await.is_ok()
    }
}
