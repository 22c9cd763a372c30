//! What is read when somebody asks for metrics, and costs calls nothing.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::upstream::breaker::BreakerState;
use crate::upstream::client::{Client, HeldToken};
use crate::upstream::operation::Vendor;

/// Of one vendor.
#[derive(Clone)]
pub(super) struct Readings {
    vendor: &'static str,
    breaker: Arc<dyn Fn() -> BreakerState + Send + Sync>,
    budget: Arc<dyn Fn() -> i64 + Send + Sync>,
    tokens: Arc<dyn Fn() -> Vec<HeldToken> + Send + Sync>,
}

impl Readings {
    pub(super) fn of<V: Vendor>(client: &Client<V>) -> Self {
        let (breaker, budget, tokens) = (client.clone(), client.clone(), client.clone());
        Readings {
            vendor: V::NAME,
            breaker: Arc::new(move || breaker.breaker()),
            budget: Arc::new(move || budget.retry_budget()),
            tokens: Arc::new(move || tokens.tokens()),
        }
    }

    fn labels(&self, token: &HeldToken) -> [KeyValue; 2] {
        [
            KeyValue::new("vendor", self.vendor),
            KeyValue::new("account", Arc::clone(&token.account)),
        ]
    }
}

/// Makes instruments of them; they are read at every scrape and every export.
pub(super) fn observe(meter: &Meter, vendors: Vec<Readings>) {
    let vendors: Arc<[Readings]> = vendors.into();
    let read = Arc::clone(&vendors);
    meter
        .u64_observable_gauge("switchboard_breaker_state")
        .with_description("Circuit breaker of a vendor: 0 closed, 1 half open, 2 open.")
        .with_callback(move |gauge| {
            for vendor in read.iter() {
                let state = match (vendor.breaker)() {
                    BreakerState::Closed => 0,
                    BreakerState::HalfOpen => 1,
                    BreakerState::Open => 2,
                };
                gauge.observe(state, &[KeyValue::new("vendor", vendor.vendor)]);
            }
        })
        .build();
    let read = Arc::clone(&vendors);
    meter
        .i64_observable_gauge("switchboard_retry_budget_balance")
        .with_description("Retries that the budget of a vendor would pay for now.")
        .with_callback(move |gauge| {
            for vendor in read.iter() {
                let labels = [KeyValue::new("vendor", vendor.vendor)];
                gauge.observe((vendor.budget)(), &labels);
            }
        })
        .build();
    let read = Arc::clone(&vendors);
    meter
        .f64_observable_gauge("switchboard_token_age")
        .with_unit("s")
        .with_description("Since the login of the token that an account holds.")
        .with_callback(move |gauge| {
            for vendor in read.iter() {
                for token in (vendor.tokens)() {
                    gauge.observe(token.age.as_secs_f64(), &vendor.labels(&token));
                }
            }
        })
        .build();
    meter
        .f64_observable_gauge("switchboard_token_expiry")
        .with_unit("s")
        .with_description("What is left of the life of the token that an account holds.")
        .with_callback(move |gauge| {
            for vendor in vendors.iter() {
                for token in (vendor.tokens)() {
                    if let Some(left) = token.left {
                        gauge.observe(left.as_secs_f64(), &vendor.labels(&token));
                    }
                }
            }
        })
        .build();
}
