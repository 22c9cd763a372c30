//! One account's CometD session: a state machine with one async function per state.
//!
//! ```text
//! shake_hands -----> subscribe -----> listen
//!    ^  ^ |             |               |
//!    |  +-+ later       | 402, lost     | told to, unknown client, credentials lost
//!    +------------------+---------------+
//! ```
//!
//! `Err` of a state ends the session, and with it every stream of the account. A lost connection
//! does not: the server keeps the client and its events for a while, so the same client connects
//! again, and only the server's advice leads to another handshake.

mod client;
mod connects;
mod failures;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use self::client::Client;
use self::connects::Step;
use self::failures::{denied, forgotten, no, stopped, unreadable};
use self::trouble::Trouble;
use super::bayeux::{self, Advice, Reconnect, Reply};
use super::event;
use super::hub::Hub;
use super::link;
use super::meters::{AtStage, Stage};
use super::snapshot::failure;
use crate::upstream::error::Error;
use crate::upstream::lenient::lenient;

/// How long an answer that is not held may take.
const ANSWER: Duration = Duration::from_secs(10);

/// Nobody waits for the answer to a goodbye but the process that ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// What comes next, or why there is nothing more to come.
type Next = Result<State, Error>;
type Post = BoxFuture<'static, Result<Bytes, Error>>;

enum State {
    /// After so long.
    ShakeHands(Duration),
    Subscribe,
    /// With the connect that is under way.
    Listen(Post),
}

pub(super) struct Session {
    hub: Arc<Hub>,
    at: AtStage,
    /// `None` until a handshake, and again when the server has forgotten it.
    client: Option<Client>,
    advice: Advice,
    messages: u64,
    /// When the connect under way was sent, and how many before it brought nothing at once.
    connected: Instant,
    idle: u32,
    /// A connect was given up on which the server may still hold, and answer into the void.
    abandoned: bool,
    /// A client was given up: what comes after it has to be heard to be well.
    unheard: bool,
    trouble: Trouble,
    /// Held from the handshake to the subscription.
    beginning: Option<OwnedSemaphorePermit>,
}

/// Tells the streams of a session that dies, which only a defect can cause.
struct Mourner(Arc<Hub>);

impl Drop for Mourner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let cause = "the gateway failed at the notifications".to_owned();
            self.0.fail(&failure(Error::Lost { cause }));
        }
    }
}

impl Session {
    /// Lives until it fails, or has had no consumer for a while.
    pub(super) async fn run(hub: Arc<Hub>) {
        let _mourner = Mourner(Arc::clone(&hub));
        loop {
            let mut session = Session::new(Arc::clone(&hub));
            let failed = tokio::select! {
                biased;
                error = session.converse() => Some(error),
                () = hub.deserted() => None,
            };
            match failed {
                Some(error) => {
                    tracing::warn!(account = %hub.account, %error, "notifications ended");
                    return hub.fail(&failure(error));
                }
                None if hub.may_stop() => return session.say_goodbye().await,
                // Somebody came at the last moment.
                None => {}
            }
        }
    }

    fn new(hub: Arc<Hub>) -> Self {
        Session {
            at: hub.meters.session(),
            hub,
            client: None,
            advice: Advice::default(),
            messages: 0,
            connected: Instant::now(),
            idle: 0,
            abandoned: false,
            unheard: false,
            trouble: Trouble::at_first(),
            beginning: None,
        }
    }

    async fn converse(&mut self) -> Error {
        let mut state = State::ShakeHands(Duration::ZERO);
        loop {
            let next = match state {
                State::ShakeHands(after) => self.shake_hands(after).await,
                State::Subscribe => self.subscribe().await,
                State::Listen(connect) => self.listen(connect).await,
            };
            state = match next {
                Ok(state) => state,
                Err(error) => return error,
            };
        }
    }

    async fn shake_hands(&mut self, after: Duration) -> Next {
        self.hub.unsubscribed();
        self.at.reach(Stage::Connecting);
        self.client = None;
        self.beginning = None;
        self.abandoned = false;
        sleep(after).await;
        self.beginning = self.hub.may_begin().await;
        let messages = bayeux::handshake(self.number());
        let answer = self.hub.link.post(&link::HANDSHAKE, &messages, ANSWER);
        let reply = match answer.await {
            Ok(body) => reply(&body, bayeux::HANDSHAKE),
            Err(error) => return self.begin_again(error),
        };
        match reply {
            Some(Reply {
                successful: true,
                client_id: Some(id),
                advice,
                ack,
                ..
            }) => {
                self.advice = Advice::default();
                self.advice.follow(advice);
                self.client = Some(Client::new(id, ack));
                Ok(State::Subscribe)
            }
            Some(Reply { advice, error, .. }) => {
                self.advice.follow(advice);
                if self.advice.reconnect == Reconnect::Stop {
                    return Err(stopped());
                }
                self.begin_again(no(error))
            }
            None => self.begin_again(unreadable()),
        }
    }

    /// The connects begin at once, on a connection of their own: a server that hears none for a
    /// while forgets the client, however long a subscription takes.
    async fn subscribe(&mut self) -> Next {
        let mut connect = self.connect(Duration::ZERO, false);
        let mut subscribed = self.post_subscriptions();
        loop {
            tokio::select! {
                biased;
                answer = &mut connect => match self.digest(answer)? {
                    Step::Connect(after) => connect = self.connect(after, false),
                    Step::Retry(after) => connect = self.connect(after, true),
                    Step::Renew(reason) => {
                        self.hub.troubled(forgotten());
                        return Ok(self.renew(reason));
                    }
                },
                answer = &mut subscribed => return self.subscribed(answer, connect),
            }
        }
    }

