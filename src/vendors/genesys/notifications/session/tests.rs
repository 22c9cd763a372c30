//! The state machine against a server that the test plays, message by message, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use http::StatusCode;
use opentelemetry::global;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::advance;

use super::connects::SLACK;
use super::trouble::{LONGEST_REST, MOST_REPLACED, SPREAD};
use super::*;
use crate::lifecycle::Lifecycle;
use crate::pb::SmsSession;
use crate::telemetry::testing::Spans;
use crate::upstream::error::{Answer, Failure, LoginError, Refusal};
use crate::upstream::operation::Meta;
use crate::upstream::testing::{answer, busy, login_throttled, throttled};
use crate::vendors::genesys::notifications::feed::{Filter, Item};
use crate::vendors::genesys::notifications::hub::{Consumer, LEAST_APART};
use crate::vendors::genesys::notifications::link::Link;
use crate::vendors::genesys::notifications::meters::Meters;
use crate::vendors::genesys::notifications::{PATIENCE, PATIENCE_AT_FIRST};

/// No session waits this long for anything: what has not come by then does not come.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A request that waits for its answer.
struct Asked {
    name: &'static str,
    messages: Value,
    patience: Duration,
    answer: oneshot::Sender<Result<Bytes, Error>>,
}

struct Scripted(mpsc::UnboundedSender<Asked>);

impl Link for Scripted {
    fn post(
        &self,
        meta: &'static Meta,
        messages: &Value,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Error>> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            name: meta.name,
            messages: messages.clone(),
            patience,
            answer,
        };
        let server = self.0.clone();
        Box::pin(async move {
            let _ = server.send(asked);
            answered.await.unwrap_or_else(|_| Err(lost()))
        })
    }

    fn sessions(&self) -> BoxFuture<'static, Result<Vec<SmsSession>, Failure>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Has a defect; how often it was met.
struct Defective(Arc<AtomicUsize>);

impl Link for Defective {
    fn post(
        &self,
        _: &'static Meta,
        _: &Value,
        _: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Error>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("a defect")
    }

    fn sessions(&self) -> BoxFuture<'static, Result<Vec<SmsSession>, Failure>> {
        unreachable!("nobody is subscribed")
    }
}

fn hub(link: impl Link, channels: &[&str], lifecycle: &Lifecycle) -> Hub {
    Hub::new(
        "default".to_owned(),
        channels
            .iter()
            .map(|channel| (*channel).to_owned())
            .collect(),
        Arc::new(link),
        Meters::new(&global::meter("test")),
        lifecycle.clone(),
        Arc::new(Semaphore::new(1)),
    )
}

struct Server {
    requests: mpsc::UnboundedReceiver<Asked>,
    hub: Arc<Hub>,
    lifecycle: Lifecycle,
}

fn lost() -> Error {
    Error::Lost {
        cause: "reset".to_owned(),
    }
}

fn timed_out() -> Error {
    Error::TimedOut { after: ANSWER }
}

fn unknown_path() -> Error {
    Error::Refused {
        meaning: Refusal::Misconfigured,
        answer: answer(404),
    }
}

fn refused(status: u16) -> Error {
    Error::CredentialRefused(Answer {
        status: StatusCode::from_u16(status).unwrap(),
        code: None,
        text: String::new(),
    })
}

fn yes(channel: &str) -> Value {
    json!([{"channel": channel, "successful": true, "clientId": "c1"}])
}

fn told(reference: i64) -> Value {
    json!({"channel": "/v2/me/smssessions", "data": {
        "notificationType": "PropertiesUpdated", "referenceId": reference,
        "smssession": {"id": "a", "userData": {}},
    }})
}

impl Asked {
    fn say(self, body: &Value) {
        let _ = self.answer.send(Ok(body.to_string().into()));
    }

    fn fail(self, error: Error) {
        let _ = self.answer.send(Err(error));
    }

    fn client(&self) -> &str {
        self.messages[0]["clientId"].as_str().unwrap_or_default()
    }
}

impl Server {
    fn new() -> Server {
        Server::of_channels(&["/v2/me/*"])
    }

    fn of_channels(channels: &[&str]) -> Server {
        let (asked, requests) = mpsc::unbounded_channel();
        let lifecycle = Lifecycle::default();
        let hub = hub(Scripted(asked), channels, &lifecycle);
        Server {
            requests,
            hub: Arc::new(hub),
            lifecycle,
        }
    }

    /// Time goes on only as far as it has to for the next request to come.
    async fn next(&mut self) -> Asked {
        let asked = tokio::time::timeout(LONGEST, self.requests.recv()).await;
        let asked = asked.expect("nothing more is asked");
        asked.expect("the hub holds the link")
    }

    async fn expect(&mut self, name: &str) -> Asked {
        let asked = self.next().await;
        assert_eq!(asked.name, name, "{}", asked.messages);
        asked
    }

    /// The first request of this name, and the connect that is held then.
    async fn up_to(&mut self, name: &str) -> (Asked, Option<Asked>) {
        let mut asked = self.expect("Handshake").await;
        let mut held = None;
        while asked.name != name {
            match asked.name {
                "Handshake" => asked.say(&yes("/meta/handshake")),
                _ => held = Some(asked),
            }
            asked = self.next().await;
        }
        (asked, held)
    }

