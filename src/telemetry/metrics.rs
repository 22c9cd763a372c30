//! The meter provider and its face towards Prometheus.

use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};

use super::export::Pushed;

/// Bucket limits of every duration, in seconds, as the semantic conventions advise.
pub const DURATION_BOUNDARIES: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// A meter provider with the registry that its measurements are read from.
/// Cheap to clone; every clone is the same one.
#[derive(Clone, Debug)]
pub struct Metrics {
    provider: SdkMeterProvider,
    registry: Registry,
}

impl Metrics {
    pub fn new() -> Result<Self, OTelSdkError> {
        Self::with(None)
    }

    /// Read by somebody else as well.
    pub(super) fn with(pushed: Option<Pushed>) -> Result<Self, OTelSdkError> {
        let registry = Registry::new();
        // Scope labels and target_info would only repeat what the scrape knows.
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()?;
        let mut provider = SdkMeterProvider::builder()
            .with_resource(super::resource())
            .with_reader(exporter);
        if let Some(reader) = pushed {
            provider = provider.with_reader(reader);
        }
        let provider = provider.build();
        Ok(Self { provider, registry })
    }

    #[must_use]
    pub fn meter(&self) -> Meter {
        self.provider.meter(super::NAME)
    }

    /// All measurements in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the metrics could not be written out");
                String::new()
            })
    }

    pub(super) fn provider(&self) -> SdkMeterProvider {
        self.provider.clone()
    }

    pub(super) fn shutdown(&self) -> OTelSdkResult {
        self.provider.shutdown()
    }
}

pub(super) fn duration(
    meter: &Meter,
    name: &'static str,
    description: &'static str,
) -> Histogram<f64> {
    meter
        .f64_histogram(name)
        .with_unit("s")
        .with_description(description)
        .with_boundaries(DURATION_BOUNDARIES.to_vec())
        .build()
}
