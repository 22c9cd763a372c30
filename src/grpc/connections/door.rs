//! How many connections there may be at once.

use std::sync::Arc;

use opentelemetry::metrics::{Counter, Meter, UpDownCounter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The bound on connections, with what is counted about it.
pub(super) struct Door {
    max: usize,
    places: Arc<Semaphore>,
    open: UpDownCounter<i64>,
    refused: Counter<u64>,
}

/// One of the places for connections; it is free again when this is dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    open: UpDownCounter<i64>,
}

impl Door {
    pub(super) fn new(max: usize, meter: &Meter) -> Self {
        let open = meter
            .i64_up_down_counter("switchboard_connections")
            .with_description("Connections of callers that are open.")
            .build();
        let refused = meter
            .u64_counter("switchboard_connections_refused")
            .with_description("Connections closed at once for want of a place.")
            .build();
        // A series that is there from the start can be alerted on.
        open.add(0, &[]);
        refused.add(0, &[]);
        Door {
            places: Arc::new(Semaphore::new(max)),
            max,
            open,
            refused,
        }
    }

    pub(super) fn admit(&self) -> Option<Place> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.refused.add(1, &[]);
            tracing::debug!(max = self.max, "a connection was refused");
            return None;
        };
        self.open.add(1, &[]);
        Some(Place {
            _permit: permit,
            open: self.open.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.add(-1, &[]);
    }
}
