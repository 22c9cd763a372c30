//! The meter provider and its face towards Prometheus.

use std::collections::HashMap;

use opentelemetry::metrics::{Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use super::export::Pushed;

/// Bucket limits of every duration, in seconds, as the semantic conventions advise.
pub const DURATION_BOUNDARIES: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// What has a series for each account, of which an operator may have thousands. The library adds up
/// the series of a metric beyond its own bound, which is for labels that anybody can make up, and
/// then nobody can tell any more whose login fails.
const BY_ACCOUNT: [&str; 4] = [
    "switchboard_token_refreshes",
    "switchboard_token_age",
    "switchboard_token_expiry",
    "switchboard_notification_failures",
];

/// Eight thousand accounts, with each result that a login may have. Bounded, as the library makes
/// its table as large as that.
const MOST_BY_ACCOUNT: usize = 64 * 1024;

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

    /// Read by nobody, so that nothing is measured: what the rest costs alone.
    #[cfg(feature = "benchmarks")]
    #[must_use]
    pub fn unread() -> Self {
        Self {
            provider: SdkMeterProvider::builder().build(),
            registry: Registry::new(),
        }
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
            .with_view(by_account)
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

    /// All measurements as they are now, to pick some out of.
    #[must_use]
    pub fn read(&self) -> Reading {
        Reading(self.registry.gather())
    }

    pub(super) fn provider(&self) -> SdkMeterProvider {
        self.provider.clone()
    }

    pub(super) fn shutdown(&self) -> OTelSdkResult {
        self.provider.shutdown()
    }
}

fn by_account(instrument: &Instrument) -> Option<Stream> {
    if !BY_ACCOUNT.contains(&instrument.name()) {
        return None;
    }
    let stream = Stream::builder().with_cardinality_limit(MOST_BY_ACCOUNT);
    stream.build().ok()
}

/// Counters and gauges at one moment, by the names and labels of `/metrics`.
#[derive(Debug)]
pub struct Reading(Vec<MetricFamily>);

impl Reading {
    /// The series with exactly these labels; none while nothing was measured.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let family = self.family(name)?;
        let series = family.get_metric().iter();
        let mut series = series.filter(|it| it.get_label().len() == labels.len());
        let metric = series.find(|it| has(it, labels))?;
        number(family.get_field_type(), metric)
    }

    /// The series with exactly these labels and one more, `by`, under what that says: thousands of
    /// accounts at one look, not one look for each.
    #[must_use]
    pub fn values_by(&self, by: &str, name: &str, labels: &[(&str, &str)]) -> HashMap<&str, f64> {
        let Some(family) = self.family(name) else {
            return HashMap::new();
        };
        let series = family.get_metric().iter();
        let series = series
            .filter(|it| it.get_label().len() == labels.len() + 1 && has(it, labels))
            .filter_map(|it| {
                let label = it.get_label().iter().find(|label| label.name() == by)?;
                Some((label.value(), number(family.get_field_type(), it)?))
            });
        series.collect()
    }

    fn family(&self, name: &str) -> Option<&MetricFamily> {
        self.0.iter().find(|family| family.name() == name)
    }
}

fn has(metric: &Metric, labels: &[(&str, &str)]) -> bool {
    labels.iter().all(|(name, value)| {
        let mut found = metric.get_label().iter();
        found.any(|it| it.name() == *name && it.value() == *value)
    })
}

fn number(kind: MetricType, metric: &Metric) -> Option<f64> {
    match kind {
        MetricType::COUNTER => Some(metric.get_counter().get_value()),
        MetricType::GAUGE => Some(metric.get_gauge().get_value()),
        MetricType::HISTOGRAM | MetricType::SUMMARY | MetricType::UNTYPED => None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::KeyValue;

    #[test]
    fn accounts_by_the_thousand_have_their_series() {
        let metrics = Metrics::new().unwrap();
        for name in BY_ACCOUNT {
            let counter = metrics.meter().u64_counter(name).build();
            for account in 0..2_500 {
                counter.add(1, &[KeyValue::new("account", account)]);
            }
            let last = [("account", "2499")];
            let read = metrics.read().value(&format!("{name}_total"), &last);
            assert_eq!(read, Some(1.0), "{name}");
        }
    }

    #[test]
    fn a_reading_has_what_metrics_show() {
        let metrics = Metrics::new().unwrap();
        let meter = metrics.meter();
        meter.u64_counter("shed").build().add(3, &[]);
        let gauge = meter.f64_gauge("balance").build();
        gauge.record(1.5, &[KeyValue::new("vendor", "aicc")]);
        duration(&meter, "took", "").record(1.0, &[]);

        let reading = metrics.read();
        assert_eq!(reading.value("shed_total", &[]), Some(3.0));
        assert_eq!(reading.value("balance", &[("vendor", "aicc")]), Some(1.5));
        assert_eq!(reading.value("balance", &[("vendor", "genesys")]), None);
        assert_eq!(reading.value("balance", &[]), None);
        assert_eq!(reading.value("took_seconds", &[]), None);
        assert_eq!(reading.value("nothing", &[]), None);

        for (vendor, account, age) in [
            ("aicc", "a", 1.0),
            ("aicc", "b", 2.0),
            ("genesys", "a", 3.0),
        ] {
            let account = KeyValue::new("account", account);
            gauge.record(age, &[KeyValue::new("vendor", vendor), account]);
        }
        let reading = metrics.read();
        let ages = |labels| reading.values_by("account", "balance", labels);
        assert_eq!(ages(&[("vendor", "aicc")]), [("a", 1.0), ("b", 2.0)].into());
        assert_eq!(ages(&[("vendor", "genesys")]), [("a", 3.0)].into());
        assert!(ages(&[("vendor", "other")]).is_empty() && ages(&[]).is_empty());
        assert!(reading.values_by("account", "nothing", &[]).is_empty());
    }
}
