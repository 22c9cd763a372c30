use opentelemetry::trace::Tracer as _;

use super::testing::Spans;
use super::*;

fn in_span<T>(work: impl FnOnce() -> T) -> T {
    global::tracer(NAME).in_span("call", |_| work())
}

#[test]
fn a_line_says_which_span_it_belongs_to() {
    let spans = Spans::capture();
    in_span(|| {
        // A library's span is no part of the line.
        tracing::info_span!("call", session = "not for the log").in_scope(|| {
            tracing::warn!(vendor = "genesys", wait_ms = 50, "sending again");
        });
    });

    let context = spans.only().span_context;
    let line = &spans.lines()[0];
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["target"], "switchboard::telemetry::tests");
    assert_eq!(line["message"], "sending again");
    assert_eq!(line["vendor"], "genesys");
    assert_eq!(line["wait_ms"], 50);
    assert_eq!(line["trace_id"], context.trace_id().to_string());
    assert_eq!(line["span_id"], context.span_id().to_string());
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    assert!(line.get("session").is_none());
}

#[test]
fn a_line_for_people_says_so_too() {
    for (terminal, before) in [(false, "vendor=\"genesys\""), (true, "\"genesys\"")] {
        let spans = Spans::capture();
        let lines = logs::layer(Format::Text, terminal, spans.writer());
        tracing::subscriber::with_default(subscriber(lines), || {
            in_span(|| tracing::warn!(vendor = "genesys", "sending again"));
            tracing::info!("listening");
        });

        let context = spans.only().span_context;
        let (trace, span) = (context.trace_id(), context.span_id());
        let text = spans.text();
        let lines: Vec<_> = text.lines().collect();
        let end = format!("{before} trace_id={trace} span_id={span}");
        assert!(lines[0].ends_with(&end), "{text}");
        assert!(lines[1].ends_with("listening"), "{text}");
        assert_eq!(lines.len(), 2, "{text}");
    }
}

#[test]
fn where_no_audit_log_is_wanted_there_is_none() {
    use tracing_subscriber::EnvFilter;
    for audit in [true, false] {
        let spans = Spans::capture();
        let lines = logs::layer(Format::Json, false, spans.writer());
        let lines = lines.with_filter(logs::events_of(EnvFilter::new("off"), audit));
        tracing::subscriber::with_default(subscriber(lines), || {
            tracing::info!(target: "switchboard::audit", "write");
        });
        assert_eq!(spans.lines().len(), usize::from(audit));
    }
}

#[test]
fn a_line_outside_of_spans_has_no_ids() {
    let spans = Spans::capture();
    tracing::info!("listening");
    let line = &spans.lines()[0];
    assert!(line.get("trace_id").is_none() && line.get("span_id").is_none());
}

#[test]
fn quiet_logs_do_not_cut_traces() {
    let spans = Spans::capture_at("error");
    in_span(|| tracing::info!("unheard"));
    assert_eq!(spans.ended().len(), 1);
    assert!(spans.lines().is_empty());
}

#[test]
fn no_level_hides_the_audit_log() {
    for level in ["off", "error", "info,switchboard::audit=off"] {
        let spans = Spans::capture_at(level);
        in_span(|| {
            tracing::info!(target: "switchboard::audit", caller = "a\nb", "write");
            tracing::debug!(target: "switchboard::audit", "too fine");
            tracing::info!(target: "switchboard::auditor", "another");
        });
        let lines = spans.lines();
        let audit: Vec<_> = lines
            .iter()
            .filter(|it| it["target"] == "switchboard::audit")
            .collect();
        assert_eq!(audit.len(), 1, "{level}: {lines:?}");
        assert_eq!(audit[0]["caller"], "a\nb");
        assert_eq!(
            audit[0]["trace_id"],
            spans.only().span_context.trace_id().to_string()
        );
    }
}

#[test]
fn spans_of_libraries_and_error_events_stay_out_of_traces() {
    let spans = Spans::capture();
    in_span(|| {
        tracing::info_span!(target: "hyper::client", "exchange")
            .in_scope(|| tracing::error!("broken"));
    });
    let span = spans.only();
    assert!(span.events.is_empty());
    assert_eq!(span.status, opentelemetry::trace::Status::Unset);
}

