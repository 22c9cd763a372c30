//! The right to do a write, as it is held in Redis: asked for, kept up while the work is done,
//! and given back with the result, or without one when nothing was done.

use std::convert::Infallible;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::FutureExt as _;
use redis::Cmd;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::super::write::{Outcome, Write};
use super::link::{Came, Failed};
use super::{CLAIM, LEASE, Place, Redis, Standing, VERSION, kept, milliseconds, script};

/// Often enough that a lease outlives two signs of life that got lost.
const RENEWAL: Duration = Duration::from_secs(2);

/// Nothing that a vendor may answer with is near this; what is larger is not kept.
const LARGEST_RESULT: usize = 8 << 20;

pub(in super::super) struct Turn {
    redis: Arc<Redis>,
    write: Write,
    place: Place,
    token: String,
    /// When the window ends.
    until: Instant,
    /// The write may be held with this token, though nothing was done yet.
    idle: bool,
}

impl Turn {
    pub(super) fn new(redis: Arc<Redis>, write: Write) -> Self {
        Turn {
            place: Place::of(&write.key),
            token: uuid::Uuid::new_v4().to_string(),
            until: Instant::now() + redis.window,
            idle: false,
            redis,
            write,
        }
    }

    /// Asks for the write, in a task of its own: whoever stops waiting for the answer may hold it all the
    /// same, and then it is given back, or else nothing is left of it. Once another was seen to do it, it is
    /// not begun because nothing is known of it any more.
    pub(super) async fn claim(mut self, runs_elsewhere: bool) -> (Self, Result<Standing, Failed>) {
        let tasks = self.redis.tasks.clone();
        let asking = async move {
            let standing = self.ask_for_it(runs_elsewhere).await;
            self.idle = match &standing {
                Ok(Standing::Mine) => true,
                Ok(_) => false,
                Err(failed) => failed.came == Came::Perhaps,
            };
            (self, standing)
        };
        let asked = tasks.spawn(asking.with_current_context()).await;
        asked.unwrap_or_else(|died| resume_unwind(died.into_panic()))
    }

    pub(in super::super) async fn spend<R>(&mut self, work: impl Future<Output = R>) -> R {
        // From here on the vendor may hear of it.
        self.idle = false;
        tokio::select! {
            biased;
            result = work => result,
            never = self.renew() => match never {},
        }
    }

    /// The vendor has heard nothing of it after all.
    pub(in super::super) fn give_back(mut self) {
        self.idle = true;
    }

    /// Keeps the result for repeats.
    pub(in super::super) async fn keep(self, outcome: &Outcome) {
        let result = kept::encode(outcome);
        let operation = self.write.asked.meta.name;
        if result.len() > LARGEST_RESULT {
            tracing::warn!(operation, "a result is too large to be kept for repeats");
            return;
        }
        let mut question = self.question(include_str!("finish.lua"));
        question.arg(VERSION).arg(&self.write.fingerprint);
        question.arg(&self.token).arg(self.left()).arg(result);
        if self.redis.insist(&question, self.until).await.is_err() {
            tracing::warn!(operation, "a result could not be kept for repeats");
        }
    }

    /// A failure shows in the link's own log, and in a lease that ends.
    async fn renew(&self) -> Infallible {
        loop {
            sleep(RENEWAL).await;
            let _ = self.ask_for_it(false).await;
        }
    }

    async fn ask_for_it(&self, runs_elsewhere: bool) -> Result<Standing, Failed> {
        let again = self.write.asked.may_be_done_again();
        let mut question = self.question(include_str!("claim.lua"));
        question.arg(VERSION).arg(&self.write.fingerprint);
        question.arg(&self.token).arg(self.left());
        question.arg(milliseconds(LEASE)).arg(milliseconds(CLAIM));
        question
            .arg(u8::from(again))
            .arg(u8::from(again || !runs_elsewhere));
        Ok(standing(&self.redis.link.ask(&question).await?))
    }

    fn question(&self, text: &str) -> Cmd {
        script(text, &[&self.place.write, &self.place.lease])
    }

    /// Milliseconds of the window, for a Redis that has lost what it knew.
    fn left(&self) -> u64 {
        milliseconds(CLAIM.max(self.until - Instant::now()))
    }
}

impl Drop for Turn {
    /// Given back when nothing was done: else the next call would have to take it that the vendor
    /// may have been asked.
    fn drop(&mut self) {
        if !self.idle || Handle::try_current().is_err() {
            return;
        }
        let mut question = self.question(include_str!("release.lua"));
        question.arg(&self.token).arg(milliseconds(CLAIM));
        let (redis, until) = (Arc::clone(&self.redis), self.until);
        self.redis.tasks.spawn(async move {
            let _ = redis.insist(&question, until).await;
        });
    }
}

fn standing(answer: &[Vec<u8>]) -> Standing {
    let words: Vec<&[u8]> = answer.iter().map(Vec::as_slice).collect();
    match words[..] {
        [b"mine"] => Standing::Mine,
        [b"running"] => Standing::Running,
        [b"abandoned"] => Standing::Abandoned,
        [b"reused"] => Standing::Reused,
        [b"ended", result] => kept::decode(result).map_or(Standing::Foreign, Standing::Ended),
        _ => Standing::Foreign,
    }
}
