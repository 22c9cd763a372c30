//! Each way in which notifications get lost between the vendor and the gateway: a watcher is told
//! of the gap, before anything that is newer, and of none where nothing was lost.

use serde_json::{Map, json};
use switchboard::config::Config;
use switchboard::pb::watch_sessions_response::Event;
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationPlan};
use tokio::io::{copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tonic::Code;

use crate::support::watch::{in_time, total, until};
use crate::support::watcher::{Watcher, brisk, forgetful, next_notification, session, told, value};
use crate::support::{Gateway, SESSION, impatient, reason};

/// Connects in a row.
const LOST: u32 = 3;

/// What somebody else writes.
fn write(gateway: &Gateway, topic: &str) {
    let user_data = Map::from_iter([("Topic".to_owned(), json!(topic))]);
    gateway.sandbox.genesys().set_user_data(SESSION, user_data);
}

fn push(gateway: &Gateway, rule: Rule) {
    gateway.sandbox.faults().push(rule).unwrap();
}

/// Until the vendor holds a connect: from here on faults meet the next one.
async fn holds(gateway: &Gateway) {
    let genesys = gateway.sandbox.genesys();
    until("a connect is held", || {
        genesys.outstanding_connects("agent1") == 1
    })
    .await;
}

/// What the watcher knows of the topic, once it knows this.
async fn learns(watcher: &mut Watcher, topic: &str) {
    let learning = async {
        loop {
            let seen = match watcher.next().await.unwrap().unwrap() {
                Event::Snapshot(snapshot) => value(session(&snapshot, SESSION), "Topic"),
                Event::Notification(notification) => told(&notification, "Topic"),
            };
            if seen.as_deref() == Some(topic) {
                return;
            }
        }
    };
    in_time("the topic", learning).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_without_acknowledgement_is_a_gap() {
    for fault in [
        Fault::Reset,
        Fault::CutBody,
        Fault::Garbage,
        Fault::status(502),
    ] {
        let gateway = Gateway::start().await;
        gateway
            .sandbox
            .genesys()
            .set_notifications(forgetful())
            .unwrap();
        let mut watcher = Watcher::started(&gateway, "", &[]).await;
        push(
            &gateway,
            Rule::new(fault).operation("Connect").times(1).after(),
        );
        holds(&gateway).await;
        write(&gateway, "lost");
        learns(&mut watcher, "lost").await;
        write(&gateway, "heard");
        learns(&mut watcher, "heard").await;
        // The client stays the same: the server has kept what came later.
        assert_eq!(gateway.sandbox.genesys().handshakes(), 1);
    }
}

/// However many connects are lost in it: who could not be told before is told once.
#[tokio::test]
async fn an_outage_of_reads_as_well_is_one_gap() {
    let gateway = Gateway::start_with(|config| {
        impatient(config);
        config.genesys.as_mut().unwrap().upstream.breaker.enabled = false;
    })
    .await;
    let genesys = gateway.sandbox.genesys();
    let plan = NotificationPlan {
        max_interval_ms: 60_000,
        ..forgetful()
    };
    genesys.set_notifications(plan).unwrap();
    let asked = |operation| gateway.sandbox.journal().count("genesys", operation);
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    holds(&gateway).await;
    push(&gateway, Rule::new(Fault::Reset).operation("ListSessions"));
    let down = Rule::new(Fault::Reset).operation("Connect");
    push(&gateway, down.times(LOST));
    let before = asked("Connect");
    write(&gateway, "before it");
    assert_eq!(
        told(&watcher.notification().await, "Topic").as_deref(),
        Some("before it")
    );
    until("connects are lost, and reads", || {
        asked("Connect") >= before + u64::from(LOST) && asked("ListSessions") > 1
    })
    .await;
    write(&gateway, "lost");
    // Events flow again before the sessions can be read.
    holds(&gateway).await;
    gateway.sandbox.faults().clear();
    let snapshot = watcher.gap().await;
    assert_eq!(
        value(session(&snapshot, SESSION), "Topic").as_deref(),
        Some("lost")
    );
    write(&gateway, "heard");
    assert_eq!(
        told(&watcher.notification().await, "Topic").as_deref(),
        Some("heard")
    );
    let gaps = total(&gateway.metrics, "switchboard_notification_gaps_total", &[]);
    assert_eq!((gaps, genesys.handshakes()), (u64::from(LOST), 1));
}

#[tokio::test]
async fn an_answer_that_is_lost_with_acknowledgement_comes_again_and_is_no_gap() {
    for fault in [
        Fault::Reset,
        Fault::CutBody,
        Fault::Garbage,
        Fault::status(502),
    ] {
        let gateway = Gateway::start().await;
        let genesys = gateway.sandbox.genesys();
        genesys.set_notifications(brisk()).unwrap();
        let mut watcher = Watcher::started(&gateway, "", &[]).await;
        // A held connect has drawn its fault already: the one after it does.
        holds(&gateway).await;
        push(
            &gateway,
            Rule::new(fault).operation("Connect").times(1).after(),
        );
        for topic in ["one", "two", "three", "four"] {
            write(&gateway, topic);
            let told = told(&watcher.notification().await, "Topic");
            assert_eq!(told.as_deref(), Some(topic));
        }
        assert_eq!(genesys.handshakes(), 1);
        let gaps = total(&gateway.metrics, "switchboard_notification_gaps_total", &[]);
        assert_eq!(gaps, 0);
    }
}

#[tokio::test]
async fn what_is_sent_twice_is_told_once() {
    let gateway = Gateway::start().await;
    gateway
        .sandbox
        .genesys()
        .set_notifications(forgetful())
        .unwrap();
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    for topic in ["one", "two", "three"] {
        next_notification(&gateway, Notification::Twice);
        let update = switchboard::pb::UpdateUserDataRequest {
            session_id: SESSION.into(),
            user_data: Some(crate::support::data(&[("Topic", topic)])),
            ..Default::default()
        };
        gateway.sms().update_user_data(update).await.unwrap();
    }
    for topic in ["one", "two", "three"] {
        let told = told(&watcher.notification().await, "Topic");
        assert_eq!(told.as_deref(), Some(topic));
    }
}

#[tokio::test]
async fn after_a_new_handshake_nothing_newer_is_told_before_the_gap() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    genesys.set_notifications(brisk()).unwrap();
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    // The subscription holds long before its answer is there, and events come by the connect.
    let late = Rule::new(Fault::Latency { ms: 400 }).operation("Subscribe");
    push(&gateway, late.times(1).after());
    genesys.drop_clients();
    write(&gateway, "missed");
    until("the new client listens", || {
        let clients = genesys.comet_clients();
        clients
            .iter()
            .any(|it| it.outstanding == 1 && !it.subscriptions.is_empty())
    })
    .await;
    write(&gateway, "newer");
    let snapshot = watcher.gap().await;
    assert_eq!(
        value(session(&snapshot, SESSION), "Topic").as_deref(),
        Some("newer")
    );
    write(&gateway, "newest");
    let told = told(&watcher.notification().await, "Topic");
    assert_eq!(told.as_deref(), Some("newest"));
    assert_eq!(genesys.handshakes(), 2);
}

#[tokio::test]
async fn a_client_that_is_forgotten_before_it_subscribes_begins_anew() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    genesys.set_notifications(brisk()).unwrap();
    let late = Rule::new(Fault::Latency { ms: 200 });
    push(&gateway, late.operation("Subscribe").times(1));
    // Its connects must not tell of it either.
    push(
        &gateway,
        Rule::new(Fault::Hang).operation("Connect").times(1),
    );
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    until("there is a client", || genesys.handshakes() == 1).await;
    genesys.drop_clients();
    watcher.snapshot().await;
    assert_eq!(genesys.handshakes(), 2);
    write(&gateway, "heard");
    learns(&mut watcher, "heard").await;
}