#[test]
fn every_kind_of_value_is_json() {
    let spans = Spans::capture();
    let strange = "a\"b\\c\n\u{1}\u{2028}ä";
    tracing::info!(
        text = strange,
        shown = %strange,
        debug = ?strange,
        none = None::<u64>,
        negative = -5_i64,
        most = u64::MAX,
        part = 1.5,
        endless = f64::INFINITY,
        yes = true,
        r#type = "keyword",
        "{strange}"
    );
    let line = &spans.lines()[0];
    for field in ["text", "shown", "message"] {
        assert_eq!(line[field], strange, "{field}");
    }
    assert_eq!(line["debug"], format!("{strange:?}"));
    assert_eq!(line["negative"], -5);
    assert_eq!(line["most"], u64::MAX);
    assert_eq!(line["part"], 1.5);
    assert_eq!(line["yes"], true);
    assert_eq!(line["type"], "keyword");
    assert!(line["endless"].is_null() && line.get("none").is_none());
}

#[test]
fn the_level_changes_at_run_time_and_takes_no_directives() {
    let (filter, level) = logs::changeable(logs::filter(None, "info").unwrap(), true);
    let lines = Spans::capture();
    let writer = lines.writer();
    let layer = logs::layer(Format::Json, false, writer).with_filter(filter);
    let _scope = tracing::subscriber::set_default(subscriber(layer));
    tracing::debug!("unheard");
    level.set("debug").unwrap();
    tracing::debug!("heard");
    for refused in ["", "DEBUG", "h2=trace", "info,tower=off", "verbose"] {
        assert_eq!(level.set(refused), Err(UnknownLevel), "{refused:?}");
    }
    assert!(level.get().contains("debug"), "{}", level.get());
    level.set("off").unwrap();
    tracing::error!("unheard");
    level.set("error").unwrap();
    level.set("info").unwrap();
    let told = lines.lines();
    // Of the line itself, and not what the level was set to.
    assert_eq!(told[0]["level"], "WARN");
    let told: Vec<_> = (told.iter())
        .map(|line| line["to"].as_str().or(line["message"].as_str()))
        .collect();
    // Silence is told before it begins; nobody hears of a change from one silence to another.
    assert_eq!(
        told,
        [Some("debug"), Some("heard"), Some("off"), Some("info")]
    );
}

#[test]
fn libraries_are_quiet_at_debug_unless_rust_log_asks() {
    let debug = logs::filter(None, "debug").unwrap().to_string();
    assert!(
        debug.contains("h2=info") && debug.contains("debug"),
        "{debug}"
    );
    assert_eq!(logs::filter(None, "warn").unwrap().to_string(), "warn");
    assert_eq!(logs::filter(Some(" "), "warn").unwrap().to_string(), "warn");
    assert_eq!(
        logs::filter(Some("h2=trace"), "warn").unwrap().to_string(),
        "h2=trace"
    );
    assert!(logs::filter(None, "a=b=c").is_err());
}

#[test]
fn the_first_init_wins_and_the_second_says_so() {
    let options = Options {
        level: "off".to_owned(),
        audit: true,
        format: Format::Auto,
    };
    let first = init(&options).unwrap();
    assert!(matches!(init(&options), Err(Error::AlreadySetUp)));

    client::ClientMetrics::new(&global::meter(NAME)).record_retry("aicc", "throttled");
    assert!(first.metrics().text().contains("switchboard_retries_total"));
    first.shutdown();
}

#[test]
fn the_service_has_a_name_and_a_version() {
    let resource = resource();
    let value = |key: &'static str| resource.get(&key.into()).unwrap().to_string();
    assert_eq!(value("service.name"), "switchboard");
    assert_eq!(value("service.version"), env!("CARGO_PKG_VERSION"));
}

/// Processes that are told apart by nothing would be one to a collector, with counters that jump.
#[test]
fn each_process_has_an_id_and_all_its_signals_the_same() {
    let id = || resource().get(&"service.instance.id".into()).unwrap();
    assert_eq!(id(), id());
    assert_eq!(id().as_str().len(), 36, "{}", id());
}

#[test]
fn what_the_environment_says_of_us_stands() {
    let said = |key| {
        let found = Resource::builder_empty().with_attribute(KeyValue::new(key, "pod-1"));
        let ours = ours_beside(&found.build());
        ours.into_iter()
            .map(|it| it.key.to_string())
            .collect::<Vec<_>>()
    };
    let all = ["service.name", "service.version", "service.instance.id"];
    assert_eq!(said("k8s.pod.name"), all);
    for key in all {
        assert!(!said(key).contains(&key.to_owned()), "{key}");
    }
}

#[test]
fn what_is_encoded_in_the_variable_is_told_as_it_was_meant() {
    let found = Resource::builder_empty().with_attributes([
        KeyValue::new("team", "sms%2Cchat%3D1"),
        KeyValue::new("k8s.pod.name", "pod-1"),
        // Neither is an encoding.
        KeyValue::new("share", "100%"),
        KeyValue::new("bytes", "%ff"),
    ]);
    let decoded = decoded(&found.build());
    assert_eq!(decoded, [KeyValue::new("team", "sms,chat=1")]);
}
