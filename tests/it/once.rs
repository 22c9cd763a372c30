//! Not-idempotent calls are never sent twice once the request was written, unless the vendor
//! definitely refused it: whatever goes wrong, and however often.
//!
//! Counted where it counts: in the journal of the vendor.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use switchboard::pb::{AttachUserDataRequest, CreateAgentSettingsRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::journal::Entry;
use tonic::{Code, Status};

use crate::support::faults::{PAIRS, every_fault};
use crate::support::untimed::{self, Untimed, within};
use crate::support::watch::in_time;
use crate::support::{self, Gateway, SESSION};
use switchboard::pb::agent_settings_client::AgentSettingsClient;
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;

const CALLS_PER_ROUND: usize = 200;
const FAULTS_PER_ROUND: usize = 6;
const AT_ONCE: usize = 20;
const MOST_SCENES: usize = 8;

/// A smaller bound on answers than the vendors' would be, so that breaking it is cheap.
const MAX_ANSWER: u64 = 64 * 1024;

/// One call as its caller saw it, known to the vendor by its key.
#[derive(Debug)]
struct Told {
    key: String,
    error: Option<(Code, String)>,
    attempts: u32,
}

impl Told {
    fn is_unknown(&self) -> bool {
        matches!(&self.error, Some((_, reason)) if reason == "OUTCOME_UNKNOWN")
    }
}

#[derive(Clone)]
struct Caller {
    sms: SmsSessionDataClient<Untimed>,
    settings: AgentSettingsClient<Untimed>,
}

impl Caller {
    async fn call(mut self, key: String, account: &str, deadline: Option<Duration>) -> Told {
        // Longer than the gateway allows, so that its own bound counts.
        let deadline = deadline.unwrap_or(Duration::from_secs(60));
        let answer = if key.starts_with('a') {
            let session = if account == "other" {
                "0071023821aec021"
            } else {
                SESSION
            };
            #[allow(clippy::needless_update, reason = "there are fields to come")]
            let request = AttachUserDataRequest {
                session_id: session.to_owned(),
                user_data: Some(support::data(&[(&key, "x")])),
                account: account.to_owned(),
                ..Default::default()
            };
            let answer = self.sms.attach_user_data(within(deadline, request)).await;
            answer.map(|answer| answer.metadata().clone())
        } else {
            let request = CreateAgentSettingsRequest {
                user_id: key.clone(),
                account: account.to_owned(),
                ..Default::default()
            };
            let answer = self
                .settings
                .create_agent_settings(within(deadline, request))
                .await;
            answer.map(|answer| answer.metadata().clone())
        };
        told(key, answer)
    }
}

fn told(key: String, answer: Result<tonic::metadata::MetadataMap, Status>) -> Told {
    match answer {
        Ok(metadata) => Told {
            key,
            error: None,
            attempts: support::attempts(&metadata),
        },
        Err(status) => Told {
            attempts: support::attempts(status.metadata()),
            error: Some((status.code(), support::reason(&status))),
            key,
        },
    }
}

/// Logins fail too, but not by a refusal: that one is remembered, and the calls would not meet
/// the faults that are meant for them.
fn login_faults(rng: &mut StdRng) -> Vec<Rule> {
    let kinds = [
        Fault::Reset,
        Fault::Hang,
        Fault::status(503),
        Fault::Garbage,
    ];
    let mut rule = |operation: &str| {
        let fault = kinds[rng.random_range(0..kinds.len())].clone();
        Rule::new(fault).operation(operation).probability(0.2)
    };
    vec![rule("Login"), rule("Token")]
}

/// The key by which a request at the vendor is told from all others.
fn key(entry: &Entry) -> Option<String> {
    let body: Value = serde_json::from_slice(&entry.request_body).ok()?;
    match entry.operation {
        "AttachUserData" => body["userData"].as_object()?.keys().next().cloned(),
        "create" => body["userId"].as_str().map(str::to_owned),
        _ => None,
    }
}

