//! WatchSessions over the wire: a snapshot first, then every notification in its order and as a
//! typed message, for as long as the caller wants.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use serde_json::{Map, json};
use switchboard::pb::sessions_snapshot::Reason;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;
use switchboard::pb::{AttachUserDataRequest, DeleteUserDataRequest, UpdateUserDataRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, Participant};
use switchboard::upstream::secret::Secret;
use tokio::sync::Notify;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::support::calls::Call;
use crate::support::untimed::{self, within};
use crate::support::vendor::{Seen, Vendor, json as answer};
use crate::support::verdict::{pushback, wrong_fields};
use crate::support::watch::{in_time, total, until};
use crate::support::watcher::{Watcher, brisk, next_notification, request, session, told, value};
use crate::support::{self, Gateway, SESSION, data, fact, get, number, reason, text};

/// A second one of the same agent, and one of another.
const SECOND: &str = "0071023821aec012";
const OTHER: &str = "0071023821aec021";

const CAPABILITIES: usize = 13;

fn update(value: &str) -> UpdateUserDataRequest {
    UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Topic", value)])),
        ..Default::default()
    }
}

/// What somebody else writes.
fn write(gateway: &Gateway, id: &str, topic: &str) {
    let user_data = Map::from_iter([("Topic".to_owned(), json!(topic))]);
    gateway.sandbox.genesys().set_user_data(id, user_data);
}

#[tokio::test]
async fn a_snapshot_and_then_what_happens() {
    let gateway = Gateway::start().await;
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    let snapshot = watcher.snapshot().await;
    assert_eq!(snapshot.reason(), Reason::Started);
    let ids: Vec<_> = snapshot.sessions.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, [SESSION, SECOND]);
    for value in ["one", "two", "three"] {
        gateway.sms().update_user_data(update(value)).await.unwrap();
    }
    for value in ["one", "two", "three"] {
        let notification = watcher.notification().await;
        assert_eq!(notification.notification_type, "PropertiesUpdated");
        assert_eq!(notification.session.as_ref().unwrap().id, SESSION);
        assert_eq!(told(&notification, "Topic").as_deref(), Some(value));
    }
    assert_eq!(gateway.sandbox.genesys().contact_center_session_calls(), 0);
}

/// A new stream of a busy account has lost nothing, and is read for once.
#[tokio::test]
async fn what_happens_during_the_first_read_is_told_after_it() {
    let gateway = Gateway::start().await;
    let reads = || gateway.sandbox.journal().count("genesys", "ListSessions");
    let slow = Rule::new(Fault::Latency { ms: 500 }).operation("ListSessions");
    gateway.sandbox.faults().push(slow.after()).unwrap();
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    until("the read", || reads() == 1).await;
    for topic in ["one", "two"] {
        write(&gateway, SESSION, topic);
    }
    assert_eq!(watcher.snapshot().await.reason(), Reason::Started);
    for topic in ["one", "two"] {
        let told = told(&watcher.notification().await, "Topic");
        assert_eq!(told.as_deref(), Some(topic));
    }
    assert_eq!(reads(), 1);
}

