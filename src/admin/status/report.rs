//! What `/status.json` says, in the order in which it says it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::admin::AdminState;
use crate::lifecycle::Phase;
use crate::telemetry::Reading;
use crate::telemetry::recent::{self, BUCKET, Counts, FailedCall, REMEMBERED, Told, VendorReport};

/// The figures at the top of a vendor are of so many buckets, the one under way included.
const LATELY: usize = 4;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    now_ms: u64,
    uptime_s: f64,
    phase: &'static str,
    gateway: Gateway,
    vendors: Vec<Vendor>,
    failed_calls_kept: usize,
    failed_calls: Vec<Failed>,
}

/// None is what was not measured yet.
#[derive(Debug, Serialize)]
struct Gateway {
    in_flight: Option<f64>,
    shed_total: Option<f64>,
    connections: Option<f64>,
    connections_refused_total: Option<f64>,
    watch_streams: Option<f64>,
    notification_sessions: Sessions,
    notification_gaps_total: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Sessions {
    connecting: Option<f64>,
    subscribed: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Vendor {
    name: &'static str,
    breaker: Breaker,
    retry_budget_balance: Option<f64>,
    lately: Lately,
    bucket_s: u64,
    buckets: Vec<Bucket>,
    accounts: Vec<Account>,
}

#[derive(Debug, Serialize)]
struct Breaker {
    state: &'static str,
    since_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Lately {
    span_s: f64,
    requests_per_minute: f64,
    #[serde(flatten)]
    bucket: Bucket,
}

#[derive(Debug, Serialize)]
struct Bucket {
    ok: u32,
    refused: u32,
    failed: u32,
    success: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Account {
    name: String,
    last_login: Option<Login>,
    token_age_s: Option<f64>,
    token_expires_in_s: Option<f64>,
    last_failure: Option<Login>,
}

#[derive(Debug, Serialize)]
struct Login {
    result: &'static str,
    ago_s: f64,
}

#[derive(Debug, Serialize)]
struct Failed {
    at_ms: u64,
    method: String,
    code: &'static str,
    reason: Option<String>,
    vendor: Option<String>,
    vendor_status: Option<u16>,
    vendor_code: Option<String>,
    duration_ms: f64,
    attempts: Option<u64>,
    request_id: Option<String>,
    trace_id: Option<String>,
}

impl Report {
    pub(super) fn new(state: &AdminState) -> Self {
        let reading = state.metrics.read();
        let uptime = state.recent.elapsed();
        let vendors = state.recent.vendors().into_iter();
        let failed = state.recent.failed_calls().into_iter();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            now_ms: millis(SystemTime::now()),
            uptime_s: seconds(uptime),
            phase: match state.readiness.phase() {
                Phase::Starting => "starting",
                Phase::Ready => "ready",
                Phase::Draining => "draining",
            },
            gateway: Gateway::new(&reading),
            vendors: vendors
                .map(|vendor| Vendor::new(vendor, &reading, uptime))
                .collect(),
            failed_calls_kept: REMEMBERED,
            failed_calls: failed.map(Failed::from).collect(),
        }
    }
}

impl Gateway {
    fn new(reading: &Reading) -> Self {
        let value = |name| reading.value(name, &[]);
        let sessions =
            |state| reading.value("switchboard_notification_sessions", &[("state", state)]);
        Gateway {
            in_flight: value("switchboard_in_flight"),
            shed_total: value("switchboard_shed_total"),
            connections: value("switchboard_connections"),
            connections_refused_total: value("switchboard_connections_refused_total"),
            watch_streams: value("switchboard_watch_streams"),
            notification_sessions: Sessions {
                connecting: sessions("connecting"),
                subscribed: sessions("subscribed"),
            },
            notification_gaps_total: value("switchboard_notification_gaps_total"),
        }
    }
}

impl Vendor {
    fn new(vendor: VendorReport, reading: &Reading, now: Duration) -> Self {
        let label = [("vendor", vendor.name)];
        let accounts = vendor.accounts.into_iter();
        let account = |account| Account::new(account, vendor.name, reading, now);
        Vendor {
            name: vendor.name,
            breaker: Breaker {
                state: vendor.breaker.map_or("off", |told| told.word),
                since_s: vendor.breaker.map(|told| ago(now, told.at)),
            },
            retry_budget_balance: reading.value("switchboard_retry_budget_balance", &label),
            lately: Lately::new(&vendor.buckets, now),
            bucket_s: BUCKET.as_secs(),
            accounts: accounts.map(account).collect(),
            buckets: vendor.buckets.iter().map(Bucket::new).collect(),
        }
    }
}

impl Lately {
    fn new(buckets: &[Counts], now: Duration) -> Self {
        let counts = recent::sum(&buckets[buckets.len() - LATELY..]);
        let under_way = now.as_secs_f64() % BUCKET.as_secs_f64();
        let full = BUCKET.as_secs_f64() * (LATELY - 1) as f64;
        // Right after the start there is less to look back on; never divided by next to nothing.
        let span = (full + under_way).min(now.as_secs_f64()).max(1.0);
        Lately {
            span_s: rounded(span),
            requests_per_minute: rounded(counts.attempts() as f64 * 60.0 / span),
            bucket: Bucket::new(&counts),
        }
    }
}

impl Bucket {
    fn new(counts: &Counts) -> Self {
        Bucket {
            ok: counts.ok,
            refused: counts.refused,
            failed: counts.failed,
            success: counts.success(),
            p50_ms: counts.quantile_ms(0.5).map(rounded),
            p99_ms: counts.quantile_ms(0.99).map(rounded),
        }
    }
}

impl Account {
    fn new(account: recent::Account, vendor: &str, reading: &Reading, now: Duration) -> Self {
        let labels = [("vendor", vendor), ("account", account.name.as_str())];
        let login = |told: Told| Login {
            result: told.word,
            ago_s: ago(now, told.at),
        };
        Account {
            token_expires_in_s: reading.value("switchboard_token_expiry_seconds", &labels),
            last_login: account.last.map(login),
            token_age_s: account.granted.map(|at| ago(now, at)),
            last_failure: account.failure.map(login),
            name: account.name,
        }
    }
}

impl From<FailedCall> for Failed {
    fn from(call: FailedCall) -> Self {
        Failed {
            at_ms: millis(call.at),
            method: call.method.to_string(),
            code: call.code,
            reason: call.details.reason,
            vendor: call.details.vendor,
            vendor_status: call.details.vendor_status,
            vendor_code: call.details.vendor_code,
            duration_ms: rounded(call.took.as_secs_f64() * 1e3),
            attempts: call.attempts,
            request_id: call.request_id,
            trace_id: call.trace_id,
        }
    }
}

fn ago(now: Duration, then: Duration) -> f64 {
    seconds(now.saturating_sub(then))
}

fn seconds(time: Duration) -> f64 {
    rounded(time.as_secs_f64())
}

/// To a tenth: nobody reads more.
fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Readiness;
    use crate::telemetry::Metrics;
    use crate::telemetry::recent::{Details, Outcome, Recent};
    use opentelemetry::KeyValue;
    use serde_json::{Value, json};

    fn state() -> AdminState {
        AdminState {
            readiness: Readiness::default(),
            metrics: Metrics::new().unwrap(),
            recent: Recent::new([("aicc", ["default".to_owned()])]),
        }
    }

    fn report(state: &AdminState) -> Value {
        serde_json::to_value(Report::new(state)).unwrap()
    }

    #[test]
    fn what_was_not_measured_is_null_and_not_zero() {
        let report = report(&state());
        assert_eq!(report["phase"], "starting");
        assert_eq!(report["gateway"]["in_flight"], Value::Null);
        let vendor = &report["vendors"][0];
        assert_eq!(vendor["breaker"], json!({"state": "off", "since_s": null}));
        assert_eq!(vendor["lately"]["success"], Value::Null);
        assert_eq!(vendor["accounts"][0]["token_age_s"], Value::Null);
        assert_eq!(vendor["buckets"].as_array().unwrap().len(), recent::BUCKETS);
        assert_eq!(report["failed_calls"], json!([]));
    }

    #[tokio::test(start_paused = true)]
    async fn figures_come_from_the_metrics_and_from_what_happened_lately() {
        let state = state();
        let meter = state.metrics.meter();
        let vendor = KeyValue::new("vendor", "aicc");
        let account = KeyValue::new("account", "default");
        meter
            .f64_gauge("switchboard_token_expiry_seconds")
            .build()
            .record(540.0, &[vendor.clone(), account]);
        meter
            .f64_gauge("switchboard_retry_budget_balance")
            .build()
            .record(90.0, &[vendor]);
        meter.u64_counter("switchboard_shed").build().add(2, &[]);
        let subscribed = [KeyValue::new("state", "subscribed")];
        meter
            .i64_up_down_counter("switchboard_notification_sessions")
            .build()
            .add(1, &subscribed);
        let recent = &state.recent;
        recent.login("aicc", "default", "unavailable");
        recent.login("aicc", "default", "ok");
        recent.breaker("aicc", "open");
        tokio::time::advance(Duration::from_secs(30)).await;
        for outcome in [Outcome::Ok, Outcome::Ok, Outcome::Failed] {
            recent.attempt("aicc", outcome, Duration::from_millis(100));
        }

        let report = report(&state);
        assert_eq!(report["uptime_s"], 30.0);
        assert_eq!(report["gateway"]["shed_total"], 2.0);
        assert_eq!(
            report["gateway"]["notification_sessions"],
            json!({"connecting": null, "subscribed": 1.0})
        );
        let vendor = &report["vendors"][0];
        assert_eq!(vendor["breaker"], json!({"state": "open", "since_s": 30.0}));
        assert_eq!(vendor["retry_budget_balance"], 90.0);
        assert_eq!(vendor["lately"]["requests_per_minute"], 6.0);
        assert_eq!(vendor["lately"]["failed"], 1);
        assert_eq!(
            vendor["accounts"][0],
            json!({
                "name": "default",
                "last_login": {"result": "ok", "ago_s": 30.0},
                "token_age_s": 30.0,
                "token_expires_in_s": 540.0,
                "last_failure": {"result": "unavailable", "ago_s": 30.0},
            })
        );
    }

    #[test]
    fn a_callers_text_stays_the_text_that_it_is() {
        let state = state();
        state.recent.failed(FailedCall {
            at: UNIX_EPOCH + Duration::from_millis(1_500),
            method: "a.B/C".into(),
            code: "INTERNAL",
            took: Duration::from_micros(1_260),
            details: Details::default(),
            request_id: Some("</script><img src=x onerror=alert(1)>\"".to_owned()),
            attempts: Some(1),
            trace_id: None,
        });
        let call = &report(&state)["failed_calls"][0];
        assert_eq!(
            (&call["at_ms"], &call["duration_ms"]),
            (&json!(1500), &json!(1.3))
        );
        assert_eq!(
            call["request_id"],
            "</script><img src=x onerror=alert(1)>\""
        );
    }
}
