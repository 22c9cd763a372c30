use super::*;
use crate::settings::testing::Dir;
use crate::telemetry::testing::Spans;

fn link() -> Arc<Link> {
    let meter = opentelemetry::global::meter("test");
    Link::new(Secret::fixed("redis://127.0.0.1:1"), &meter)
}

/// What the log has, in order.
fn told(log: &Spans) -> Vec<String> {
    let words = |line: serde_json::Value| line["level"].as_str().unwrap().to_owned();
    log.lines().into_iter().map(words).collect()
}

/// Now and then it answers, and that is no end of it.
#[tokio::test(start_paused = true)]
async fn a_store_is_back_once_it_has_not_failed_for_a_while() {
    let log = Spans::capture();
    let link = link();
    let failed = || Err::<(), _>(Failed::to_connect("gone".to_owned()));
    for _ in 0..4 {
        link.note(&failed());
        tokio::time::advance(QUIET - Duration::from_millis(1)).await;
        link.note(&Ok(()));
    }
    assert_eq!(told(&log), ["WARN"]);
    tokio::time::advance(Duration::from_millis(1)).await;
    link.note(&Ok(()));
    link.note(&Ok(()));
    assert_eq!(told(&log), ["WARN", "INFO"]);
    link.note(&failed());
    assert_eq!(told(&log), ["WARN", "INFO", "WARN"]);
}

#[tokio::test(start_paused = true)]
async fn the_same_cause_is_told_once_however_long_it_lasts() {
    let log = Spans::capture();
    let link = link();
    for _ in 0..10 {
        link.note(&Err::<(), _>(Failed::to_connect("gone".to_owned())));
        tokio::time::advance(2 * QUIET).await;
    }
    assert_eq!(told(&log), ["WARN"]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_url_is_tried_at_once_and_again_after_a_while() {
    let dir = Dir::new();
    let version = |url: &str| Secret::file(dir.write(url, url)).version();
    let (one, two) = (version("one"), version("another"));
    let mut state = State::default();
    assert!(state.is_to_try(one));
    state.tried = Some((Instant::now(), one));
    assert!(!state.is_to_try(one));
    assert!(state.is_to_try(two), "it was changed again");
    tokio::time::advance(LONG_PAUSE).await;
    assert!(state.is_to_try(one));
}