    /// Answers until subscribed, and returns the connect that is held then.
    async fn subscribed(&mut self, ack: bool) -> Asked {
        let hello = self.expect("Handshake").await;
        hello.say(&json!([{"channel": "/meta/handshake", "successful": true,
            "clientId": "c1", "ext": {"ack": ack}}]));
        let connect = self.expect("Connect").await;
        self.expect("Subscribe").await.say(&yes("/meta/subscribe"));
        self.hub.until_subscribed().await;
        connect
    }

    /// Nothing more is asked, however long it takes.
    async fn quiet(&mut self) {
        let more = tokio::time::timeout(Duration::from_secs(3600), self.requests.recv());
        if let Ok(Some(asked)) = more.await {
            panic!("one more {}: {}", asked.name, asked.messages);
        }
    }
}

/// A server that answers like this for as long as the streams put up with it; the error that they end with,
/// and after what time.
async fn borne(
    server: &mut Server,
    consumer: &Consumer,
    answer: impl Fn(Asked),
) -> (Error, Duration) {
    let start = Instant::now();
    let failing = async {
        while start.elapsed() < PATIENCE * 3 {
            answer(server.next().await);
        }
    };
    tokio::select! {
        error = end(consumer) => (error, start.elapsed()),
        () = failing => panic!("no stream is told"),
    }
}

/// What a consumer is owed now.
async fn owed(consumer: &Consumer) -> Vec<String> {
    // So that the session gets to what it has been told.
    sleep(Duration::from_millis(1)).await;
    let mut items = Vec::new();
    while let Some(item) = consumer.next().now_or_never() {
        items.push(match item {
            Item::Event(event) => format!("{}", event.notification.reference_id.unwrap()),
            Item::Missed(_) => "missed".to_owned(),
            Item::Ended(failure) => {
                items.push(format!("ended: {}", failure.error.label()));
                break;
            }
        });
    }
    items
}

async fn end(consumer: &Consumer) -> Error {
    loop {
        if let Item::Ended(failure) = consumer.next().await {
            return failure.error;
        }
    }
}

/// Else the streams would be silent for ever, and no session would take its place.
#[tokio::test(start_paused = true)]
async fn a_session_that_dies_ends_its_streams_and_the_next_one_begins() {
    let met = Arc::default();
    let link = Defective(Arc::clone(&met));
    let hub = Arc::new(hub(link, &["/v2/me/*"], &Lifecycle::default()));
    for session in 1..=2 {
        let consumer = hub.consume(Filter::All);
        let told = tokio::time::timeout(PATIENCE, end(&consumer)).await;
        assert!(matches!(told, Ok(Error::Lost { .. })), "{told:?}");
        assert_eq!(met.load(Ordering::Relaxed), session);
        sleep(LEAST_APART).await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_subscribes_beside_the_connect_and_never_behind_it() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let hello = server.expect("Handshake").await;
    assert_eq!(hello.messages.as_array().unwrap().len(), 1, "not alone");
    hello.say(&yes("/meta/handshake"));
    let connect = server.expect("Connect").await;
    let subscribe = server.expect("Subscribe").await;
    assert_eq!((connect.client(), subscribe.client()), ("c1", "c1"));
    assert!(!server.hub.is_subscribed());
    subscribe.say(&yes("/meta/subscribe"));
    server.hub.until_subscribed().await;
    assert_eq!(owed(&consumer).await, ["missed"]);
    drop(connect);
}

#[tokio::test(start_paused = true)]
async fn one_session_serves_all_and_one_connect_is_out() {
    let mut server = Server::new();
    let consumers: Vec<_> = (0..5).map(|_| server.hub.consume(Filter::All)).collect();
    let connect = server.subscribed(false).await;
    for consumer in &consumers {
        assert_eq!(owed(consumer).await, ["missed"]);
    }
    let mut answer = yes("/meta/connect");
    answer.as_array_mut().unwrap().insert(0, told(83));
    connect.say(&answer);
    let again = server.expect("Connect").await;
    for consumer in &consumers {
        assert_eq!(owed(consumer).await, ["83"]);
    }
    assert!(server.requests.try_recv().is_err(), "a second connect");
    drop(again);
}

/// What people wrote is passed on; a batch that could not be read would be repeated for ever.
#[tokio::test(start_paused = true)]
async fn half_a_character_costs_no_event() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(true).await;
    owed(&consumer).await;
    let mut answer = yes("/meta/connect");
    let mut event = told(83);
    event["data"]["smssession"]["userData"] = json!({"Text": "HALF"});
    answer.as_array_mut().unwrap().insert(0, event);
    let body = answer.to_string().replace("HALF", "cut \\ud83d");
    let _ = connect.answer.send(Ok(body.into()));
    let _connect = server.expect("Connect").await;
    assert_eq!(owed(&consumer).await, ["83"]);
}

#[tokio::test(start_paused = true)]
async fn the_interval_is_kept_and_the_timeout_is_waited_for() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    assert_eq!(
        connect.patience,
        Duration::from_secs(30) + SLACK,
        "no advice yet"
    );
    let mut answer = yes("/meta/connect");
    answer[0]["advice"] = json!({"reconnect": "retry", "interval": 1500, "timeout": 20000});
    let before = Instant::now();
    connect.say(&answer);
    let connect = server.expect("Connect").await;
    assert_eq!(before.elapsed(), Duration::from_millis(1500));
    assert_eq!(connect.patience, Duration::from_secs(20) + SLACK);
    assert_eq!(connect.client(), "c1");
}