#[tokio::test]
async fn each_documented_operation_is_told_as_a_typed_message() {
    let gateway = Gateway::start().await;
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    let mut sms = gateway.sms();
    let attach = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(Struct {
            fields: [
                ("UserData1".to_owned(), text("DATA1")),
                ("UserData2".to_owned(), number(123_456_789.0)),
            ]
            .into(),
        }),
        ..Default::default()
    };
    sms.attach_user_data(attach).await.unwrap();
    let update = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(Struct {
            fields: [
                ("UserData1".to_owned(), number(987_654_321.0)),
                ("UserData2".to_owned(), text("DATAUPDATE-@123")),
            ]
            .into(),
        }),
        ..Default::default()
    };
    sms.update_user_data(update).await.unwrap();
    let delete = DeleteUserDataRequest {
        session_id: SESSION.into(),
        keys: vec!["UserData1".into()],
        ..Default::default()
    };
    sms.delete_user_data(delete).await.unwrap();
    let expected = [
        (Some(text("DATA1")), Some(number(123_456_789.0))),
        (Some(number(987_654_321.0)), Some(text("DATAUPDATE-@123"))),
        (None, Some(text("DATAUPDATE-@123"))),
    ];
    let writes = gateway.sandbox.genesys().writes();
    for ((first, second), write) in expected.into_iter().zip(writes) {
        let told = watcher.notification().await;
        assert_eq!(told.message_type, "SMSsessionStateChangeMessage");
        assert_eq!(told.notification_type, "PropertiesUpdated");
        assert_eq!(told.reference_id, i64::try_from(write.reference_id).ok());
        assert_eq!(told.error_message, "");
        let session = told.session.unwrap();
        assert_eq!(
            (session.id.as_str(), session.state.as_str()),
            (SESSION, "Chatting")
        );
        assert_eq!(session.capabilities.len(), CAPABILITIES);
        assert_eq!(session.participants.len(), 2);
        assert_eq!(session.participants[0].nickname, "agent1");
        assert!(session.uri.ends_with(SESSION));
        let mut fields = session.user_data.unwrap().fields;
        assert_eq!(fields.remove("UserData1"), first);
        assert_eq!(fields.remove("UserData2"), second);
        // All the rest of it is told as well, in its kinds.
        let null = Value {
            kind: Some(Kind::NullValue(0)),
        };
        assert_eq!(fields["ContactId"], null);
        assert_eq!(fields["IdentifyCreateContact"], number(3.0));
        assert_eq!(fields["FirstName"], text("Ann"));
        assert_eq!(fields.len(), 5);
    }
}

#[tokio::test]
async fn integers_that_a_double_cannot_hold_are_told_as_strings() {
    let gateway = Gateway::start().await;
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    let large = json!({"Large": 9_007_199_254_740_993_i64, "Exact": 9_007_199_254_740_992_i64});
    let genesys = gateway.sandbox.genesys();
    genesys.set_user_data(SESSION, large.as_object().unwrap().clone());
    let session = watcher.notification().await.session.unwrap();
    let fields = session.user_data.unwrap().fields;
    assert_eq!(fields["Large"], text("9007199254740993"));
    assert_eq!(fields["Exact"], number(9_007_199_254_740_992.0));
}

#[tokio::test]
async fn what_is_told_without_user_data_does_not_mean_that_there_is_none() {
    let gateway = Gateway::start().await;
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    let genesys = gateway.sandbox.genesys();
    genesys.set_state(SESSION, "LeftChat");
    genesys.set_participants(
        SESSION,
        vec![Participant {
            r#type: "Agent".into(),
            nickname: "kim".into(),
            participant_id: "7".into(),
        }],
    );
    // An update of nothing at all says so.
    genesys.set_user_data(SESSION, Map::new());

    let changed = watcher.notification().await;
    assert_eq!(changed.notification_type, "StatusChange");
    assert_eq!(changed.reference_id, None);
    let session = changed.session.unwrap();
    assert_eq!(
        (session.state.as_str(), session.user_data),
        ("LeftChat", None)
    );
    let joined = watcher.notification().await;
    assert_eq!(joined.notification_type, "ParticipantsUpdated");
    let session = joined.session.unwrap();
    assert_eq!(session.participants[0].nickname, "kim");
    assert_eq!(session.participants[0].participant_id, "7");
    assert_eq!(session.user_data, None);
    let emptied = watcher.notification().await;
    assert_eq!(emptied.notification_type, "PropertiesUpdated");
    assert_eq!(emptied.session.unwrap().user_data, Some(Struct::default()));
}