    async fn listen(&mut self, mut connect: Post) -> Next {
        loop {
            let answer = connect.await;
            match self.digest(answer)? {
                Step::Connect(after) => {
                    self.unheard = false;
                    self.all_is_well();
                    connect = self.connect(after, false);
                }
                Step::Retry(after) => connect = self.connect(after, true),
                Step::Renew(reason) => return Ok(self.renew(reason)),
            }
        }
    }

    fn subscribed(&mut self, answer: Result<Bytes, Error>, connect: Post) -> Next {
        let body = match answer {
            Ok(body) => body,
            Err(error) => return self.begin_again(error),
        };
        let json = lenient(&body);
        let Ok(read) = bayeux::read(&json) else {
            return self.begin_again(unreadable());
        };
        self.publish(&read);
        let replies: Vec<_> = read.replies(bayeux::SUBSCRIBE).collect();
        let refused = replies.iter().find(|reply| !reply.successful);
        match refused {
            // Each channel has an answer of its own.
            None if replies.len() < self.hub.channels.len() => self.begin_again(unreadable()),
            None => {
                self.beginning = None;
                if !self.unheard {
                    self.all_is_well();
                }
                self.at.reach(Stage::Subscribed);
                self.hub.subscribed();
                Ok(State::Listen(connect))
            }
            // Of a client that it has forgotten the server says so here without advice (rule 5).
            Some(reply) if reply.advice.is_some() || reply.error == Some(402) => {
                self.advice.follow(reply.advice);
                match self.advice.reconnect {
                    Reconnect::Stop => Err(stopped()),
                    Reconnect::Retry | Reconnect::Handshake => self.begin_again(no(reply.error)),
                }
            }
            Some(reply) => Err(denied(reply.error)),
        }
    }

    fn renew(&mut self, reason: &'static str) -> State {
        self.unheard = true;
        self.hub.meters.reconnect(reason);
        // Before the new client's first events, which must not be told as if nothing lay between;
        // and no read is begun before it listens.
        self.hub.unsubscribed();
        self.hub.gap();
        State::ShakeHands(self.rest())
    }

    /// A handshake or a subscription that did not come about.
    fn begin_again(&mut self, error: Error) -> Next {
        self.hub.troubled(error.clone());
        self.hub.meters.reconnect(error.label());
        if self.trouble.is_cured(&error) {
            return Ok(State::ShakeHands(Duration::ZERO));
        }
        self.patience(error)?;
        Ok(State::ShakeHands(self.rest()))
    }

    /// Counts a failure; gives the error back when it is time to tell the streams.
    fn patience(&mut self, error: Error) -> Result<(), Error> {
        if self.trouble.is_none() {
            tracing::warn!(account = %self.hub.account, %error, "notifications are in trouble");
        }
        self.trouble.bear(error)
    }

    fn all_is_well(&mut self) {
        if !self.trouble.is_none() {
            tracing::info!(account = %self.hub.account, "notifications are well again");
        }
        self.trouble.over();
    }

    /// Before a handshake that is made again.
    fn rest(&mut self) -> Duration {
        self.trouble.rest().max(self.advice.interval)
    }

    fn post_subscriptions(&mut self) -> Post {
        let number = self.number();
        let id = self.client.as_ref().map_or("", |client| &client.id);
        let messages = bayeux::subscribe(number, id, &self.hub.channels);
        self.hub.link.post(&link::SUBSCRIBE, &messages, ANSWER)
    }

    /// Passes on all events of an answer, whatever it answers, and tells how many were news.
    fn publish(&mut self, answer: &bayeux::Answer<'_>) -> usize {
        let mut lost = answer.unreadable > 0;
        let mut news = 0;
        for (channel, data) in answer.events() {
            match event::read(channel, data) {
                Ok(Some(event)) if !self.is_new(&event) => continue,
                Ok(Some(event)) => self.hub.publish(event),
                // Of something else, such as a voice call.
                Ok(None) => {}
                Err(event::Unreadable) => {
                    lost = true;
                    continue;
                }
            }
            news += 1;
        }
        if lost {
            self.hub.gap();
        }
        news
    }

    fn is_new(&mut self, event: &event::Event) -> bool {
        let client = self.client.as_mut();
        client.is_none_or(|client| client.is_new(event))
    }

    /// So that the server need not wait for a client that will not come; it may fail.
    async fn say_goodbye(mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        let messages = bayeux::disconnect(self.number(), &client.id);
        let answer = self.hub.link.post(&link::DISCONNECT, &messages, GOODBYE);
        if let Err(error) = answer.await {
            tracing::debug!(account = %self.hub.account, %error, "no goodbye");
        }
    }

    fn number(&mut self) -> u64 {
        self.messages += 1;
        self.messages
    }
}

fn reply(body: &[u8], channel: &str) -> Option<Reply> {
    let json = lenient(body);
    let answer = bayeux::read(&json).ok()?;
    answer.replies(channel).next()
}

#[cfg(test)]
mod tests;
