//! From start to a quiet end: readiness, signals, and the order of a drain.
//!
//! A drain goes in steps, so that no caller meets a closed door: first health
//! turns and load balancers look elsewhere while calls are still accepted, then
//! the server stops accepting and in-flight calls finish, then what is left is
//! cut. A second signal forces the end.

mod accept;

use std::fmt::Display;
use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::maybe_done;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::accept::accept;

/// What a cut leaves, for calls to be told of it.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// What whoever sends SIGHUP wants to know.
const READ_AGAIN: &str = "files of secrets, certificates and keys are read again whenever they change, \
                          the configuration and variables at the start";

/// What a second signal leaves of a drain: time for an idle server to close, and no more.
const FORCED: Duration = Duration::from_millis(500);

/// How far the process is. It only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    Starting,
    Ready,
    Draining,
}

/// A latch over [`Phase`]: clones share it, reading it costs one load.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

/// What the parts of the process watch, to know when to stop what.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    pub readiness: Readiness,
    /// Health is NOT_SERVING; calls are still accepted.
    pub draining: CancellationToken,
    /// Accept no more, send GOAWAY, end streams.
    pub closing: CancellationToken,
    /// The drain took too long: calls in flight are to be answered now.
    pub cut: CancellationToken,
    /// Work that outlives the call which began it. Whatever runs for as long as
    /// the process must watch `closing`, or the drain will have to be cut.
    pub tasks: TaskTracker,
}

/// How long a drain may take, step by step.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    pub shutdown_delay: Duration,
    pub drain_timeout: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Ending {
    /// The server stopped before anybody asked for it.
    Stopped,
    /// Every call and every task came to its end.
    Drained,
    /// Some did not, and were cut.
    Cut,
}

/// SIGTERM and SIGINT, each as it comes, and SIGHUP where the log goes to a
/// terminal. From this call on they no longer end the process by themselves.
/// Needs a runtime.
pub fn signals() -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    signals_with(io::stderr().is_terminal())
}

fn signals_with(terminal: bool) -> io::Result<impl Stream<Item = ()> + Send + Unpin> {
    let heard = |kind| signal(kind).map_err(|error| about("cannot listen for signals", &error));
    let mut terminate = heard(SignalKind::terminate())?;
    let mut interrupt = heard(SignalKind::interrupt())?;
    let mut hang_up = heard(SignalKind::hangup())?;
    Ok(stream::poll_fn(move |cx| {
        let mut came = terminate.poll_recv(cx).is_ready() || interrupt.poll_recv(cx).is_ready();
        while hang_up.poll_recv(cx).is_ready() {
            // From a terminal it says that this is gone. Elsewhere it comes from those who know it as the
            // wish that files be read again, and do not mean to end anything.
            came |= terminal;
            if !terminal {
                tracing::warn!("SIGHUP changes nothing: {READ_AGAIN}");
            }
        }
        if came {
            Poll::Ready(Some(()))
        } else {
            Poll::Pending
        }
    }))
}

/// The operating system says why, and not of what.
pub(crate) fn about(what: impl Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

impl Readiness {
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Warm. Once draining, this changes nothing.
    pub fn ready(&self) {
        self.reach(Phase::Ready);
    }

    fn reach(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::Relaxed);
    }
}

impl Lifecycle {
    /// Runs the server until it ends or a signal comes, and then drains.
    ///
    /// The server is expected to end by itself once `closing` is cancelled, its
    /// last call is answered and its callers have closed their connections.
    /// `in_flight` counts the calls that are not answered.
    pub async fn run(
        &self,
        server: impl Future<Output = ()>,
        in_flight: impl Fn() -> usize,
        signals: impl Stream<Item = ()>,
        mut grace: Grace,
    ) -> Ending {
        let mut server = pin!(maybe_done(server));
        let mut signals = pin!(signals.chain(stream::pending()));

        let whole = tokio::select! {
            biased;
            () = &mut server => Ending::Stopped,
            _ = signals.next() => Ending::Drained,
        };
        self.readiness.reach(Phase::Draining);
        self.draining.cancel();
        if whole == Ending::Drained {
            tracing::info!(delay = ?grace.shutdown_delay, "draining: calls are still accepted");
            tokio::select! {
                biased;
                () = &mut server => {}
                _ = signals.next() => grace.drain_timeout = grace.drain_timeout.min(FORCED),
                () = tokio::time::sleep(grace.shutdown_delay) => {}
            }
            tracing::info!(
                timeout = ?grace.drain_timeout,
                "closing: waiting for the calls in flight"
            );
        }
        self.finish(server, in_flight, signals.next(), grace, whole)
            .await
    }

