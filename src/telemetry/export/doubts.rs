//! What of the standard variables is not understood. The specification has such values ignored, with
//! a word about it; the SDK's own words are left out of the build.

use super::plan::{self, Plan, Signal};
use super::wire::Way;

/// By convention.
const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;

/// What a variable may say.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// Some of these, with commas between.
    Words(&'static [&'static str]),
    /// One of these, as it stands: the SDK takes no capitals.
    Word(&'static [&'static str]),
    Number,
    Share,
}

use Known::{Number, Share, Word, Words};

/// `OTEL_EXPORTER_OTLP_*`, of all signals and of each.
const OF_SIGNALS: [(&str, Known); 3] = [
    ("PROTOCOL", Words(&["grpc", "http/protobuf"])),
    ("COMPRESSION", Words(&["gzip", "none"])),
    ("TIMEOUT", Number),
];

/// `OTEL_*`.
const OTHERS: [(&str, Known); 15] = [
    ("TRACES_EXPORTER", Words(&["otlp", "none"])),
    // Who wants it for Prometheus has it, at `/metrics`.
    ("METRICS_EXPORTER", Words(&["otlp", "prometheus", "none"])),
    ("LOGS_EXPORTER", Words(&["otlp", "none"])),
    ("PROPAGATORS", Words(&["tracecontext", "baggage"])),
    (
        "TRACES_SAMPLER",
        Word(&[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ]),
    ),
    ("TRACES_SAMPLER_ARG", Share),
    ("BSP_SCHEDULE_DELAY", Number),
    ("BSP_MAX_QUEUE_SIZE", Number),
    ("BSP_MAX_EXPORT_BATCH_SIZE", Number),
    ("BLRP_SCHEDULE_DELAY", Number),
    ("BLRP_MAX_QUEUE_SIZE", Number),
    ("BLRP_MAX_EXPORT_BATCH_SIZE", Number),
    ("METRIC_EXPORT_INTERVAL", Number),
    (
        "EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        Words(&["cumulative", "delta", "lowmemory"]),
    ),
    ("SDK_DISABLED", Words(&["true", "false"])),
];

impl Known {
    fn has(self, value: &str) -> bool {
        match self {
            Words(words) => value.split(',').all(|word| {
                let word = word.trim();
                words.iter().any(|known| known.eq_ignore_ascii_case(word))
            }),
            Word(words) => words.contains(&value),
            Number => value.parse::<u64>().is_ok(),
            Share => value.parse().is_ok_and(|it: f64| (0.0..=1.0).contains(&it)),
        }
    }

    fn told(self) -> String {
        match self {
            Words(words) | Word(words) => words.join(", "),
            Number => "a whole number".to_owned(),
            Share => "a number from 0 to 1".to_owned(),
        }
    }
}

/// Says what is not understood, a line for each.
pub(in crate::telemetry) fn tell() {
    let variable = |name: &str| std::env::var(name).ok();
    for (variable, value, known) in unknown(variable) {
        let known = known.told();
        tracing::warn!(
            variable,
            value,
            known,
            "an OTEL_* variable is not understood"
        );
    }
    for (signal, port, protocol) in crossed(variable) {
        let signal = signal.name();
        tracing::warn!(
            signal,
            port,
            protocol,
            "the collector's port is usual for another protocol"
        );
    }
}

/// The variables whose values are not known, with these and with those that are.
fn unknown(variable: impl Fn(&str) -> Option<String>) -> Vec<(String, String, Known)> {
    let of_signals = OF_SIGNALS.iter().flat_map(|(name, known)| {
        let signals = ["", "TRACES_", "METRICS_", "LOGS_"];
        signals.map(|signal| (format!("OTEL_EXPORTER_OTLP_{signal}{name}"), *known))
    });
    let others = OTHERS
        .iter()
        .map(|(name, known)| (format!("OTEL_{name}"), *known));
    of_signals
        .chain(others)
        .filter_map(|(name, known)| {
            let value = plan::set(&variable, &name)?;
            (!known.has(&value)).then_some((name, value, known))
        })
        .collect()
}

/// The signals that go to a port where another protocol than theirs is usual, which is the default
/// where nothing names one.
fn crossed(variable: impl Fn(&str) -> Option<String>) -> Vec<(Signal, u16, &'static str)> {
    let plan = Plan::read(&variable);
    let exported = Signal::ALL.into_iter().filter(|signal| plan.has(*signal));
    exported
        .filter_map(|signal| {
            let way = Way::read(signal, &variable);
            match (way.grpc, way.port?) {
                (false, GRPC_PORT) => Some((signal, GRPC_PORT, "http/protobuf")),
                (true, HTTP_PORT) => Some((signal, HTTP_PORT, "grpc")),
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let value = |name: &str| variables.iter().find(|(key, _)| *key == name);
        move |name| value(name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn what_is_not_known_is_told_and_what_is_known_is_not() {
        let wrong = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grcp"),
            ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_TRACES_EXPORTER", "otlp,jaeger"),
            ("OTEL_LOGS_EXPORTER", "prometheus"),
            ("OTEL_PROPAGATORS", "tracecontext,b3"),
            ("OTEL_TRACES_SAMPLER", "Always_On"),
            ("OTEL_TRACES_SAMPLER_ARG", "25"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "60000\n"),
            ("OTEL_SDK_DISABLED", "yes"),
        ];
        for (name, value) in wrong {
            let only = |asked: &str| (asked == name).then(|| value.to_owned());
            let told: Vec<_> = unknown(only).into_iter().map(|it| (it.0, it.1)).collect();
            assert_eq!(told, [(name.to_owned(), value.to_owned())]);
        }
        let right = find(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000"),
            ("OTEL_TRACES_EXPORTER", "OTLP"),
            ("OTEL_METRICS_EXPORTER", "prometheus, otlp"),
            ("OTEL_LOGS_EXPORTER", ""),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_SDK_DISABLED", "False"),
        ]);
        assert!(unknown(right).is_empty());
    }

    #[test]
    fn a_port_that_speaks_another_protocol_is_told() {
        let crossed = crossed(find(&[
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://user:secret@collector:4317",
            ),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
        ]));
        let expected = [
            (Signal::Traces, 4317, "http/protobuf"),
            (Signal::Logs, 4318, "grpc"),
        ];
        assert_eq!(crossed, expected);
    }
}