#[tokio::test]
async fn a_write_that_failed_later_is_told_without_numbers_of_persons() {
    let gateway = Gateway::start().await;
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    let message = "backend lost +4915112345678 on the way".to_owned();
    next_notification(&gateway, Notification::Error { message });
    gateway.sms().update_user_data(update("one")).await.unwrap();
    let told = watcher.notification().await;
    assert_eq!(told.notification_type, "Error");
    assert_eq!(told.error_message, "backend lost *** on the way");
    assert_eq!(told.reference_id, Some(1));
    let session = told.session.unwrap();
    assert_eq!((session.id.as_str(), session.user_data), (SESSION, None));
}

#[tokio::test]
async fn only_the_sessions_that_were_asked_for_are_told() {
    let gateway = Gateway::start().await;
    let mut narrow = Watcher::open(&gateway, "", &[SECOND, "unknown"]).await;
    let mut wide = Watcher::started(&gateway, "", &[]).await;
    let snapshot = narrow.snapshot().await;
    let ids: Vec<_> = snapshot.sessions.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, [SECOND]);
    gateway.sandbox.genesys().add_session("agent1", "brand-new");
    for (id, topic) in [
        (SESSION, "a"),
        (SECOND, "b"),
        ("brand-new", "c"),
        (SECOND, "d"),
    ] {
        write(&gateway, id, topic);
    }
    for (id, topic) in [
        (SESSION, "a"),
        (SECOND, "b"),
        ("brand-new", "c"),
        (SECOND, "d"),
    ] {
        let told_wide = wide.notification().await;
        assert_eq!(told_wide.session.as_ref().unwrap().id, id);
        assert_eq!(told(&told_wide, "Topic").as_deref(), Some(topic));
    }
    for topic in ["b", "d"] {
        assert_eq!(
            told(&narrow.notification().await, "Topic").as_deref(),
            Some(topic)
        );
    }
}

#[tokio::test]
async fn all_watchers_of_an_account_share_one_cometd_session() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    genesys.set_notifications(brisk()).unwrap();
    let watchers = (0..40).map(|_| Watcher::started(&gateway, "", &[]));
    let mut watchers = join_all(watchers).await;
    for round in 0..20 {
        let topic = round.to_string();
        write(&gateway, SESSION, &topic);
        for watcher in &mut watchers {
            assert_eq!(
                told(&watcher.notification().await, "Topic"),
                Some(topic.clone())
            );
        }
    }
    assert_eq!(genesys.handshakes(), 1);
    assert_eq!(genesys.comet_clients().len(), 1);
    assert_eq!(genesys.comet_clients()[0].subscriptions, ["/v2/me/*"]);
    until("a connect is held", || {
        genesys.outstanding_connects("agent1") == 1
    })
    .await;
    assert_eq!(genesys.most_concurrent_connects(), 1);
    assert_eq!(gateway.sandbox.journal().count("genesys", "Subscribe"), 1);

    let mut other = Watcher::open(&gateway, "other", &[]).await;
    let snapshot = other.snapshot().await;
    let ids: Vec<_> = snapshot.sessions.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, [OTHER]);
    write(&gateway, OTHER, "theirs");
    write(&gateway, SESSION, "ours");
    assert_eq!(
        told(&other.notification().await, "Topic").as_deref(),
        Some("theirs")
    );
    let ours = watchers[0].notification().await;
    assert_eq!(told(&ours, "Topic").as_deref(), Some("ours"));
    assert_eq!(genesys.handshakes(), 2);
    let agents: BTreeSet<_> = genesys
        .comet_clients()
        .into_iter()
        .map(|it| it.agent)
        .collect();
    assert_eq!(agents, ["agent1".to_owned(), "agent2".to_owned()].into());
    assert_eq!(genesys.most_concurrent_connects(), 1);
    assert_eq!(genesys.mixed_sessions(), 0);
    assert_eq!(genesys.contact_center_session_calls(), 0);
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_before_the_vendor_hears_of_it() {
    let gateway = Gateway::start().await;
    let mut sms = gateway.sms();
    let long = "x".repeat(129);
    let ids = ["fine", "", "..", ".", "a\u{7}b", &long];
    let status = sms.watch_sessions(request("", &ids)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status), "INVALID_FIELD");
    let expected = (1..6).map(|index| format!("session_ids[{index}]"));
    assert_eq!(wrong_fields(&status), expected.collect());

    let many = vec!["id"; 1025];
    let status = sms.watch_sessions(request("", &many)).await.unwrap_err();
    assert_eq!(wrong_fields(&status), ["session_ids".to_owned()].into());

    let status = sms
        .watch_sessions(request("nobody", &[]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status), "UNKNOWN_ACCOUNT");
    assert!(gateway.sandbox.journal().entries().is_empty());
    // At the bound it is served.
    let many = vec!["id"; 1024];
    let mut watcher = Watcher::started(&gateway, "", &many).await;
    write(&gateway, SESSION, "unheard");
    gateway.sandbox.genesys().add_session("agent1", "id");
    write(&gateway, "id", "heard");
    assert_eq!(
        told(&watcher.notification().await, "Topic").as_deref(),
        Some("heard")
    );
}

