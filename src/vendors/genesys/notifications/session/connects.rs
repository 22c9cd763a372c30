//! The connects of a session: when each is sent, and what follows from its answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::super::bayeux::{self, Reconnect, Reply};
use super::super::link;
use super::failures::{forgotten, no, stopped, unreadable};
use super::trouble::FIRST_PAUSE;
use super::{ANSWER, Post, Session};
use crate::upstream::error::{Error, Kind};
use crate::upstream::lenient::lenient;

/// How much longer than advised a held answer may take (rule 7 of the vendor's documents).
pub(super) const SLACK: Duration = Duration::from_secs(10);

/// Answers in a row that bring nothing and come at once, after which the server is spared.
const MOST_IDLE: u32 = 3;

/// What follows from the answer to a connect.
pub(super) enum Step {
    /// It was a good one: the next is due after so long.
    Connect(Duration),
    /// It was none: once more after so long, to be answered at once, to see how things stand.
    Retry(Duration),
    /// Begin anew, for this reason.
    Renew(&'static str),
}

impl Session {
    /// Sends the next connect after so long; one that is to be answered `at_once` is not held.
    pub(super) fn connect(&mut self, after: Duration, at_once: bool) -> Post {
        self.connected = Instant::now() + after;
        let number = self.number();
        let client = self.client.as_ref();
        let messages = bayeux::connect(
            number,
            client.map_or("", |client| &client.id),
            client.and_then(|client| client.batch),
            at_once,
        );
        let patience = match at_once {
            true => ANSWER,
            false => self.advice.timeout + SLACK,
        };
        let link = Arc::clone(&self.hub.link);
        Box::pin(async move {
            if !after.is_zero() {
                sleep(after).await;
            }
            link.post(&link::CONNECT, &messages, patience).await
        })
    }

    /// Takes in what a connect brought, and follows the advice.
    pub(super) fn digest(&mut self, answer: Result<Bytes, Error>) -> Result<Step, Error> {
        let body = match answer {
            Ok(body) => body,
            Err(error) => return self.stumble(error),
        };
        let json = lenient(&body);
        let Ok(read) = bayeux::read(&json) else {
            return self.stumble(unreadable());
        };
        let reply = read.replies(bayeux::CONNECT).next();
        if reply.is_some() && std::mem::take(&mut self.abandoned) {
            // Only now the server holds no older connect, which could have swallowed events.
            self.hub.miss();
        }
        let news = self.publish(&read);
        let Some(reply) = reply else {
            return self.stumble(unreadable());
        };
        self.advice.follow(reply.advice);
        match (reply.successful, self.advice.reconnect) {
            (_, Reconnect::Stop) => Err(stopped()),
            (_, Reconnect::Handshake) => self.forgotten(),
            (true, Reconnect::Retry) => {
                if let Some(client) = &mut self.client {
                    client.read_up_to(reply.ack);
                }
                Ok(Step::Connect(self.interval(news)))
            }
            (false, Reconnect::Retry) => self.refused(&reply),
        }
    }

    /// The server knows its client no more: no trouble when that one has served, but when it goes
    /// so with one after the other before they do.
    fn forgotten(&mut self) -> Result<Step, Error> {
        if self.unheard || !self.hub.is_subscribed() {
            self.patience(forgotten())?;
        }
        Ok(Step::Renew("advice"))
    }

    /// A connect that the server refused without saying what to do but to try again.
    fn refused(&mut self, reply: &Reply) -> Result<Step, Error> {
        let enough = reply.advice.is_none() && self.trouble.is_enough();
        self.try_again(no(reply.error), enough)
    }

    /// A connect without an answer that could be read: the client stays the same, unless that comes
    /// again and again. It may be a batch that the server repeats for as long as the client lives.
    fn stumble(&mut self, error: Error) -> Result<Step, Error> {
        if matches!(error, Error::CredentialRefused(_)) {
            // The cookies by which the server knew the client went with the credentials.
            if !self.trouble.is_cured(&error) {
                self.patience(error)?;
            }
            return Ok(Step::Renew("credentials"));
        }
        // An answer on its way may have carried events. One that is counted comes again.
        let client = self.client.as_ref();
        let counts = client.is_some_and(|client| client.batch.is_some());
        if !counts && error.kind() != Kind::NeverSent {
            self.abandoned |= !matches!(error, Error::Unreadable { .. });
            self.hub.gap();
        }
        let answered = matches!(error, Error::Refused { .. } | Error::Unreadable { .. });
        let enough = answered && self.trouble.is_enough();
        self.try_again(error, enough)
    }

    /// By the same client, or by another when it was enough.
    fn try_again(&mut self, error: Error, enough: bool) -> Result<Step, Error> {
        let reason = error.label();
        self.patience(error)?;
        if enough {
            return Ok(Step::Renew(reason));
        }
        self.hub.meters.reconnect(reason);
        Ok(Step::Retry(self.pause()))
    }

    /// As advised; but a server that never holds a connect must not be asked in a tight loop.
    fn interval(&mut self, news: usize) -> Duration {
        let at_once = self.connected.elapsed() < FIRST_PAUSE;
        self.idle = match news {
            0 if at_once => self.idle + 1,
            _ => 0,
        };
        match self.idle > MOST_IDLE {
            true => self.advice.interval.max(FIRST_PAUSE),
            false => self.advice.interval,
        }
    }

    /// Before a connect that is made again.
    fn pause(&mut self) -> Duration {
        self.trouble.pause().max(self.advice.interval)
    }
}