#[tokio::test(start_paused = true)]
async fn the_interval_is_kept_after_failures_and_before_handshakes_too() {
    // Longer than the session would wait by itself.
    let interval = Duration::from_secs(30);
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    let mut answer = yes("/meta/connect");
    answer[0]["advice"] = json!({"interval": 30000});
    connect.say(&answer);
    let connect = server.expect("Connect").await;
    let before = Instant::now();
    connect.fail(lost());
    let connect = server.expect("Connect").await;
    assert_eq!(before.elapsed(), interval);
    answer[0]["advice"] = json!({"reconnect": "handshake"});
    connect.say(&answer);
    server.expect("Handshake").await;
    assert_eq!(before.elapsed(), interval * 2);
}

#[tokio::test(start_paused = true)]
async fn told_to_shake_hands_it_does_so_and_everybody_is_told_of_the_gap() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    owed(&consumer).await;
    connect.say(&json!([{"channel": "/meta/connect", "successful": false,
        "error": "402::Unknown client", "advice": {"interval": 0, "reconnect": "handshake"}}]));
    let before = Instant::now();
    let hello = server.expect("Handshake").await;
    assert!(before.elapsed() <= SPREAD);
    assert!(!server.hub.is_subscribed());
    assert_eq!(owed(&consumer).await, ["missed"]);
    hello.say(&yes("/meta/handshake"));
    let connect = server.expect("Connect").await;
    server
        .expect("Subscribe")
        .await
        .say(&yes("/meta/subscribe"));
    server.hub.until_subscribed().await;
    assert_eq!(owed(&consumer).await, ["missed"], "also until then");
    drop(connect);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_tried_again_ends_the_streams() {
    for advice in [
        json!({"reconnect": "none"}),
        json!({"reconnect": "retry", "interval": -1}),
        json!({"reconnect": "something new"}),
    ] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        let connect = server.subscribed(false).await;
        let mut answer = yes("/meta/connect");
        answer[0]["advice"] = advice;
        connect.say(&answer);
        let Error::Lost { cause } = end(&consumer).await else {
            panic!("not lost");
        };
        assert!(cause.ends_with("its Bayeux advice allows no further connect"));
        assert!(!server.hub.is_subscribed());
        server.quiet().await;
    }
}

/// Whatever request the advice is given to.
#[tokio::test(start_paused = true)]
async fn a_server_that_wants_no_client_ends_the_streams() {
    for refused in ["Handshake", "Subscribe"] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        let (asked, held) = server.up_to(refused).await;
        let channel = format!("/meta/{}", refused.to_lowercase());
        asked.say(&json!([{"channel": channel, "successful": false,
            "error": "403::no", "advice": {"reconnect": "none"}}]));
        let ended = end(&consumer).await;
        assert!(matches!(ended, Error::Lost { .. }), "{refused}: {ended:?}");
        server.quiet().await;
        drop(held);
    }
}

/// Of a client that it has forgotten a server says so to a subscription without any advice.
#[tokio::test(start_paused = true)]
async fn a_subscription_of_a_forgotten_client_leads_to_a_handshake() {
    for refusal in [
        json!({"channel": "/meta/subscribe", "successful": false, "error": "402::Unknown client"}),
        json!({"channel": "/meta/subscribe", "successful": false, "error": "403::unknown",
            "advice": {"reconnect": "handshake"}}),
        json!({"channel": "/meta/subscribe", "successful": false, "error": "500::later",
            "advice": {"reconnect": "retry"}}),
    ] {
        let mut server = Server::new();
        let _consumer = server.hub.consume(Filter::All);
        server
            .expect("Handshake")
            .await
            .say(&yes("/meta/handshake"));
        let connect = server.expect("Connect").await;
        server.expect("Subscribe").await.say(&json!([refusal]));
        server.expect("Handshake").await;
        drop(connect);
    }
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_denied_is_an_answer() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    server
        .expect("Handshake")
        .await
        .say(&yes("/meta/handshake"));
    let _connect = server.expect("Connect").await;
    server.expect("Subscribe").await.say(&json!([
        {"channel": "/meta/subscribe", "successful": false, "error": "403:/v2/me/*:denied"}
    ]));
    let denied = end(&consumer).await;
    assert!(matches!(
        denied,
        Error::Refused {
            meaning: Refusal::Denied,
            ..
        }
    ));
    assert_eq!(denied.code(), Some("403"));
}

/// However often streams are opened: who says no is not asked all the time.
#[tokio::test(start_paused = true)]
async fn a_session_that_failed_at_once_is_not_begun_anew_at_once() {
    const TIME: Duration = Duration::from_secs(60);
    let mut server = Server::new();
    let hub = Arc::clone(&server.hub);
    let denying = async {
        let mut handshakes = 0;
        let end = Instant::now() + TIME;
        while let Ok(asked) = tokio::time::timeout_at(end, server.next()).await {
            match asked.name {
                "Handshake" => {
                    handshakes += 1;
                    asked.say(&yes("/meta/handshake"));
                }
                "Subscribe" => asked.say(&json!([
                    {"channel": "/meta/subscribe", "successful": false, "error": "403::denied"}
                ])),
                _ => drop(asked),
            }
        }
        handshakes
    };
    let opening = async {
        let mut streams = 0;
        let start = Instant::now();
        while start.elapsed() < TIME {
            let denied = end(&hub.consume(Filter::All)).await;
            assert_eq!(denied.code(), Some("403"));
            streams += 1;
            sleep(Duration::from_millis(100)).await;
        }
        streams
    };
    let (handshakes, streams) = tokio::join!(denying, opening);
    // Once more at once, as it may be mended by now.
    let most = 1 + TIME.as_secs() / LEAST_APART.as_secs();
    assert!((most - 1..=most).contains(&handshakes), "{handshakes}");
    assert!(streams > 500, "{streams} were told");
}