    /// Server first, then tasks: only calls begin tasks, so none comes after.
    async fn finish(
        &self,
        server: impl Future,
        in_flight: impl Fn() -> usize,
        signal: impl Future,
        grace: Grace,
        whole: Ending,
    ) -> Ending {
        self.closing.cancel();
        let mut all = pin!(async {
            server.await;
            self.tasks.close();
            self.tasks.wait().await;
        });
        let cause = tokio::select! {
            biased;
            () = &mut all => {
                tracing::info!("every call has ended");
                return whole;
            }
            _ = signal => "a further signal",
            () = tokio::time::sleep(grace.drain_timeout) => "the drain timeout",
        };
        let (calls, tasks) = (in_flight(), self.tasks.len());
        let done = calls + tasks == 0;
        if done {
            tracing::info!(cause, "closed connections that their callers keep open");
        } else {
            tracing::warn!(cause, calls, tasks, "the drain was cut");
        }
        self.cut.cancel();
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
        if done { whole } else { Ending::Cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, sleep};

    const GRACE: Grace = Grace {
        shutdown_delay: Duration::from_secs(5),
        drain_timeout: Duration::from_secs(20),
    };

    /// Signals at these seconds.
    fn signals_at(seconds: &'static [u64]) -> impl Stream<Item = ()> {
        let start = Instant::now();
        stream::iter(seconds)
            .then(move |second| tokio::time::sleep_until(start + Duration::from_secs(*second)))
    }

    /// A server that needs so many seconds for its last calls.
    async fn server(lifecycle: Lifecycle, seconds: u64) {
        lifecycle.closing.cancelled().await;
        sleep(Duration::from_secs(seconds)).await;
    }

    /// With a call that takes as long as the server.
    async fn run(last_calls: u64, signals: &'static [u64]) -> (Ending, u64) {
        run_with(1, last_calls, signals).await
    }

    async fn run_with(calls: usize, seconds: u64, signals: &'static [u64]) -> (Ending, u64) {
        let start = Instant::now();
        let lifecycle = Lifecycle::default();
        lifecycle.readiness.ready();
        let server = server(lifecycle.clone(), seconds);
        let signals = signals_at(signals);
        let ending = lifecycle.run(server, || calls, signals, GRACE).await;
        (ending, start.elapsed().as_secs())
    }

    #[test]
    fn readiness_never_goes_back() {
        let readiness = Readiness::default();
        assert_eq!(readiness.phase(), Phase::Starting);
        readiness.clone().ready();
        assert_eq!(readiness.phase(), Phase::Ready);
        readiness.reach(Phase::Draining);
        readiness.ready();
        assert_eq!(readiness.phase(), Phase::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn health_turns_first_and_the_door_closes_after_the_delay() {
        let lifecycle = Lifecycle::default();
        lifecycle.readiness.ready();
        let (watched, start) = (lifecycle.clone(), Instant::now());
        let watcher = tokio::spawn(async move {
            assert_eq!(watched.readiness.phase(), Phase::Ready);
            watched.draining.cancelled().await;
            assert_eq!(start.elapsed().as_secs(), 3);
            assert_eq!(watched.readiness.phase(), Phase::Draining);
            assert!(!watched.closing.is_cancelled());
            watched.closing.cancelled().await;
            assert_eq!(start.elapsed().as_secs(), 8);
        });
        let server = server(lifecycle.clone(), 2);
        let ending = lifecycle.run(server, || 1, signals_at(&[3]), GRACE).await;
        assert_eq!(ending, Ending::Drained);
        assert_eq!(start.elapsed().as_secs(), 10);
        watcher.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_takes_too_long_is_cut() {
        assert_eq!(run(60, &[1]).await, (Ending::Cut, 1 + 5 + 20));
    }

    /// As one does that hangs, or takes no notice of GOAWAY.
    #[tokio::test(start_paused = true)]
    async fn a_caller_without_a_call_that_does_not_leave_cuts_no_drain() {
        assert_eq!(run_with(0, 60, &[1]).await, (Ending::Drained, 1 + 5 + 20));
        assert_eq!(run_with(0, 60, &[1, 2]).await, (Ending::Drained, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_forces_the_end() {
        assert_eq!(run(0, &[1, 2]).await, (Ending::Drained, 2));
        assert_eq!(run(4, &[1, 2]).await, (Ending::Cut, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_while_closing_forces_the_end() {
        assert_eq!(run(15, &[1, 9]).await, (Ending::Cut, 9));
    }

    #[tokio::test(start_paused = true)]
    async fn detached_tasks_are_waited_for() {
        for (seconds, ending) in [(7, Ending::Drained), (70, Ending::Cut)] {
            let lifecycle = Lifecycle::default();
            let start = Instant::now();
            lifecycle.tasks.spawn(sleep(Duration::from_secs(seconds)));
            let server = server(lifecycle.clone(), 0);
            let ended = lifecycle.run(server, || 0, signals_at(&[0]), GRACE).await;
            assert_eq!(ended, ending);
            assert_eq!(start.elapsed().as_secs(), seconds.min(25));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_by_itself_is_told_apart() {
        let lifecycle = Lifecycle::default();
        let ending = lifecycle.run(async {}, || 0, signals_at(&[]), GRACE).await;
        assert_eq!(ending, Ending::Stopped);
        assert!(lifecycle.draining.is_cancelled() && lifecycle.closing.is_cancelled());
        assert_eq!(lifecycle.readiness.phase(), Phase::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_ends_during_the_delay_is_drained_at_once() {
        let lifecycle = Lifecycle::default();
        let start = Instant::now();
        let server = sleep(Duration::from_secs(2));
        let ending = lifecycle.run(server, || 0, signals_at(&[1]), GRACE).await;
        assert_eq!((ending, start.elapsed().as_secs()), (Ending::Drained, 2));
    }

    #[tokio::test]
    async fn the_process_hears_what_is_to_end_it() {
        for (terminal, names) in [(false, &["TERM", "INT"][..]), (true, &["TERM", "HUP"])] {
            let mut signals = signals_with(terminal).unwrap();
            for name in names {
                let killed = std::process::Command::new("kill")
                    .args([&format!("-{name}"), &std::process::id().to_string()])
                    .status()
                    .unwrap();
                assert!(killed.success());
                let heard = tokio::time::timeout(Duration::from_secs(5), signals.next());
                assert_eq!(heard.await.unwrap(), Some(()), "{name}");
            }
        }
    }
}