#[tokio::test]
async fn the_callers_deadline_ends_a_stream_and_the_gateways_own_do_not() {
    let gateway = Gateway::start_with(|config| {
        config.server.default_deadline = Duration::from_millis(300);
        config.server.max_deadline = Duration::from_millis(300);
    })
    .await;
    let mut lasting = Watcher::started(&gateway, "", &[]).await;
    let mut sms = untimed::sms(gateway.address).await;
    let asked = within(Duration::from_millis(900), request("", &[]));
    let mut ending = Watcher::of(sms.watch_sessions(asked).await.unwrap().into_inner());
    assert_eq!(ending.snapshot().await.reason(), Reason::Started);
    write(&gateway, SESSION, "one");
    assert_eq!(
        told(&ending.notification().await, "Topic").as_deref(),
        Some("one")
    );
    let status = ending.end().await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(reason(&status), "DEADLINE");
    // Three times the gateway's own bounds have passed.
    write(&gateway, SESSION, "two");
    for topic in ["one", "two"] {
        assert_eq!(
            told(&lasting.notification().await, "Topic").as_deref(),
            Some(topic)
        );
    }
}

#[tokio::test]
async fn an_open_stream_takes_no_place_of_a_call() {
    let gateway = Gateway::start_with(|config| {
        config.server.max_in_flight = 1;
        config.genesys.as_mut().unwrap().upstream.limit.in_flight = 1;
        config.genesys.as_mut().unwrap().upstream.limit.queue = 1;
    })
    .await;
    let mut watchers = Vec::new();
    for account in ["", "", "other"] {
        watchers.push(Watcher::started(&gateway, account, &[]).await);
    }
    for topic in ["one", "two"] {
        gateway.sms().update_user_data(update(topic)).await.unwrap();
        for watcher in &mut watchers[..2] {
            assert_eq!(
                told(&watcher.notification().await, "Topic").as_deref(),
                Some(topic)
            );
        }
    }
}

#[tokio::test]
async fn refused_credentials_end_a_stream_at_its_start() {
    let gateway = Gateway::start_with(|config| {
        let accounts = &mut config.genesys.as_mut().unwrap().accounts;
        accounts.get_mut("default").unwrap().password = Secret::fixed("wrong");
    })
    .await;
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    let status = watcher.end().await;
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_CREDENTIAL_REJECTED");
    // The other account has nothing to do with it.
    Watcher::started(&gateway, "other", &[]).await;
    assert_eq!(gateway.sandbox.journal().count("genesys", "Login"), 2);
}

/// What the stream's head has said already, and the access log says, too.
#[tokio::test]
async fn reads_for_all_who_watch_are_no_attempts_of_a_stream() {
    let gateway = Gateway::start().await;
    let denied = Rule::new(Fault::status(403)).operation("ListSessions");
    gateway.sandbox.faults().push(denied).unwrap();
    let status = Watcher::open(&gateway, "", &[]).await.end().await;
    assert_eq!(reason(&status), "VENDOR_DENIED");
    assert_eq!(fact(&status, "vendorStatus"), "403");
    assert_eq!(fact(&status, "attempts"), "0");
}