/// Not the second one in a row, as the first may have been mended; and not after one that was subscribed.
#[tokio::test(start_paused = true)]
async fn only_sessions_that_fail_in_a_row_begin_apart() {
    let mut server = Server::new();
    let hub = Arc::clone(&server.hub);
    for failures in [2, 1] {
        for _ in 0..failures {
            let consumer = hub.consume(Filter::All);
            server.expect("Handshake").await.fail(unknown_path());
            assert_eq!(end(&consumer).await.label(), "refused");
        }
        let told = owed(&hub.consume(Filter::All)).await;
        assert_eq!(told, ["ended: refused"]);
        assert!(server.requests.try_recv().is_err());
        sleep(LEAST_APART).await;
        let consumer = hub.consume(Filter::All);
        let other = hub.consume(Filter::All);
        assert_eq!(owed(&other).await, ["missed"], "it is tried again");
        let mut last = yes("/meta/connect");
        last[0]["advice"] = json!({"reconnect": "none"});
        server.subscribed(false).await.say(&last);
        end(&consumer).await;
    }
}

/// Else the server would lose what it keeps for the client.
#[tokio::test(start_paused = true)]
async fn however_often_connects_are_lost_the_client_stays_the_same() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let mut connect = server.subscribed(false).await;
    for _ in 0..8 {
        connect.fail(lost());
        connect = server.expect("Connect").await;
        assert_eq!((connect.client(), connect.patience), ("c1", ANSWER));
    }
}

/// Two of them are not one that lasts, however far apart.
#[tokio::test(start_paused = true)]
async fn a_trouble_that_is_over_does_not_count_any_more() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let mut connect = server.subscribed(false).await;
    for _ in 0..3 {
        connect.fail(lost());
        server.expect("Connect").await.say(&yes("/meta/connect"));
        connect = server.expect("Connect").await;
        sleep(PATIENCE).await;
    }
    assert!(owed(&consumer).await.iter().all(|item| item == "missed"));
}

#[tokio::test(start_paused = true)]
async fn who_can_do_without_notifications_does_not_wait_for_what_has_just_failed() {
    let server = Server::new();
    assert!(server.hub.until_tried().now_or_never().is_none());
    server.hub.troubled(lost());
    server.hub.unsubscribed();
    assert!(server.hub.until_tried().now_or_never().is_some());
    server.hub.subscribed();
    server.hub.unsubscribed();
    assert!(server.hub.until_tried().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_a_gap_and_the_client_stays_the_same() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    owed(&consumer).await;
    connect.fail(lost());
    let connect = server.expect("Connect").await;
    assert_eq!(connect.client(), "c1");
    assert_eq!(
        connect.messages[0]["advice"]["timeout"], 0,
        "to see at once"
    );
    assert!(server.hub.is_subscribed());
    assert_eq!(owed(&consumer).await, ["missed"]);
    connect.say(&yes("/meta/connect"));
    let connect = server.expect("Connect").await;
    assert_eq!(connect.messages[0].get("advice"), None);
    // Until this answer the server may have held the lost connect, and told it something.
    assert_eq!(owed(&consumer).await, ["missed"]);
}

/// What a client that was given up may have swallowed was missed with the handshake.
#[tokio::test(start_paused = true)]
async fn a_lost_connect_of_a_client_before_is_no_gap_of_the_next_one() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    server.subscribed(false).await.fail(lost());
    server.expect("Connect").await.fail(refused(403));
    let connect = server.subscribed(false).await;
    assert_eq!(owed(&consumer).await, ["missed"]);
    connect.say(&yes("/meta/connect"));
    let _connect = server.expect("Connect").await;
    assert!(owed(&consumer).await.is_empty());
}