/// Whether the vendor said in so many words that it had not done it, and that it may be asked
/// again.
fn definitely_refused(entry: &Entry) -> bool {
    let text = String::from_utf8_lossy(&entry.response_body);
    match entry.status {
        Some(401 | 429) => true,
        Some(403) => text.contains("Csrf token") || text.contains("access token"),
        Some(503) => entry.response_headers.contains_key("retry-after"),
        Some(200) => text.contains(r#""statusCode":20,"#),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_nothing_is_done_twice() {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    announce(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut counts = Counts::default();
    // A busy machine does less of it in the same time.
    for _ in 0..MOST_SCENES {
        scene(&mut rng, seed, &mut counts).await;
        if counts.are_enough() {
            return;
        }
    }
    panic!("seed {seed}: it proved nothing: {counts:?}");
}

/// How much was put to the test.
#[derive(Debug, Default)]
struct Counts {
    calls: usize,
    done: usize,
    unknown: usize,
    sent_again: usize,
}

impl Counts {
    fn are_enough(&self) -> bool {
        self.calls >= 500 && self.done > 100 && self.unknown > 50 && self.sent_again > 10
    }
}

/// A gateway, and every kind of fault once.
async fn scene(rng: &mut StdRng, seed: u64, counts: &mut Counts) {
    let mut gateway = Gateway::start_with(|config| {
        config.server.max_deadline = Duration::from_millis(700);
        config.server.default_deadline = config.server.max_deadline;
        for upstream in [
            &mut config.genesys.as_mut().unwrap().upstream,
            &mut config.aicc.as_mut().unwrap().upstream,
        ] {
            upstream.max_answer = MAX_ANSWER;
            upstream.timeout.attempt = Duration::from_millis(120);
            upstream.retry.budget_percent = 100;
        }
    })
    .await;
    let caller = Caller {
        sms: untimed::sms(gateway.address).await,
        settings: untimed::settings(gateway.address).await,
    };

    let mut faults = every_fault();
    faults.shuffle(rng);
    let mut calls = Vec::new();
    for (round, faults) in faults.chunks(FAULTS_PER_ROUND).enumerate() {
        let mut rules = login_faults(rng);
        let probable = |rule: &Rule| rule.clone().probability(rng.random_range(0.05..0.25));
        rules.extend(faults.iter().map(probable));
        gateway.sandbox.faults().replace(rules).unwrap();
        let round = stream::iter(0..CALLS_PER_ROUND).map(|n| {
            let operation = if rng.random() { 'a' } else { 'c' };
            let account = if rng.random() { "default" } else { "other" };
            let short = rng.random_bool(0.2);
            let deadline = short.then(|| Duration::from_millis(rng.random_range(25..250)));
            let key = format!("{operation}{round}-{n}");
            in_time("an answer", caller.clone().call(key, account, deadline))
        });
        calls.extend(round.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    }
    // Nothing is under way any more, not even for callers that have their answer.
    gateway.terminate();
    in_time("the drain", gateway.ended()).await.unwrap();
    judge(&gateway, &calls, seed, counts);
}

fn judge(gateway: &Gateway, calls: &[Told], seed: u64, counts: &mut Counts) {
    let mut arrived: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in gateway.sandbox.journal().entries() {
        if let Some(key) = key(&entry) {
            arrived.entry(key).or_default().push(entry);
        }
    }
    let attaches = gateway.sandbox.genesys().attaches().into_iter();
    let mut applied: BTreeMap<String, u32> = BTreeMap::new();
    let keys = attaches.map(|(_, key)| key);
    for key in keys.chain(gateway.sandbox.aicc().creates()) {
        *applied.entry(key).or_default() += 1;
    }
    counts.calls += calls.len();
    for told in calls {
        let none = Vec::new();
        let arrived = arrived.get(&told.key).unwrap_or(&none);
        let applied = applied.get(&told.key).copied().unwrap_or(0);
        let story = || format!("seed {seed}: {told:?}, applied {applied} times, {arrived:#?}");
        let undecided = arrived.iter().position(|entry| !definitely_refused(entry));
        let last = undecided.is_none_or(|index| index + 1 == arrived.len());
        assert!(last, "sent again without a definite refusal: {}", story());
        assert!(arrived.len() <= told.attempts as usize, "{}", story());
        assert!(applied <= 1, "{}", story());
        match &told.error {
            None => assert_eq!(applied, 1, "told OK: {}", story()),
            Some((code, reason)) => {
                let known = PAIRS.contains(&(*code, reason));
                assert!(known, "no row of the contract: {}", story());
                let denied = applied == 1 && !told.is_unknown();
                assert!(!denied, "done, and said not to be: {}", story());
            }
        }
        counts.done += usize::from(told.error.is_none());
        counts.unknown += usize::from(told.is_unknown());
        counts.sent_again += usize::from(arrived.len() > 1);
    }
}

#[expect(clippy::print_stderr, reason = "shown when the test fails")]
fn announce(seed: u64) {
    eprintln!("SEED={seed} repeats the choice of calls and faults");
}
