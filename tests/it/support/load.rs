//! Calls that go on while something changes, and of which none may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use super::calls::Call;
use super::watch::until;
use super::wire::Channel;

/// Calls one after another, over one connection and over a new one each time, until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    running: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(open: impl Fn() -> Channel + Send + 'static, token: Option<String>) -> Load {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let lasting = open();
        let running = vec![
            Self::calls(move || lasting.clone(), token.clone(), &stop, &done),
            Self::calls(open, token, &stop, &done),
        ];
        Load {
            stop,
            done,
            running,
        }
    }

    fn calls(
        open: impl Fn() -> Channel + Send + 'static,
        token: Option<String>,
        stop: &Arc<AtomicBool>,
        done: &Arc<AtomicUsize>,
    ) -> JoinHandle<()> {
        let (stop, done) = (Arc::clone(stop), Arc::clone(done));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = Call::GetSession
                    .send_over(open(), "", token.as_deref())
                    .await;
                answer.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    }

    /// Some more calls have been answered, on every way.
    pub async fn goes_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        let on = || self.done.load(Ordering::Relaxed) > before + 20 || self.failed();
        until("more calls", on).await;
        assert!(!self.failed(), "a call failed");
    }

    pub fn failed(&self) -> bool {
        self.running.iter().any(JoinHandle::is_finished)
    }

    /// None has failed.
    pub async fn end(self) {
        assert!(!self.failed(), "a call failed");
        self.stop.store(true, Ordering::Relaxed);
        for running in self.running {
            running.await.unwrap();
        }
    }
}
