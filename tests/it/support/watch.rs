//! Waiting for what happens, and counting what has happened.

use std::time::Duration;

use switchboard::telemetry::Metrics;

/// Nothing that a test waits for takes this long unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Until it is so.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    let come_true = async {
        while !is_so() {
            ticks.tick().await;
        }
    };
    in_time(what, come_true).await;
}

/// The outcome of what must come to an end.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("still waiting: {what}"))
}

/// The sum over all series that have these labels, also of an instrument that has none.
pub fn total(metrics: &Metrics, name: &str, labels: &[(&str, &str)]) -> u64 {
    let text = metrics.text();
    let series = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (found, value) = rest.rsplit_once(' ')?;
        let whole = found.is_empty() || found.starts_with('{');
        let label = |(key, value): &(&str, &str)| found.contains(&format!("{key}=\"{value}\""));
        (whole && labels.iter().all(label)).then(|| value.parse::<f64>().unwrap() as i64)
    });
    u64::try_from(series.sum::<i64>()).expect("nothing is below zero")
}