/// What is no answer to a connect may be of something in front: the server itself may hold the older one
/// still.
#[tokio::test(start_paused = true)]
async fn an_unreadable_answer_does_not_make_up_for_a_lost_one() {
    let of_something_in_front: [fn(Asked); 2] = [
        |connect| connect.fail(unreadable()),
        |connect| connect.say(&json!({"message": "later"})),
    ];
    for answer in of_something_in_front {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        let connect = server.subscribed(false).await;
        connect.fail(lost());
        answer(server.expect("Connect").await);
        let connect = server.expect("Connect").await;
        owed(&consumer).await;
        connect.say(&yes("/meta/connect"));
        let _connect = server.expect("Connect").await;
        assert_eq!(owed(&consumer).await, ["missed"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_no_gap_where_the_server_counts() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(true).await;
    owed(&consumer).await;
    let mut answer = json!([told(1)]);
    answer.as_array_mut().unwrap().push(json!(
        {"channel": "/meta/connect", "successful": true, "ext": {"ack": 4}}
    ));
    connect.say(&answer);
    for _ in 0..2 {
        let connect = server.expect("Connect").await;
        assert_eq!(connect.messages[0]["ext"]["ack"], 4);
        connect.fail(lost());
    }
    assert_eq!(owed(&consumer).await, ["1"]);
}

/// There are servers that repeat what was lost only to who says from the start what it has.
#[tokio::test(start_paused = true)]
async fn where_the_server_counts_the_first_connect_acknowledges() {
    for (offer, read) in [
        (json!(true), json!(0)),
        (json!({"enabled": true, "batch": 7}), json!(7)),
        (json!({"enabled": true}), json!(0)),
        (json!({"enabled": false, "batch": 7}), Value::Null),
        (json!(false), Value::Null),
        (json!(7), Value::Null),
    ] {
        let mut server = Server::new();
        let _consumer = server.hub.consume(Filter::All);
        let hello = server.expect("Handshake").await;
        hello.say(&json!([{"channel": "/meta/handshake", "successful": true,
            "clientId": "c1", "ext": {"ack": offer}}]));
        let connect = server.expect("Connect").await;
        assert_eq!(connect.messages[0]["ext"]["ack"], read, "{offer}");
        let _subscribe = server.expect("Subscribe").await;
        connect.fail(lost());
        let connect = server.expect("Connect").await;
        assert_eq!(connect.messages[0]["ext"]["ack"], read, "{offer}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_offers_no_acknowledgement_gets_none() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    let mut answer = yes("/meta/connect");
    answer[0]["ext"] = json!({"ack": 4});
    connect.say(&answer);
    let connect = server.expect("Connect").await;
    assert_eq!(connect.messages[0].get("ext"), None);
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_was_never_sent_lost_nothing() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    owed(&consumer).await;
    connect.fail(Error::NeverSent {
        cause: "refused".to_owned(),
    });
    let _connect = server.expect("Connect").await;
    assert!(owed(&consumer).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_same_notification_is_told_once() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    owed(&consumer).await;
    connect.say(&json!([told(1), told(1), told(2), yes("/meta/connect")[0]]));
    let connect = server.expect("Connect").await;
    connect.say(&json!([told(2), told(1), told(3), yes("/meta/connect")[0]]));
    let _connect = server.expect("Connect").await;
    assert_eq!(owed(&consumer).await, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_a_gap() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    owed(&consumer).await;
    connect.say(&json!([told(1), 7, yes("/meta/connect")[0]]));
    let connect = server.expect("Connect").await;
    assert_eq!(owed(&consumer).await, ["1", "missed"]);
    connect.say(&json!("no Bayeux"));
    let connect = server.expect("Connect").await;
    assert_eq!(owed(&consumer).await, ["missed"]);
    let dataless = json!({"channel": "/v2/me/smssessions"});
    let elsewhere = json!({"channel": "/v2/me/calls"});
    connect.say(&json!([elsewhere, yes("/meta/connect")[0]]));
    let connect = server.expect("Connect").await;
    assert!(owed(&consumer).await.is_empty());
    connect.say(&json!([dataless, yes("/meta/connect")[0]]));
    let connect = server.expect("Connect").await;
    assert_eq!(owed(&consumer).await, ["missed"]);
    let without = json!({"channel": "/v2/me/smssessions", "data": {"referenceId": 9,
        "notificationType": "PropertiesUpdated", "smssession": {"id": "a"}}});
    connect.say(&json!([without, yes("/meta/connect")[0]]));
    let _connect = server.expect("Connect").await;
    assert_eq!(owed(&consumer).await, ["9", "missed"], "it may mean empty");
}

#[tokio::test(start_paused = true)]
async fn credentials_are_replaced_a_few_times_and_then_refused_for_good() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    connect.fail(refused(403));
    for _ in 1..MOST_REPLACED {
        server.expect("Handshake").await.fail(refused(401));
    }
    let (error, took) = borne(&mut server, &consumer, |asked| asked.fail(refused(401))).await;
    assert!(matches!(error, Error::CredentialRefused(_)), "{error:?}");
    assert!(
        took >= PATIENCE_AT_FIRST && took < PATIENCE_AT_FIRST + LONGEST_REST,
        "{took:?}"
    );
    server.quiet().await;
    // Who comes later is a new beginning.
    let _later = server.hub.consume(Filter::All);
    server.subscribed(false).await;
}

/// However many nodes come and go within some seconds; but one by one, with rests in between.
#[tokio::test(start_paused = true)]
async fn credentials_that_are_lost_many_times_for_a_moment_do_not_end_what_worked() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    owed(&consumer).await;
    connect.fail(refused(403));
    let start = Instant::now();
    for _ in 1..MOST_REPLACED {
        server.expect("Handshake").await.fail(refused(403));
    }
    assert!(start.elapsed() <= SPREAD, "at once");
    for _ in 0..2 {
        server.expect("Handshake").await.fail(refused(403));
    }
    let _connect = server.subscribed(false).await;
    let told = owed(&consumer).await;
    assert!(told.iter().all(|item| item == "missed"), "{told:?}");
}

/// Of two nodes that go one after the other, each takes a login with it that was never used.
#[tokio::test(start_paused = true)]
async fn logins_that_are_lost_unused_do_not_end_what_worked() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    owed(&consumer).await;
    connect.fail(refused(403));
    let lost = || Error::Login(LoginError::Useless(answer(401)));
    server.expect("Handshake").await.fail(lost());
    server.expect("Handshake").await.fail(lost());
    let _connect = server.subscribed(false).await;
    let told = owed(&consumer).await;
    assert!(told.iter().all(|item| item == "missed"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vendor_out_of_reach_is_told_soon_at_first_and_later_when_it_worked_once() {
    for (worked, patience) in [(false, PATIENCE_AT_FIRST), (true, PATIENCE)] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        if worked {
            server.subscribed(false).await.fail(lost());
        }
        let down = Instant::now();
        let failing = async {
            loop {
                server.next().await.fail(lost());
            }
        };
        let error = tokio::select! {
            error = end(&consumer) => error,
            () = failing => unreachable!(),
        };
        assert!(matches!(error, Error::Lost { .. }));
        let took = down.elapsed();
        assert!(
            took >= patience && took < patience + LONGEST_REST,
            "{took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_never_comes_about_is_told_too() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let failing = async {
        loop {
            let asked = server.next().await;
            match asked.name {
                "Handshake" => asked.say(&yes("/meta/handshake")),
                "Subscribe" => asked.say(&json!([
                    {"channel": "/meta/subscribe", "successful": false, "error": "402::"}
                ])),
                _ => asked.say(&yes("/meta/connect")),
            }
        }
    };
    tokio::select! {
        error = end(&consumer) => assert_eq!(error.code(), Some("402")),
        () = failing => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_holds_is_not_asked_in_a_tight_loop() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let mut connect = server.subscribed(false).await;
    let start = Instant::now();
    let mut asked = 0;
    while start.elapsed() < Duration::from_secs(10) {
        connect.say(&yes("/meta/connect"));
        connect = server.expect("Connect").await;
        asked += 1;
    }
    assert!(asked < 50, "{asked} times");
}

/// Nor is one that says the same again and again.
#[tokio::test(start_paused = true)]
async fn a_server_that_repeats_itself_is_not_asked_in_a_tight_loop() {
    for repeated in [
        told(83),
        json!({"channel": "/v2/me/smssessions", "data": 7}),
    ] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        let mut connect = server.subscribed(false).await;
        owed(&consumer).await;
        let start = Instant::now();
        for _ in 0..50 {
            connect.say(&json!([repeated, yes("/meta/connect")[0]]));
            connect = server.expect("Connect").await;
        }
        assert!(start.elapsed() > Duration::from_secs(10), "{repeated}");
    }
}

/// However often it has nothing to say.
#[tokio::test(start_paused = true)]
async fn a_server_that_holds_its_connects_is_asked_again_at_once() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let mut connect = server.subscribed(false).await;
    for _ in 0..10 {
        sleep(Duration::from_secs(30)).await;
        let before = Instant::now();
        connect.say(&yes("/meta/connect"));
        connect = server.expect("Connect").await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }
}

/// Who advises to try again knows the client still.
#[tokio::test(start_paused = true)]
async fn refused_connects_with_advice_are_made_again_by_the_same_client() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let mut connect = server.subscribed(false).await;
    for _ in 0..8 {
        connect.say(&json!([{"channel": "/meta/connect", "successful": false,
            "advice": {"reconnect": "retry"}}]));
        connect = server.expect("Connect").await;
        assert_eq!(connect.client(), "c1");
    }
}

#[tokio::test(start_paused = true)]
async fn refused_connects_without_advice_end_in_a_handshake() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let mut asked = server.subscribed(false).await;
    let mut connects = 0;
    while asked.name == "Connect" {
        connects += 1;
        assert!(connects < 10, "deaf");
        asked.say(&json!([{"channel": "/meta/connect", "successful": false}]));
        asked = server.next().await;
    }
    assert_eq!(asked.name, "Handshake");
}

/// A batch that cannot be read comes again as long as its client lives.
#[tokio::test(start_paused = true)]
async fn unreadable_connects_end_in_a_handshake_and_a_gap() {
    for ack in [true, false] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        let mut asked = server.subscribed(ack).await;
        let mut connects = 0;
        while asked.name == "Connect" {
            connects += 1;
            assert!(connects < 10, "the same again and again");
            owed(&consumer).await;
            asked.fail(unreadable());
            asked = server.next().await;
        }
        assert_eq!(asked.name, "Handshake");
        assert!(connects > 1, "one may be read the next time");
        assert_eq!(owed(&consumer).await, ["missed"]);
    }
}

/// Connects that bring nothing, whatever client makes them, are no notifications.
#[tokio::test(start_paused = true)]
async fn a_subscription_whose_connects_never_come_to_anything_is_told() {
    for label in ["unreadable", "refused"] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        server.subscribed(true).await.say(&yes("/meta/connect"));
        let (error, took) = borne(&mut server, &consumer, |asked| match asked.name {
            "Handshake" => asked.say(&yes("/meta/handshake")),
            "Subscribe" => asked.say(&yes("/meta/subscribe")),
            _ if label == "unreadable" => asked.fail(unreadable()),
            _ => asked.say(&json!([{"channel": "/meta/connect", "successful": false}])),
        })
        .await;
        assert_eq!(error.label(), label);
        assert!(
            took >= PATIENCE && took < PATIENCE + LONGEST_REST,
            "{took:?}"
        );
    }
}

/// A channel of which nothing was said would be silent without a word.
#[tokio::test(start_paused = true)]
async fn a_channel_without_an_answer_is_not_subscribed() {
    let mut server = Server::of_channels(&["/v2/me/smssessions", "/v2/me/others"]);
    let _consumer = server.hub.consume(Filter::All);
    server
        .expect("Handshake")
        .await
        .say(&yes("/meta/handshake"));
    let connect = server.expect("Connect").await;
    let subscribe = server.expect("Subscribe").await;
    assert_eq!(subscribe.messages.as_array().unwrap().len(), 2);
    subscribe.say(&yes("/meta/subscribe"));
    let again = tokio::time::timeout(PATIENCE, server.expect("Handshake"));
    assert!(again.await.is_ok(), "taken for subscribed");
    assert!(!server.hub.is_subscribed());
    drop(connect);
}

/// As where the subscription is known to one node, and the connects go to another.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_lost_with_its_first_connect_again_and_again_is_told() {
    let forgotten = json!([{"channel": "/meta/connect", "successful": false,
        "error": "402::Unknown client", "advice": {"reconnect": "handshake"}}]);
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    server.subscribed(false).await.say(&yes("/meta/connect"));
    server.expect("Connect").await.say(&forgotten);
    let held = std::cell::RefCell::new(None);
    let (error, took) = borne(&mut server, &consumer, |asked| match asked.name {
        "Handshake" => asked.say(&yes("/meta/handshake")),
        "Subscribe" => {
            asked.say(&yes("/meta/subscribe"));
            let connect: Option<Asked> = held.take();
            tokio::spawn({
                let forgotten = forgotten.clone();
                async move {
                    // Once the subscription is there.
                    sleep(Duration::from_millis(1)).await;
                    connect.unwrap().say(&forgotten);
                }
            });
        }
        _ => drop(held.replace(Some(asked))),
    })
    .await;
    assert!(matches!(error, Error::Lost { .. }), "{error:?}");
    assert!(
        took >= PATIENCE && took < PATIENCE + LONGEST_REST,
        "{took:?}"
    );
}

/// As where nodes come and go; the log speaks of trouble only where there is some.
#[tokio::test(start_paused = true)]
async fn clients_that_are_forgotten_after_they_have_served_are_no_trouble() {
    let log = Spans::capture_at("warn");
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    for _ in 0..3 {
        server.subscribed(false).await.say(&yes("/meta/connect"));
        server
            .expect("Connect")
            .await
            .say(&json!([{"channel": "/meta/connect", "successful": false,
            "error": "402::Unknown client", "advice": {"reconnect": "handshake"}}]));
    }
    server.expect("Handshake").await;
    assert_eq!(log.lines(), Vec::<Value>::new());
}

/// Logins that the vendor grants, and whose connects it then refuses, are no cure.
#[tokio::test(start_paused = true)]
async fn credentials_that_serve_for_all_but_connects_are_refused_for_good() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    server.subscribed(false).await.say(&yes("/meta/connect"));
    let (error, took) = borne(&mut server, &consumer, |asked| match asked.name {
        "Handshake" => asked.say(&yes("/meta/handshake")),
        "Subscribe" => asked.say(&yes("/meta/subscribe")),
        _ => asked.fail(refused(401)),
    })
    .await;
    assert!(matches!(error, Error::CredentialRefused(_)), "{error:?}");
    assert!(took < PATIENCE, "{took:?}");
    server.quiet().await;
}

