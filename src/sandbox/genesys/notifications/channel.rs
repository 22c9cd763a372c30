//! Channels, and the patterns that clients subscribe to.

use serde_json::Value;

/// The patterns of a subscribe or unsubscribe; the error is the server's.
pub(super) fn patterns(subscription: Option<&Value>) -> Result<Vec<&str>, &'static str> {
    let invalid = "403::subscription_invalid";
    let patterns: Vec<_> = match subscription {
        None => return Err("403::subscription_missing"),
        Some(Value::Array(patterns)) => patterns.iter().map(Value::as_str).collect(),
        Some(alone) => vec![alone.as_str()],
    };
    let patterns: Vec<_> = patterns.into_iter().collect::<Option<_>>().ok_or(invalid)?;
    match !patterns.is_empty() && patterns.iter().all(|pattern| is_valid(pattern)) {
        true => Ok(patterns),
        false => Err(invalid),
    }
}

/// `*` stands for one segment, `**` for one or more; both only at the end.
pub(super) fn matches(pattern: &str, channel: &str) -> bool {
    match pattern.rsplit_once('/') {
        Some((parent, "**")) => channel
            .strip_prefix(parent)
            .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/')),
        Some((parent, "*")) => channel
            .rsplit_once('/')
            .is_some_and(|(above, name)| above == parent && !name.is_empty()),
        _ => pattern == channel,
    }
}

/// The server's own channels are for its conversation with one client: nobody subscribes to them.
fn is_valid(pattern: &str) -> bool {
    let Some(path) = pattern.strip_prefix('/') else {
        return false;
    };
    let segments: Vec<_> = path.split('/').collect();
    let (above, last) = segments.split_at(segments.len() - 1);
    let is_fit = |last: &&str| !last.contains('*') || matches!(*last, "*" | "**");
    segments[0] != "meta"
        && !segments.contains(&"")
        && !above.iter().any(|segment| segment.contains('*'))
        && last.iter().all(is_fit)
}
