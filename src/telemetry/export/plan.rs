//! Which signals go to a collector, by the standard variables.

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Logs];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) traces: bool,
    pub(super) metrics: bool,
    pub(super) logs: bool,
}

impl Plan {
    /// A signal is exported when there is an endpoint for it. Of logs stderr has them already, so
    /// they have to be asked for.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let read = |name: &str| set(&variable, name);
        if read("OTEL_SDK_DISABLED").is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
        {
            return Self::default();
        }
        let exported = |signal: &str, unasked: bool| {
            let asked = read(&format!("OTEL_{signal}_EXPORTER")).map_or(unasked, |exporters| {
                exporters
                    .split(',')
                    .any(|exporter| exporter.trim().eq_ignore_ascii_case("otlp"))
            });
            let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
            asked && (read(&own).is_some() || read("OTEL_EXPORTER_OTLP_ENDPOINT").is_some())
        };
        Self {
            traces: exported("TRACES", true),
            metrics: exported("METRICS", true),
            logs: exported("LOGS", false),
        }
    }

    pub(super) fn has(self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
            Signal::Logs => self.logs,
        }
    }
}

/// A variable that is set; an empty one counts as unset, as the specification has it.
pub(super) fn set(variable: impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(variables: &[(&str, &str)]) -> (bool, bool, bool) {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        let plan = Plan::read(|name| find(name).map(|(_, value)| (*value).to_owned()));
        (plan.traces, plan.metrics, plan.logs)
    }

    #[test]
    fn a_signal_is_exported_where_it_has_an_endpoint() {
        const ALL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
        const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:4317");
        for (variables, expected) in [
            (&[][..], (false, false, false)),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
                (false, false, false),
            ),
            (&[ALL], (true, true, false)),
            (&[TRACES], (true, false, false)),
            (&[ALL, ("OTEL_LOGS_EXPORTER", "otlp")], (true, true, true)),
            (&[ALL, ("OTEL_LOGS_EXPORTER", "OTLP")], (true, true, true)),
            (&[("OTEL_LOGS_EXPORTER", "otlp")], (false, false, false)),
            (
                &[ALL, ("OTEL_TRACES_EXPORTER", "none")],
                (false, true, false),
            ),
            (
                &[ALL, ("OTEL_METRICS_EXPORTER", "prometheus, otlp")],
                (true, true, false),
            ),
            (
                &[ALL, ("OTEL_METRICS_EXPORTER", "prometheus")],
                (true, false, false),
            ),
            (&[ALL, ("OTEL_SDK_DISABLED", "True")], (false, false, false)),
            (&[ALL, ("OTEL_SDK_DISABLED", "yes")], (true, true, false)),
        ] {
            assert_eq!(plan(variables), expected, "{variables:?}");
        }
    }
}
