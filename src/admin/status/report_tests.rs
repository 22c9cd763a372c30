use std::collections::BTreeSet;

use super::*;
use crate::lifecycle::Readiness;
use crate::telemetry::Metrics;
use crate::telemetry::recent::{BUCKETS, Details, Outcome, Recent};
use opentelemetry::KeyValue;
use serde_json::{Value, json};

fn state() -> AdminState {
    AdminState {
        readiness: Readiness::default(),
        metrics: Metrics::new().unwrap(),
        recent: Recent::new([("aicc", ["default".to_owned()])]),
        log_level: None,
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
    assert_eq!(vendor["breaker"], Value::Null);
    assert_eq!(vendor["lately"]["success"], Value::Null);
    assert_eq!(vendor["accounts"][0]["token_age_s"], Value::Null);
    assert_eq!(vendor["buckets"].as_array().unwrap().len(), BUCKETS);
    assert_eq!(report["failed_calls"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn figures_come_from_the_metrics_and_from_what_happened_lately() {
    let state = state();
    let meter = state.metrics.meter();
    let vendor = [KeyValue::new("vendor", "aicc")];
    let account = [vendor[0].clone(), KeyValue::new("account", "default")];
    meter
        .f64_gauge("switchboard_token_expiry_seconds")
        .build()
        .record(540.0, &account);
    meter
        .f64_gauge("switchboard_token_age_seconds")
        .build()
        .record(30.0, &account);
    meter
        .f64_gauge("switchboard_retry_budget_balance")
        .build()
        .record(90.0, &vendor);
    meter
        .u64_gauge("switchboard_breaker_state")
        .build()
        .record(2, &vendor);
    meter.u64_counter("switchboard_shed").build().add(2, &[]);
    let subscribed = [KeyValue::new("state", "subscribed")];
    meter
        .i64_up_down_counter("switchboard_notification_sessions")
        .build()
        .add(1, &subscribed);
    let recent = &state.recent;
    recent.login("aicc", "default", "unavailable");
    recent.login("aicc", "default", "ok");
    recent.breaker("aicc", false);
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

fn failed_call() -> FailedCall {
    FailedCall {
        at: UNIX_EPOCH + Duration::from_millis(1_500),
        method: "a.B/C".into(),
        code: "INTERNAL",
        took: Duration::from_micros(1_260),
        details: Details::default(),
        request_id: Some("</script><img src=x onerror=alert(1)>\"".to_owned()),
        attempts: Some(1),
        trace_id: None,
    }
}

#[test]
fn a_callers_text_stays_the_text_that_it_is() {
    let state = state();
    state.recent.failed(failed_call());
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

/// Every name of the JSON, at whatever depth.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.keys().cloned());
            fields.values().for_each(|value| names(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented_and_nothing_else() {
    let state = state();
    state.recent.login("aicc", "default", "ok");
    state.recent.login("aicc", "default", "refused");
    let meter = state.metrics.meter();
    let gauge = meter.u64_gauge("switchboard_breaker_state").build();
    gauge.record(0, &[KeyValue::new("vendor", "aicc")]);
    state.recent.breaker("aicc", true);
    state.recent.failed(failed_call());
    let mut found = BTreeSet::new();
    names(&report(&state), &mut found);
    assert!(found.len() > 40, "{found:?}");
    let document = include_str!("../../../docs/STATUS.md");
    let words: Vec<_> = document
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    let missing: Vec<_> = (found.iter())
        .filter(|name| !words.contains(&name.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    // What the first columns of its tables name.
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let named = rows.flat_map(|row| row.split(" | ").next().unwrap().split('`').step_by(2));
    let named = named.flat_map(|name| name.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let gone: Vec<_> = named
        .filter(|name| !name.is_empty() && !found.contains(*name))
        .collect();
    assert!(gone.is_empty(), "{gone:?}");
}