/// Who asks to be left alone for a while is, whatever was asked of it.
#[tokio::test(start_paused = true)]
async fn a_retry_after_is_kept_where_the_streams_have_the_patience() {
    let wait = Duration::from_secs(9);
    let table = [
        busy(wait),
        throttled(Some(wait)),
        Error::Login(login_throttled(Some(wait))),
    ];
    for error in table {
        for asked in ["Handshake", "Subscribe", "Connect"] {
            let mut server = Server::new();
            let _consumer = server.hub.consume(Filter::All);
            let (request, mut held) = server.up_to(asked).await;
            let before = Instant::now();
            request.fail(error.clone());
            let mut next = server.next().await;
            if asked == "Connect" && next.name == "Subscribe" {
                held = Some(next);
                next = server.next().await;
            }
            assert!(
                before.elapsed() >= wait,
                "{asked}: {} for {error}",
                next.name
            );
            drop(held);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_kept_once() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    connect.fail(busy(Duration::from_secs(9)));
    let connect = server.expect("Connect").await;
    let before = Instant::now();
    connect.say(&json!([{"channel": "/meta/connect", "successful": false,
        "advice": {"reconnect": "handshake"}}]));
    server.expect("Handshake").await;
    assert!(before.elapsed() < Duration::from_secs(9));
}

/// As by a node that is on its way in or out.
#[tokio::test(start_paused = true)]
async fn what_worked_once_may_be_refused_for_a_while() {
    for worked in [false, true] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        if worked {
            server.subscribed(false).await.say(&yes("/meta/connect"));
            server.expect("Connect").await.fail(refused(403));
        }
        server.expect("Handshake").await.fail(unknown_path());
        let told = tokio::time::timeout(LONGEST_REST, end(&consumer)).await;
        assert_eq!(told.is_err(), worked, "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_patience_is_told_at_once() {
    for (worked, patience) in [(false, PATIENCE_AT_FIRST), (true, PATIENCE)] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        let request = match worked {
            true => server.subscribed(false).await,
            false => server.expect("Handshake").await,
        };
        request.fail(busy(patience));
        let (error, took) = borne(&mut server, &consumer, |asked| asked.fail(lost())).await;
        assert!(matches!(error, Error::Busy { .. }), "{error}");
        assert_eq!(took, Duration::ZERO);
    }
}

/// Who has just opened a stream does not wait for as long again as one request may take.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_at_first_is_told_in_time() {
    for silent in ["Handshake", "Subscribe"] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        let (error, took) = borne(&mut server, &consumer, |asked| match asked.name {
            "Handshake" if silent != "Handshake" => asked.say(&yes("/meta/handshake")),
            _ => {
                tokio::spawn(async move {
                    sleep(asked.patience).await;
                    asked.fail(timed_out());
                });
            }
        })
        .await;
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
        assert_eq!(took, PATIENCE_AT_FIRST, "{silent}");
    }
}

