//! Whatever goes wrong between the gateway and the vendor's notifications, and in whatever order:
//! a watcher is told everything once and in its order, or that something was missed, and in the
//! end its view is the vendor's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use prost_types::Struct;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use switchboard::pb::sessions_snapshot::Reason;
use switchboard::pb::watch_sessions_response::Event;
use switchboard::pb::{SessionNotification, SmsSession, UpdateUserDataRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys as vendor;
use switchboard::sandbox::genesys::{GENESYS_PASSWORD, Notification, NotificationRule};
use switchboard::upstream::secret::Secret;
use switchboard::vendors::genesys::config::Account;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use crate::support::watcher::{Watcher, brisk, forgetful};
use crate::support::{Gateway, data, impatient, reason, text};

/// Every account in every round is a sequence of its own: what befalls it is a matter of chance.
const GATEWAYS: usize = 5;
const ACCOUNTS: usize = 14;
const ROUNDS: usize = 3;

/// In one round, for each gateway and for each account.
const TROUBLES: usize = 12;
const WRITES: usize = 16;

/// So many writes of each account are told in each round's peace, one by one.
const FOLLOWED: usize = 3;

/// A gateway has had its time when its accounts have polled so often: for an idle machine a minute.
const PATIENCE: u64 = 3_000;

/// Nothing takes that long unless the gateway does not even poll.
const LONGEST: Duration = Duration::from_secs(300);

/// Streams are told of a trouble that lasts a little longer than this.
const LASTING: Duration = Duration::from_secs(9);

/// A smaller bound on answers than the vendor's would be, so that breaking it is cheap.
const MAX_ANSWER: u64 = 64 * 1024;

const OPERATIONS: [&str; 8] = [
    // Twice as often as the others: it is where events travel.
    "Connect",
    "Connect",
    "Handshake",
    "Subscribe",
    "ListSessions",
    "GetSession",
    "UpdateUserData",
    "Login",
];

/// What a watcher knows, and what was wrong with how it was told.
#[derive(Default)]
struct View {
    sessions: BTreeMap<String, SmsSession>,
    /// The vendor's number of the last write that was told since the last snapshot.
    last: Option<i64>,
    /// The highest one that was told on this stream.
    newest: i64,
    told: usize,
    gaps: usize,
    ends: usize,
    wrong: Vec<String>,
    /// When it was told something the last time; at first, when it began to listen.
    heard: Option<Instant>,
}

impl View {
    /// A new stream has told nothing yet.
    fn restart(&mut self) {
        (self.last, self.newest) = (None, 0);
        self.sessions.clear();
        self.heard.get_or_insert_with(Instant::now);
    }

    fn see(&mut self, event: Event) {
        self.heard = Some(Instant::now());
        match event {
            Event::Snapshot(snapshot) => {
                self.gaps += usize::from(snapshot.reason() == Reason::Gap);
                let sessions = snapshot.sessions.into_iter();
                self.sessions = sessions.map(|it| (it.id.clone(), it)).collect();
                self.last = None;
            }
            Event::Notification(notification) => self.hear(notification),
        }
    }

    /// Replaces what the notification names. The vendor counts an agent's writes, so a number
    /// that is left out was lost, and one that comes again was told twice.
    fn hear(&mut self, notification: SessionNotification) {
        self.told += 1;
        if let Some(reference) = notification.reference_id {
            let (last, newest) = (self.last.replace(reference), self.newest);
            if last.is_some_and(|last| reference != last + 1) || reference <= newest {
                let wrong = format!("{reference} after {last:?}, the newest was {newest}");
                self.wrong.push(wrong);
            }
            self.newest = newest.max(reference);
        }
        let told = notification.session.expect("a session");
        let known = self.sessions.entry(told.id.clone()).or_default();
        let user_data = told.user_data.clone().or(known.user_data.take());
        *known = SmsSession { user_data, ..told };
    }

    fn is(&self, theirs: &[vendor::SmsSession]) -> bool {
        let known = |it: &vendor::SmsSession| {
            let ours = self.sessions.get(&it.id);
            ours.is_some_and(|ours| same(ours, it))
        };
        theirs.len() == self.sessions.len() && theirs.iter().all(known)
    }
}

fn same(ours: &SmsSession, theirs: &vendor::SmsSession) -> bool {
    let strings = |(key, value): (&String, &Value)| {
        let value = value.as_str().expect("only strings are written here");
        (key.clone(), text(value))
    };
    let user_data = Struct {
        fields: theirs.user_data.iter().map(strings).collect(),
    };
    let nicknames = |it: &SmsSession| -> Vec<_> {
        let participants = it.participants.iter();
        participants.map(|it| it.nickname.clone()).collect()
    };
    let participants = theirs.participants.iter();
    let participants: Vec<_> = participants.map(|it| it.nickname.clone()).collect();
    ours.state == theirs.state
        && ours.capabilities == theirs.capabilities
        && nicknames(ours) == participants
        && ours.user_data.clone().unwrap_or_default() == user_data
}

/// A gateway whose accounts are all watched.
struct Scene {
    gateway: Gateway,
    views: Vec<Arc<Mutex<View>>>,
    _watching: JoinSet<()>,
}

fn agent(number: usize) -> String {
    format!("agent-{number}")
}

fn id(number: usize, which: usize) -> String {
    format!("session-{number}-{which}")
}

impl Scene {
    async fn set(ack: bool) -> Scene {
        let gateway = Gateway::start_with(|config| {
            impatient(config);
            let genesys = config.genesys.as_mut().unwrap();
            genesys.upstream.max_answer = MAX_ANSWER;
            genesys.upstream.timeout.attempt = Duration::from_millis(700);
            let account = |number| Account {
                username: agent(number),
                password: Secret::fixed(GENESYS_PASSWORD),
            };
            let accounts = (0..ACCOUNTS).map(|number| (agent(number), account(number)));
            genesys.accounts = accounts.collect();
        })
        .await;
        let vendor = gateway.sandbox.genesys();
        let plan = if ack { brisk() } else { forgetful() };
        vendor.set_notifications(plan).unwrap();
        for number in 0..ACCOUNTS {
            vendor.add_agent(&agent(number), GENESYS_PASSWORD);
            for which in 0..2 {
                vendor.add_session(&agent(number), &id(number, which));
            }
        }
        let views = (0..ACCOUNTS).map(|_| Arc::default()).collect();
        let mut scene = Scene {
            gateway,
            views,
            _watching: JoinSet::new(),
        };
        for number in 0..ACCOUNTS {
            let view = Arc::clone(&scene.views[number]);
            let sms = scene.gateway.sms();
            scene._watching.spawn(watch(sms, agent(number), view));
        }
        scene
    }

    /// Trouble for all of them while all of them write; then peace, in which every view has to
    /// become the vendor's, and then to follow it.
    async fn round(&self, rng: &mut StdRng, story: &str) {
        let seeds: Vec<u64> = (0..ACCOUNTS).map(|_| rng.random()).collect();
        let writers = seeds.into_iter().enumerate();
        let writers = writers.map(|(number, seed)| self.write(number, seed));
        tokio::join!(self.trouble(rng), join_all(writers));
        self.gateway.sandbox.faults().clear();
        let vendor = self.gateway.sandbox.genesys();
        vendor
            .set_notifications(switchboard::sandbox::genesys::NotificationPlan {
                rules: Vec::new(),
                ..vendor.notifications()
            })
            .unwrap();
        for number in 0..ACCOUNTS {
            let what = format!("{story}: the view of {}", agent(number));
            self.patiently(&what, self.is_the_vendors(number)).await;
        }
        let followers = (0..ACCOUNTS).map(|number| self.follow(number, story));
        join_all(followers).await;
    }

    /// A view may be right by a snapshot, before notifications flow again. They have to.
    async fn follow(&self, number: usize, story: &str) {
        let (vendor, view) = (self.gateway.sandbox.genesys(), &self.views[number]);
        let what = format!("{story}: {} is told", agent(number));
        let goal = view.lock().unwrap().told + FOLLOWED;
        let told = async {
            for count in 0.. {
                if view.lock().unwrap().told >= goal {
                    break;
                }
                vendor.set_state(&id(number, 0), &format!("Followed-{count}"));
                self.is_the_vendors(number).await;
            }
        };
        self.patiently(&what, told).await;
    }

    /// Comes when an account's view is what the vendor holds.
    async fn is_the_vendors(&self, number: usize) {
        let (vendor, view) = (self.gateway.sandbox.genesys(), &self.views[number]);
        let theirs = || vendor.sessions(&agent(number));
        while !view.lock().unwrap().is(&theirs()) {
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits while the gateway gets less done than it would have to: on a busy machine that takes longer.
    async fn patiently(&self, what: &str, future: impl Future<Output = ()>) {
        let polls = || self.gateway.sandbox.journal().count("genesys", "Connect");
        let last = polls() + PATIENCE;
        let over = async {
            while polls() < last {
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            biased;
            () = future => {}
            _ = timeout(LONGEST, over) => panic!("still waiting: {what}"),
        }
    }

    async fn trouble(&self, rng: &mut StdRng) {
        let vendor = self.gateway.sandbox.genesys();
        // Its end takes the longest of all to be noticed.
        let mut hang = rng.random_bool(0.3);
        for _ in 0..TROUBLES {
            sleep(Duration::from_millis(rng.random_range(10..120))).await;
            match rng.random_range(0..14) {
                0 => vendor.drop_clients(),
                1 => vendor.fail_over(),
                2 => vendor.expire_sessions(),
                3 => self.odd_notifications(rng),
                _ => {
                    let hang = std::mem::take(&mut hang);
                    let rule = if hang {
                        Rule::new(Fault::Hang)
                    } else {
                        rule(rng)
                    };
                    let rule = self.aimed(rule, rng);
                    self.gateway.sandbox.faults().push(rule).unwrap();
                }
            }
        }
    }

    fn odd_notifications(&self, rng: &mut StdRng) {
        let kinds = [Notification::Twice, Notification::BeforeAnswer];
        let kind = kinds[rng.random_range(0..kinds.len())].clone();
        let rule = NotificationRule::new(kind).times(rng.random_range(1..20));
        let vendor = self.gateway.sandbox.genesys();
        vendor.push_notification_rule(rule).unwrap();
    }

    fn aimed(&self, rule: Rule, rng: &mut StdRng) -> Rule {
        let operation = OPERATIONS[rng.random_range(0..OPERATIONS.len())];
        let rule = rule
            .operation(operation)
            .times(rng.random_range(1..2 * ACCOUNTS as u32));
        if rng.random() { rule.after() } else { rule }
    }

    /// One writer for each account: through the gateway, and as somebody else.
    async fn write(&self, number: usize, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let vendor = self.gateway.sandbox.genesys();
        for count in 0..WRITES {
            sleep(Duration::from_millis(rng.random_range(0..80))).await;
            let id = id(number, rng.random_range(0..2));
            let value = format!("{seed}-{count}");
            match rng.random_range(0..10) {
                0 => vendor.set_state(&id, &value),
                1 => vendor.set_participants(&id, vec![somebody(&value)]),
                2 => vendor.set_user_data(&id, Map::new()),
                3..=5 => vendor.set_user_data(&id, Map::from_iter([(value, json!("x"))])),
                _ => {
                    let request = UpdateUserDataRequest {
                        session_id: id,
                        user_data: Some(data(&[("Count", &value)])),
                        account: agent(number),
                        ..Default::default()
                    };
                    // It may well fail: what counts is what the vendor tells of it.
                    let _ = self.gateway.sms().update_user_data(request).await;
                }
            }
        }
    }

    fn judge(&self, story: &str) -> (usize, usize, usize) {
        let (mut told, mut gaps, mut ends) = (0, 0, 0);
        for (number, view) in self.views.iter().enumerate() {
            let view = view.lock().unwrap();
            assert_eq!(view.wrong, [""; 0], "{story}: {}", agent(number));
            (told, gaps, ends) = (told + view.told, gaps + view.gaps, ends + view.ends);
        }
        let vendor = self.gateway.sandbox.genesys();
        assert_eq!(vendor.most_concurrent_connects(), 1, "{story}");
        assert_eq!(vendor.contact_center_session_calls(), 0, "{story}");
        assert_eq!(vendor.mixed_sessions(), 0, "{story}");
        (told, gaps, ends)
    }
}

/// Watches for ever, as a caller should: what ended with UNAVAILABLE is opened again.
async fn watch(
    mut sms: switchboard::pb::sms_session_data_client::SmsSessionDataClient<
        crate::support::wire::Channel,
    >,
    account: String,
    view: Arc<Mutex<View>>,
) {
    loop {
        let request = crate::support::watcher::request(&account, &[]);
        let mut watcher = match sms.watch_sessions(request).await {
            Ok(stream) => Watcher::of(stream.into_inner()),
            Err(status) => {
                // Of a busy machine the gateway asks for patience.
                if status.code() != Code::ResourceExhausted {
                    view.lock().unwrap().wrong.push(format!("{status:?}"));
                }
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        view.lock().unwrap().restart();
        let end = loop {
            match watcher.whenever().await {
                Ok(event) => view.lock().unwrap().see(event),
                Err(status) => break status,
            }
        };
        let mut view = view.lock().unwrap();
        view.ends += 1;
        // On a busy machine faults last, and logins are undone before they are used.
        let lasts = view.heard.is_some_and(|heard| heard.elapsed() >= LASTING);
        let told = || {
            let reason = reason(&end);
            reason == "VENDOR_CREDENTIAL_REJECTED" || lasts && reason.starts_with("VENDOR_")
        };
        if end.code() != Code::Unavailable && !told() {
            view.wrong.push(format!("{end:?}"));
        }
    }
}

fn somebody(nickname: &str) -> vendor::Participant {
    vendor::Participant {
        r#type: "Agent".to_owned(),
        nickname: nickname.to_owned(),
        participant_id: "1".to_owned(),
    }
}

fn rule(rng: &mut StdRng) -> Rule {
    let throttle = Fault::Throttle {
        retry_after: "0".to_owned(),
    };
    let kinds = [
        Fault::Reset,
        Fault::CutBody,
        Fault::Garbage,
        Fault::Html { status: 200 },
        Fault::Html { status: 502 },
        Fault::status(500),
        Fault::status(503),
        Fault::status(504),
        throttle,
        Fault::Oversize { bytes: 100_000 },
        Fault::Latency { ms: 150 },
        Fault::Trickle { ms_per_byte: 1 },
    ];
    Rule::new(kinds[rng.random_range(0..kinds.len())].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_every_view_becomes_the_vendors() {
    let seed: u64 =
        std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    say(&format!(
        "SEED={seed} repeats the choice of writes and troubles"
    ));
    let scenes = (0..GATEWAYS).map(|number| async move {
        let story = format!("seed {seed}, gateway {number}");
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        let scene = Scene::set(number % 2 == 0).await;
        for round in 0..ROUNDS {
            scene
                .round(&mut rng, &format!("{story}, round {round}"))
                .await;
        }
        scene.judge(&story)
    });
    let counts = join_all(scenes).await;
    // Else it proved nothing. Amid the trouble, how much is told is a matter of the machine's speed; the
    // rest is told in each round's peace.
    const { assert!(GATEWAYS * ACCOUNTS * ROUNDS >= 200) };
    let told: usize = counts.iter().map(|(told, _, _)| told).sum();
    let gaps: usize = counts.iter().map(|(_, gaps, _)| gaps).sum();
    let counts = format!("seed {seed}: told, gaps, ends: {counts:?}");
    say(&counts);
    assert!(told > 500 && gaps > 100, "{counts}");
}

#[expect(clippy::print_stderr, reason = "shown when the test fails")]
fn say(what: &str) {
    eprintln!("{what}");
}