/// The gateway's own patience ends it, and no deadline of the caller: it is to open another one.
#[tokio::test]
async fn a_vendor_that_does_not_answer_ends_a_stream_as_unavailable() {
    let gateway = Gateway::start().await;
    let hang = Rule::new(Fault::Hang).operation("Handshake");
    gateway.sandbox.faults().push(hang).unwrap();
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    let end = async {
        loop {
            if let Err(status) = watcher.whenever().await {
                break status;
            }
        }
    };
    let bound = Duration::from_secs(60);
    let status = tokio::time::timeout(bound, end).await.expect("an end");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_UNAVAILABLE");
}

#[tokio::test]
async fn refused_credentials_end_a_stream_in_its_midst() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    genesys.set_notifications(brisk()).unwrap();
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    genesys.add_agent("agent1", "changed");
    genesys.expire_sessions();
    let status = watcher.end().await;
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_CREDENTIAL_REJECTED");
    // One more login was tried, and no storm of them.
    assert_eq!(gateway.sandbox.journal().count("genesys", "Login"), 2);
    assert_eq!(genesys.contact_center_session_calls(), 0);
}

#[tokio::test]
async fn a_drain_ends_streams_at_once_and_is_not_kept_by_them() {
    let mut gateway = Gateway::start_with(|config| {
        config.server.drain_timeout = Duration::from_secs(3600);
    })
    .await;
    let mut watchers = Vec::new();
    for account in ["", "", "other"] {
        watchers.push(Watcher::started(&gateway, account, &[]).await);
    }
    gateway.terminate();
    for watcher in &mut watchers {
        let status = watcher.end().await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(reason(&status), "GATEWAY_DRAINING");
        assert_eq!(pushback(&status), Some("1"));
    }
    in_time("the drain", gateway.ended()).await.unwrap();
    // The server need not wait for clients that will not come again.
    let journal = gateway.sandbox.journal();
    assert_eq!(journal.count("genesys", "Disconnect"), 2);
    assert!(gateway.sandbox.genesys().comet_clients().is_empty());
    assert_eq!(gateway.sandbox.genesys().contact_center_session_calls(), 0);
}

#[tokio::test]
async fn a_caller_that_vanishes_is_forgotten_and_a_new_one_finds_the_session_open() {
    let gateway = Gateway::start().await;
    let open = |gateway: &Gateway| total(&gateway.metrics, "switchboard_watch_streams", &[]);
    let mut lasting = Watcher::started(&gateway, "", &[]).await;
    for _ in 0..10 {
        let gone = Watcher::started(&gateway, "", &[]).await;
        until("the stream is counted", || open(&gateway) == 2).await;
        drop(gone);
        until("the stream is given back", || open(&gateway) == 1).await;
    }
    write(&gateway, SESSION, "one");
    assert_eq!(
        told(&lasting.notification().await, "Topic").as_deref(),
        Some("one")
    );
    drop(lasting);
    until("all are given back", || open(&gateway) == 0).await;
    let mut back = Watcher::started(&gateway, "", &[]).await;
    write(&gateway, SESSION, "two");
    assert_eq!(
        told(&back.notification().await, "Topic").as_deref(),
        Some("two")
    );
    assert_eq!(gateway.sandbox.genesys().handshakes(), 1);
}