/// As where a balancer sends the connects to another node than the handshake.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_forgotten_before_it_is_subscribed_again_and_again_is_told() {
    for (worked, patience) in [(false, PATIENCE_AT_FIRST), (true, PATIENCE)] {
        let mut server = Server::new();
        let consumer = server.hub.consume(Filter::All);
        if worked {
            server.subscribed(false).await.say(&yes("/meta/connect"));
        }
        let held = std::cell::RefCell::new(Vec::new());
        let (error, took) = borne(&mut server, &consumer, |asked| match asked.name {
            "Handshake" => asked.say(&yes("/meta/handshake")),
            "Subscribe" => held.borrow_mut().push(asked),
            _ => asked.say(&json!([{"channel": "/meta/connect", "successful": false,
                "error": "402::Unknown client", "advice": {"reconnect": "handshake"}}])),
        })
        .await;
        assert!(matches!(error, Error::Lost { .. }), "{error:?}");
        assert!(
            took >= patience && took < patience + LONGEST_REST,
            "{took:?}"
        );
        assert!(!server.hub.is_subscribed());
    }
}

/// Whoever comes while a session that had worked is in trouble waits no longer than who comes at its
/// beginning.
#[tokio::test(start_paused = true)]
async fn who_comes_in_the_midst_of_trouble_is_told_as_soon_as_at_the_beginning() {
    let mut server = Server::new();
    let _older = server.hub.consume(Filter::All);
    server.subscribed(false).await.say(&yes("/meta/connect"));
    server.expect("Connect").await.fail(refused(403));
    server.expect("Handshake").await.fail(lost());
    let newer = server.hub.consume(Filter::All);
    let start = Instant::now();
    let failing = async {
        loop {
            server.next().await.fail(lost());
        }
    };
    let told = tokio::select! {
        told = newer.snapshot(0, PATIENCE_AT_FIRST) => told,
        () = failing => unreachable!(),
    };
    assert_eq!(told.unwrap_err().error.label(), "lost");
    assert_eq!(start.elapsed(), PATIENCE_AT_FIRST);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_subscribed_lets_others_begin() {
    let mut server = Server::new();
    let _consumer = server.hub.consume(Filter::All);
    let _connect = server.subscribed(false).await;
    assert!(server.hub.may_begin().now_or_never().is_some());
}

/// Nor does one whose session has to wait until others have begun.
#[tokio::test(start_paused = true)]
async fn who_comes_while_too_many_sessions_begin_is_told_in_time() {
    let mut server = Server::new();
    let earlier = server.hub.consume(Filter::All);
    server.expect("Handshake").await.fail(unknown_path());
    assert_eq!(end(&earlier).await.label(), "refused");
    sleep(LEAST_APART).await;
    let _first = server.hub.may_begin().await;
    let consumer = server.hub.consume(Filter::All);
    let start = Instant::now();
    let told = consumer.snapshot(0, PATIENCE_AT_FIRST);
    let told = tokio::time::timeout(PATIENCE, told).await;
    let error = told.expect("not told").unwrap_err().error;
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert_eq!(start.elapsed(), PATIENCE_AT_FIRST);
    assert!(server.requests.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn it_lingers_for_who_comes_back_and_then_says_goodbye() {
    let mut server = Server::new();
    let first = server.hub.consume(Filter::All);
    let connect = server.subscribed(false).await;
    drop(first);
    advance(Duration::from_secs(59)).await;
    let second = server.hub.consume(Filter::All);
    tokio::task::yield_now().await;
    advance(Duration::from_secs(59)).await;
    assert!(server.requests.try_recv().is_err(), "it was needed");
    assert_eq!(
        owed(&second).await,
        ["missed"],
        "the past is missed, no more"
    );
    drop(second);
    let goodbye = server.expect("Disconnect").await;
    assert_eq!(goodbye.client(), "c1");
    goodbye.say(&yes("/meta/disconnect"));
    server.quiet().await;
    assert!(!server.hub.is_subscribed());
    drop(connect);
    let _third = server.hub.consume(Filter::All);
    server.expect("Handshake").await;
}

/// Between the end of its wait and its own.
#[tokio::test(start_paused = true)]
async fn a_session_does_not_stop_while_somebody_consumes() {
    let server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    assert!(!server.hub.may_stop());
    drop(consumer);
    assert!(server.hub.may_stop());
}

#[tokio::test(start_paused = true)]
async fn a_closing_gateway_does_not_linger() {
    let mut server = Server::new();
    let consumer = server.hub.consume(Filter::All);
    let _connect = server.subscribed(false).await;
    server.lifecycle.closing.cancel();
    let before = Instant::now();
    drop(consumer);
    server
        .expect("Disconnect")
        .await
        .say(&yes("/meta/disconnect"));
    server.lifecycle.tasks.close();
    server.lifecycle.tasks.wait().await;
    assert!(before.elapsed() < GOODBYE);
}
