//! What is measured on the way to the vendors.

use std::sync::Arc;
use std::time::Duration;

pub use super::propagation::inject;

use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::{KeyValue, StringValue};

/// The instruments of the vendor side. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    requests: Histogram<f64>,
    attempts: Counter<u64>,
    retries: Counter<u64>,
    retry_refusals: Counter<u64>,
    refreshes: Counter<u64>,
    queue_refusals: Counter<u64>,
    tls_failures: Counter<u64>,
}

/// One HTTP request as it was sent, and how it ended.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub method: &'static str,
    pub address: &'a Arc<str>,
    pub port: u16,
    /// The path before its parameters are filled in, so that the series stay few.
    pub template: StringValue,
    /// None when no answer came.
    pub status: Option<u16>,
    /// The kind of failure, where it failed: a short fixed word.
    pub error: Option<&'static str>,
    pub duration: Duration,
}

impl ClientMetrics {
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let counter = |name, description| {
            meter
                .u64_counter(name)
                .with_description(description)
                .build()
        };
        Self {
            requests: super::metrics::duration(
                meter,
                "http.client.request.duration",
                "Duration of HTTP requests to vendors.",
            ),
            // The exporter adds `_total`.
            attempts: counter(
                "switchboard_vendor_attempts",
                "Requests sent to a vendor for an operation, by how they ended.",
            ),
            retries: counter(
                "switchboard_retries",
                "Requests sent again, by why the one before had failed.",
            ),
            retry_refusals: counter(
                "switchboard_retry_refusals",
                "Requests not sent again because a vendor's retry budget was spent.",
            ),
            refreshes: counter(
                "switchboard_token_refreshes",
                "Logins at a vendor, by how they ended.",
            ),
            queue_refusals: counter(
                "switchboard_queue_refusals",
                "Attempts refused because a vendor's queue was full.",
            ),
            tls_failures: counter(
                "switchboard_vendor_tls_reload_failures",
                "Times that the TLS files of a vendor could not be used.",
            ),
        }
    }

    pub fn record_request(&self, request: &Request<'_>) {
        let mut attributes = Vec::with_capacity(6);
        attributes.extend([
            KeyValue::new("http.request.method", request.method),
            KeyValue::new("server.address", Arc::clone(request.address)),
            KeyValue::new("server.port", i64::from(request.port)),
            KeyValue::new("url.template", request.template.clone()),
        ]);
        if let Some(status) = request.status {
            attributes.push(KeyValue::new(
                "http.response.status_code",
                i64::from(status),
            ));
        }
        if let Some(error) = request.error {
            attributes.push(KeyValue::new("error.type", error));
        }
        self.requests
            .record(request.duration.as_secs_f64(), &attributes);
    }

    pub fn record_attempt(
        &self,
        vendor: &'static str,
        operation: &'static str,
        outcome: &'static str,
    ) {
        self.attempts.add(
            1,
            &[
                KeyValue::new("vendor", vendor),
                KeyValue::new("operation", operation),
                KeyValue::new("outcome", outcome),
            ],
        );
    }

    pub fn record_retry_refusals(&self, vendor: &'static str, more: u64) {
        self.retry_refusals
            .add(more, &[KeyValue::new("vendor", vendor)]);
    }

    pub fn record_queue_refusals(&self, vendor: &'static str, more: u64) {
        self.queue_refusals
            .add(more, &[KeyValue::new("vendor", vendor)]);
    }

    pub fn record_tls_failures(&self, vendor: &'static str, more: u64) {
        self.tls_failures
            .add(more, &[KeyValue::new("vendor", vendor)]);
    }

    pub fn record_retry(&self, vendor: &'static str, reason: &'static str) {
        self.retries.add(
            1,
            &[
                KeyValue::new("vendor", vendor),
                KeyValue::new("reason", reason),
            ],
        );
    }

    pub fn record_refreshes(
        &self,
        vendor: &'static str,
        account: &str,
        result: &'static str,
        more: u64,
    ) {
        self.refreshes.add(
            more,
            &[
                KeyValue::new("vendor", vendor),
                KeyValue::new("account", account.to_owned()),
                KeyValue::new("result", result),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use opentelemetry::propagation::TextMapPropagator as _;
    use opentelemetry::trace::Tracer as _;
    use opentelemetry_sdk::propagation::TraceContextPropagator;

    use crate::telemetry::{Metrics, testing};

    #[test]
    fn prometheus_spells_the_names_as_promised() {
        let metrics = Metrics::new().unwrap();
        let client = ClientMetrics::new(&metrics.meter());
        client.record_attempt("genesys", "AttachUserData", "ok");
        client.record_attempt("genesys", "AttachUserData", "ok");
        client.record_retry("aicc", "throttled");
        client.record_refreshes("aicc", "default", "ok", 1);
        client.record_request(&Request {
            method: "PUT",
            address: &"gws.example.com".into(),
            port: 443,
            template: "/api/v2/me/{id}".into(),
            status: Some(503),
            error: Some("unavailable"),
            duration: Duration::from_millis(60),
        });

        let text = metrics.text();
        let labels = r#"{error_type="unavailable",http_request_method="PUT",http_response_status_code="503",server_address="gws.example.com",server_port="443",url_template="/api/v2/me/{id}""#;
        for line in [
            r#"switchboard_vendor_attempts_total{operation="AttachUserData",outcome="ok",vendor="genesys"} 2"#,
            r#"switchboard_retries_total{reason="throttled",vendor="aicc"} 1"#,
            r#"switchboard_token_refreshes_total{account="default",result="ok",vendor="aicc"} 1"#,
            &format!(r#"http_client_request_duration_seconds_bucket{labels},le="0.05"}} 0"#),
            &format!(r#"http_client_request_duration_seconds_bucket{labels},le="0.075"}} 1"#),
            &format!("http_client_request_duration_seconds_sum{labels}}} 0.06"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("target_info") && !text.contains("otel_scope"));
    }

    #[test]
    fn the_span_goes_out_as_traceparent_as_the_library_writes_it() {
        let spans = testing::Spans::capture();
        let tracer = opentelemetry::global::tracer("test");
        let mut headers = http::HeaderMap::new();
        let mut library = HashMap::new();
        tracer.in_span("attempt", |context| {
            inject(&context, &mut headers);
            TraceContextPropagator::new().inject_context(&context, &mut library);
        });

        let span = spans.only();
        let expected = format!(
            "00-{}-{}-01",
            span.span_context.trace_id(),
            span.span_context.span_id()
        );
        assert_eq!(headers["traceparent"], expected.as_str());
        assert_eq!(library["traceparent"], expected);
        assert!(!headers.contains_key("tracestate"));
    }

    #[test]
    fn the_caller_s_tracestate_goes_out_and_baggage_does_not() {
        let mut incoming = http::HeaderMap::new();
        for (name, value) in [
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            ),
            ("tracestate", "vendor=opaque"),
            ("baggage", "user=secret"),
        ] {
            incoming.insert(name, value.parse().unwrap());
        }
        let context = super::super::propagation::parent(&incoming).unwrap();
        let mut outgoing = http::HeaderMap::new();
        inject(&context, &mut outgoing);
        assert_eq!(outgoing["traceparent"], incoming["traceparent"]);
        assert_eq!(outgoing["tracestate"], "vendor=opaque");
        assert_eq!(outgoing.len(), 2);
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// What goes on of a caller's headers.
    fn passed_on(incoming: &[(&'static str, &str)]) -> Option<http::HeaderMap> {
        let mut headers = http::HeaderMap::new();
        for (name, value) in incoming {
            headers.append(*name, value.parse().unwrap());
        }
        let context = super::super::propagation::parent(&headers)?;
        let mut outgoing = http::HeaderMap::new();
        inject(&context, &mut outgoing);
        Some(outgoing)
    }

    #[test]
    fn a_tracestate_in_several_headers_is_one() {
        let parts = [
            ("traceparent", PARENT),
            ("tracestate", "a=1,b=2"),
            ("tracestate", "c=3"),
        ];
        assert_eq!(passed_on(&parts).unwrap()["tracestate"], "a=1,b=2,c=3");
    }

    #[test]
    fn a_tracestate_of_more_members_than_it_may_have_is_left_out() {
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|number| format!("k{number}=v")).collect();
            members.join(",")
        };
        for (count, kept) in [(32, true), (33, false)] {
            let state = members(count);
            let sent = passed_on(&[("traceparent", PARENT), ("tracestate", &state)]).unwrap();
            assert_eq!(sent.get("traceparent").unwrap(), PARENT);
            assert_eq!(sent.contains_key("tracestate"), kept, "{count}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let other = "00-11111111111111111111111111111111-b7ad6b7169203331-01";
        assert_eq!(
            passed_on(&[("traceparent", PARENT), ("traceparent", other)]),
            None
        );
    }

    #[test]
    fn without_a_span_nothing_is_written() {
        let mut headers = http::HeaderMap::new();
        inject(&opentelemetry::Context::new(), &mut headers);
        assert!(headers.is_empty());
    }
}