#[tokio::test]
async fn one_that_reads_too_slowly_gets_a_snapshot_and_nobody_else_notices() {
    const UPDATES: usize = 300;
    let gateway = Gateway::start().await;
    let mut fast = Watcher::started(&gateway, "", &[]).await;
    // As little as HTTP/2 has, so that the window is soon full.
    let narrow = Endpoint::from_shared(format!("http://{}", gateway.address)).unwrap();
    let narrow = narrow.initial_stream_window_size(65_535).connect_lazy();
    let mut slow = SmsSessionDataClient::new(narrow);
    let slow = slow.watch_sessions(request("", &[])).await.unwrap();
    let mut slow = Watcher::of(slow.into_inner());
    assert_eq!(slow.snapshot().await.reason(), Reason::Started);

    let ballast = "x".repeat(20_000);
    for round in 0..UPDATES {
        let user_data = json!({"Round": round.to_string(), "Ballast": ballast});
        let user_data = user_data.as_object().unwrap().clone();
        gateway.sandbox.genesys().set_user_data(SESSION, user_data);
        assert_eq!(
            told(&fast.notification().await, "Round"),
            Some(round.to_string())
        );
    }
    // First what it had been sent in time, without a hole; then where things stand.
    let mut next = 0;
    let snapshot = loop {
        use switchboard::pb::watch_sessions_response::Event;
        match slow.next().await.unwrap().unwrap() {
            Event::Snapshot(snapshot) => break snapshot,
            Event::Notification(notification) => {
                assert_eq!(told(&notification, "Round"), Some(next.to_string()));
                next += 1;
            }
        }
    };
    assert!(next < UPDATES, "nothing was missed");
    assert_eq!(snapshot.reason(), Reason::Gap);
    let last = (UPDATES - 1).to_string();
    assert_eq!(value(session(&snapshot, SESSION), "Round"), Some(last));
    let overflows = total(
        &gateway.metrics,
        "switchboard_notification_overflows_total",
        &[],
    );
    assert_eq!(overflows, 1);
    write(&gateway, SESSION, "on it goes");
    for watcher in [&mut slow, &mut fast] {
        let told = told(&watcher.notification().await, "Topic");
        assert_eq!(told.as_deref(), Some("on it goes"));
    }
    assert_eq!(gateway.sandbox.genesys().handshakes(), 1);
}

/// A CometD server that says what it is given to say, in its own dialect, once it is asked to: what
/// comes before the first snapshot, that has told.
async fn dialect(events: &'static str) -> (Vendor, Arc<Notify>) {
    let asked = Arc::new(Notify::new());
    let speaks = Arc::clone(&asked);
    let vendor = Vendor::start(move |seen: Seen| speak(seen, events, Arc::clone(&speaks)));
    (vendor.await, asked)
}