#[tokio::test]
async fn credentials_that_are_lost_twice_in_a_row_are_had_back() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    genesys.set_notifications(brisk()).unwrap();
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    // The node fails over, and the one that takes its place is soon replaced as well.
    push(
        &gateway,
        Rule::new(Fault::ForbiddenToken)
            .operation("Handshake")
            .times(1),
    );
    genesys.fail_over();
    write(&gateway, "missed");
    learns(&mut watcher, "missed").await;
    write(&gateway, "heard");
    learns(&mut watcher, "heard").await;
    assert_eq!(genesys.contact_center_session_calls(), 0);
}

#[tokio::test]
async fn what_an_abandoned_connection_swallows_is_a_gap() {
    let mut relay = None;
    let gateway = Gateway::start_with(|config| relay = Some(Relay::before(config))).await;
    let relay = relay.unwrap();
    let genesys = gateway.sandbox.genesys();
    genesys
        .set_notifications(NotificationPlan {
            ack: false,
            ..Default::default()
        })
        .unwrap();
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    holds(&gateway).await;
    relay.cut();
    // The gateway knows of the cut and has read already; the vendor still holds the old connect
    // and sends this into the void.
    watcher.gap().await;
    write(&gateway, "swallowed");
    learns(&mut watcher, "swallowed").await;
    assert_eq!(genesys.handshakes(), 1);
}

#[tokio::test]
async fn notifications_that_cannot_be_had_at_first_end_the_stream() {
    let gateway = Gateway::start().await;
    push(
        &gateway,
        Rule::new(Fault::status(503)).operation("Handshake"),
    );
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    let status = watcher.end().await;
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
    gateway.sandbox.faults().clear();
    Watcher::started(&gateway, "", &[]).await;
}

/// Stands between the gateway and the vendor, and can fail as a balancer does: its clients lose
/// their connections, and the servers behind it do not hear of it.
struct Relay(watch::Sender<()>);

impl Relay {
    fn before(config: &mut Config) -> Relay {
        let genesys = config.genesys.as_mut().unwrap();
        let behind = genesys.base_url.socket_addrs(|| None).unwrap()[0];
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        genesys.base_url = format!("http://{address}").parse().unwrap();
        let (cut, cuts) = watch::channel(());
        let listener = TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(behind).await.unwrap();
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(carry(client, server, cuts));
            }
        });
        Relay(cut)
    }

    fn cut(&self) {
        self.0.send_replace(());
    }
}

async fn carry(client: TcpStream, server: TcpStream, mut cuts: watch::Receiver<()>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => return,
        _ = copy(&mut from_server, &mut to_client) => return,
        _ = cuts.changed() => drop((from_client, to_client)),
    }
    let _ = copy(&mut from_server, &mut sink()).await;
}