async fn speak(seen: Seen, events: &'static str, asked: Arc<Notify>) -> Response<Bytes> {
    if seen.target == "/api/v2/me/smssessions?fields=*" {
        return answer(r#"{"statusCode":0,"smssessions":[]}"#);
    }
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    match body[0]["channel"].as_str() {
        Some("/meta/handshake") => {
            answer(r#"{"channel":"/meta/handshake","successful":true,"clientId":"c1"}"#)
        }
        Some("/meta/subscribe") => subscribed(&body),
        Some("/meta/connect") if body[0].get("ext").is_some() => unreachable!("no ack"),
        // The first one brings the events, and the next is held.
        Some("/meta/connect") if body[0]["id"].as_str() == Some("2") => {
            asked.notified().await;
            answer(events)
        }
        _ => std::future::pending().await,
    }
}

fn subscribed(body: &serde_json::Value) -> Response<Bytes> {
    let replies = body.as_array().unwrap().iter().map(|message| {
        json!({
            "channel": "/meta/subscribe",
            "successful": true,
            "subscription": message["subscription"],
        })
    });
    answer(serde_json::Value::from_iter(replies).to_string())
}

#[tokio::test]
async fn the_configured_path_and_channels_are_the_ones_that_are_used() {
    let (vendor, _) = dialect("[]").await;
    let gateway = Gateway::start_with(|config| {
        support::relocate(config, &vendor.url);
        let notifications = &mut config.genesys.as_mut().unwrap().notifications;
        notifications.path = "/gws/comet?tenant=7".to_owned();
        notifications.channels = vec!["/v2/me/smssessions".to_owned(), "/**".to_owned()];
    })
    .await;
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    assert!(watcher.snapshot().await.sessions.is_empty());
    let comet: Vec<_> = vendor.calls();
    let comet: Vec<_> = comet
        .iter()
        .filter(|seen| seen.target == "/gws/comet?tenant=7")
        .collect();
    let first: serde_json::Value = serde_json::from_slice(&comet[0].body).unwrap();
    assert_eq!(first.as_array().unwrap().len(), 1, "a handshake goes alone");
    assert_eq!(
        first[0]["supportedConnectionTypes"],
        json!(["long-polling"])
    );
    let subscriptions = comet.iter().find_map(|seen| {
        let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
        (body[0]["channel"] == "/meta/subscribe").then_some(body)
    });
    let subscriptions = subscriptions.expect("a subscription");
    let channels = subscriptions.as_array().unwrap().iter();
    let channels: Vec<_> = channels
        .map(|message| message["subscription"].clone())
        .collect();
    assert_eq!(channels, [json!("/v2/me/smssessions"), json!("/**")]);
    // Whoever looks for a wrong path has to see which one is asked for.
    let asked = |path| {
        let requests = "http_client_request_duration_seconds_count";
        total(&gateway.metrics, requests, &[("url_template", path)])
    };
    assert!(asked("/gws/comet") >= 2, "a handshake and a subscription");
    assert_eq!(asked("/api/v2/notifications"), 0);
}

#[tokio::test]
async fn what_other_servers_say_in_other_words_is_understood() {
    let (vendor, speak) = dialect(
        r#"[
        {"channel":"/v2/me/calls","data":{"messageType":"CallStateChanged","call":{"id":"v"}}},
        {"channel":"/v2/me/smssessions","data":{"messageType":"MessageLogUpdated",
            "notificationType":"NewMessages","smsession":{"id":"s1"}}},
        {"channel":"/v2/me/messages","data":{"messageType":"Novelty","notificationType":"Unheard",
            "referenceId":"85","smssession":{"id":"s1","capabilities":["InFocus"]}}},
        {"channel":"/meta/connect","successful":true}]"#,
    )
    .await;
    let gateway = Gateway::start_with(|config| support::relocate(config, &vendor.url)).await;
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    speak.notify_one();
    let first = watcher.notification().await;
    assert_eq!(first.message_type, "MessageLogUpdated");
    assert_eq!(first.notification_type, "NewMessages");
    assert_eq!(first.session.unwrap().id, "s1");
    let second = watcher.notification().await;
    assert_eq!(second.notification_type, "Unheard");
    assert_eq!(second.session.unwrap().capabilities, ["InFocus"]);
}

#[tokio::test]
async fn an_update_that_tells_no_user_data_is_followed_by_a_read() {
    let (vendor, speak) = dialect(
        r#"[{"channel":"/v2/me/smssessions","data":{"messageType":"SMSsessionStateChangeMessage",
            "notificationType":"PropertiesUpdated","referenceId":15,"smssession":{"id":"s1"}}},
        {"channel":"/meta/connect","successful":true}]"#,
    )
    .await;
    let gateway = Gateway::start_with(|config| support::relocate(config, &vendor.url)).await;
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    speak.notify_one();
    let told = watcher.notification().await;
    assert_eq!(told.reference_id, Some(15));
    assert_eq!(told.session.unwrap().user_data, None);
    assert!(watcher.gap().await.sessions.is_empty());
    // Nothing was lost, whatever an operator is told of by this.
    let gaps = "switchboard_notification_gaps_total";
    assert_eq!(total(&gateway.metrics, gaps, &[]), 0);
}

#[tokio::test]
async fn a_path_where_nothing_is_served_is_the_operators_to_correct() {
    let gateway = Gateway::start_with(|config| {
        config.genesys.as_mut().unwrap().notifications.path = "/api/v2/nowhere".to_owned();
    })
    .await;
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    let status = watcher.end().await;
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_MISCONFIGURED");
    assert_eq!(fact(&status, "vendorStatus"), "404");
}

#[tokio::test]
async fn a_channel_that_is_refused_is_the_operators_to_correct() {
    let gateway = Gateway::start_with(|config| {
        let notifications = &mut config.genesys.as_mut().unwrap().notifications;
        notifications.channels = vec!["/meta/*".to_owned()];
    })
    .await;
    let mut watcher = Watcher::open(&gateway, "", &[]).await;
    let status = watcher.end().await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(reason(&status), "VENDOR_DENIED");
    assert!(
        status.message().contains("genesys.notifications.channels"),
        "{status:?}"
    );
    // Hardly ever is a session there to be counted while it begins; that it is ended is.
    let failures = "switchboard_notification_failures_total";
    let failed = |account| total(&gateway.metrics, failures, &[("account", account)]);
    assert_eq!(failed("default"), 1);
    // Whatever it was may be mended by now; after that the vendor is not asked all the time.
    for _ in 0..2 {
        let again = Watcher::open(&gateway, "", &[]).await.end().await;
        let denied = (Code::PermissionDenied, "VENDOR_DENIED".to_owned());
        assert_eq!((again.code(), reason(&again)), denied);
        assert_eq!(failed("default"), 2);
        let asked = gateway.sandbox.journal().count("genesys", "Subscribe");
        assert_eq!(asked, 2);
    }
    let text = gateway.metrics.text();
    let before_the_first = format!("{failures}{{account=\"other\"}} 0");
    assert!(text.lines().any(|line| line == before_the_first), "{text}");
}

#[tokio::test]
async fn what_goes_on_can_be_seen_in_the_metrics() {
    let gateway = Gateway::start().await;
    let genesys = Arc::clone(gateway.sandbox.genesys());
    genesys.set_notifications(brisk()).unwrap();
    let seen = |name: &str, labels: &[(&str, &str)]| total(&gateway.metrics, name, labels);
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    let sessions = "switchboard_notification_sessions";
    assert_eq!(seen(sessions, &[("state", "subscribed")]), 1);
    assert_eq!(seen(sessions, &[("state", "connecting")]), 0);
    assert_eq!(seen("switchboard_watch_streams", &[]), 1);
    write(&gateway, SESSION, "one");
    watcher.notification().await;
    assert_eq!(
        seen("switchboard_notification_delivery_seconds_count", &[]),
        1
    );
    assert_eq!(seen("switchboard_notification_gaps_total", &[]), 0);
    let confirmed = UpdateUserDataRequest {
        confirmation: switchboard::pb::Confirmation::Confirmed.into(),
        ..update("two")
    };
    gateway.sms().update_user_data(confirmed).await.unwrap();
    let confirmations = "switchboard_confirmations_total";
    assert_eq!(seen(confirmations, &[("how", "notification")]), 1);
    watcher.notification().await;

    genesys.drop_clients();
    watcher.gap().await;
    assert_eq!(seen("switchboard_notification_gaps_total", &[]), 1);
    let reconnects = "switchboard_notification_reconnects_total";
    assert_eq!(seen(reconnects, &[("reason", "advice")]), 1);
    assert_eq!(seen(sessions, &[("state", "subscribed")]), 1);
    drop(watcher);
    until("the stream is given back", || {
        seen("switchboard_watch_streams", &[]) == 0
    })
    .await;
}

#[tokio::test]
async fn nothing_that_is_watched_logs_the_agent_in_or_out() {
    let gateway = Gateway::start().await;
    let genesys = gateway.sandbox.genesys();
    genesys.set_notifications(brisk()).unwrap();
    let mut watcher = Watcher::started(&gateway, "", &[]).await;
    Call::Update.send(&gateway).await.unwrap();
    watcher.notification().await;
    genesys.fail_over();
    watcher.gap().await;
    let read = get();
    gateway.sms().get_session(read).await.unwrap();
    assert_eq!(genesys.contact_center_session_calls(), 0);
    assert_eq!(genesys.most_concurrent_connects(), 1);
}
