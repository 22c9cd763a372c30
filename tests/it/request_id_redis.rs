//! A write repeated under the same `request_id` is done once, whichever gateway the repeat meets:
//! the gateways share a Redis.

use std::time::Duration;

use futures_util::future::join_all;
use switchboard::config::Config;
use switchboard::pb::{
    AttachUserDataRequest, AttachUserDataResponse, Confirmation, CreateAgentSettingsRequest,
    Outcome, UpdateUserDataRequest,
};
use switchboard::sandbox::faults::{Code as VendorCode, Fault, Rule};
use switchboard::upstream::secret::Secret;
use tonic::{Code, Response, Status};

use crate::support::calls::Call;
use crate::support::dir::Dir;
use crate::support::observed::Observed;
use crate::support::redis::RedisServer;
use crate::support::untimed::{self, within};
use crate::support::verdict::{pushback, retry_info};
use crate::support::watch::{in_time, until};
use crate::support::{self, Gateway, SESSION, attempts, data, fact, patient, reason, upstreams};

/// Two gateways in front of one vendor, with one Redis.
struct Pair {
    redis: RedisServer,
    one: Gateway,
    two: Gateway,
}

impl Pair {
    async fn start() -> Option<Pair> {
        let redis = RedisServer::start().await?;
        let share = |config: &mut Config| {
            config.dedupe.redis_url = Some(Secret::fixed(redis.url()));
            patient(config);
        };
        let one = Gateway::start_with(share).await;
        let vendor = support::config(&one.sandbox);
        let two = Gateway::start_with(|config| {
            *config = vendor;
            share(config);
        })
        .await;
        Some(Pair { redis, one, two })
    }

    fn attached(&self) -> u64 {
        let journal = self.one.sandbox.journal();
        journal.count("genesys", "AttachUserData")
    }

    fn fail_once(&self, fault: Rule) {
        let fault = fault.operation("AttachUserData").times(1);
        self.one.sandbox.faults().push(fault).unwrap();
    }
}

fn attach(request_id: &str, value: &str) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Ticket", value)])),
        request_id: request_id.into(),
        ..Default::default()
    }
}

async fn attach_by(
    gateway: &Gateway,
    request_id: &str,
    value: &str,
) -> Result<Response<AttachUserDataResponse>, Status> {
    let mut sms = gateway.sms();
    let call = sms.attach_user_data(attach(request_id, value));
    in_time("an answer", call).await
}

/// A counter without labels.
fn counted(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

fn is_unavailable(status: &Status) -> bool {
    (status.code(), &*reason(status)) == (Code::Unavailable, "DEDUPE_UNAVAILABLE")
}

#[tokio::test]
async fn a_repeat_is_answered_by_the_other_gateway_too() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let first = attach_by(&pair.one, "order-1", "a").await.unwrap();
    let second = attach_by(&pair.two, "order-1", "a").await.unwrap();
    assert_eq!(first.get_ref(), second.get_ref());
    assert_eq!(attempts(first.metadata()), 1);
    assert_eq!(attempts(second.metadata()), 0);
    assert_eq!(pair.attached(), 1);
    let hits = "switchboard_dedupe_hits_total";
    assert_eq!(counted(&pair.two, hits), 1);

    let status = attach_by(&pair.two, "order-1", "b").await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    assert_eq!(pair.attached(), 1);
}

#[tokio::test]
async fn fifty_at_once_over_both_are_one() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let calls = (0..50).map(|n| {
        let gateway = if n % 2 == 0 { &pair.one } else { &pair.two };
        let mut settings = gateway.settings();
        let request = CreateAgentSettingsRequest {
            user_id: "new-agent".into(),
            request_id: "create-1".into(),
            ..Default::default()
        };
        async move { settings.create_agent_settings(request).await }
    });
    let answers = in_time("the answers", join_all(calls)).await;
    let ids: std::collections::BTreeSet<_> = answers
        .into_iter()
        .map(|answer| answer.unwrap().into_inner().id)
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(pair.one.sandbox.aicc().creates(), ["new-agent"]);
}

#[tokio::test]
async fn errors_come_back_with_all_that_they_carry() {
    let no = Fault::VendorCode {
        code: VendorCode::Number(12),
        message: "not now".into(),
    };
    let faults = [
        (Rule::new(Fault::Reset).after(), "OUTCOME_UNKNOWN"),
        (Rule::new(no), "VENDOR_REJECTED"),
    ];
    let Some(pair) = Pair::start().await else {
        return;
    };
    for (n, (fault, expected)) in (1..).zip(faults) {
        pair.fail_once(fault);
        let id = format!("order-{n}");
        let first = attach_by(&pair.one, &id, "a").await.unwrap_err();
        let second = attach_by(&pair.two, &id, "a").await.unwrap_err();
        assert_eq!(reason(&first), expected);
        let told = |status: &Status| (status.code(), status.message().to_owned());
        assert_eq!(told(&first), told(&second));
        assert_eq!(first.details(), second.details());
        assert_eq!(pushback(&first), pushback(&second));
        assert_eq!(fact(&second, "attempts"), "1", "of the first");
        assert_eq!(attempts(second.metadata()), 0);
        assert_eq!(pair.attached(), n);
    }
}

/// By reading, whichever gateway is asked; what it found is then what repeats get.
#[tokio::test]
async fn a_confirmed_repeat_settles_an_unknown_outcome_for_both() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    pair.fail_once(Rule::new(Fault::Reset).after());
    let first = attach_by(&pair.one, "order-1", "a").await.unwrap_err();
    assert_eq!(reason(&first), "OUTCOME_UNKNOWN");
    let confirmed = AttachUserDataRequest {
        confirmation: Confirmation::Confirmed.into(),
        ..attach("order-1", "a")
    };
    let mut sms = pair.two.sms();
    let settled = in_time("an answer", sms.attach_user_data(confirmed)).await;
    let settled = settled.unwrap().into_inner();
    assert_eq!(settled.outcome(), Outcome::Confirmed);
    assert_eq!(pair.attached(), 1);
    // It is kept in the background.
    let known = async {
        while attach_by(&pair.one, "order-1", "a").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("the settled outcome to be kept", known).await;
    assert_eq!(pair.attached(), 1);
    let writes = pair.one.sandbox.genesys().writes();
    assert_eq!(writes.len(), 1);
}

#[tokio::test]
async fn a_request_that_was_never_valid_is_not_remembered() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let mut wrong = attach("order-1", "a");
    wrong.session_id.clear();
    let status = pair.one.sms().attach_user_data(wrong).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    attach_by(&pair.two, "order-1", "a").await.unwrap();
}

#[tokio::test]
async fn what_is_in_the_store_is_no_more_than_has_to_be() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    attach_by(&pair.one, "order-4711", "card-4929")
        .await
        .unwrap();
    let keys = pair.redis.ask("KEYS *").await.unwrap();
    assert!(keys.contains("switchboard:dedupe:{"), "{keys}");
    let key = keys
        .lines()
        .find(|it| it.starts_with("switchboard"))
        .unwrap();
    let value = pair.redis.ask(&format!("HGETALL {key}")).await.unwrap();
    assert!(value.contains("fingerprint") && value.contains("result"));
    for word in ["order", "card", SESSION, "agent1"] {
        assert!(!keys.contains(word), "{word} in {keys}");
        assert!(!value.contains(word), "{word} in {value}");
    }
}

#[tokio::test]
async fn without_a_store_only_calls_with_an_id_are_refused() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.redis.stop();
    for _ in 0..3 {
        let status = attach_by(&pair.one, "order-1", "a").await.unwrap_err();
        assert!(is_unavailable(&status), "{status:?}");
        assert!(retry_info(&status).is_some());
        assert_eq!(attempts(status.metadata()), 0);
    }
    assert_eq!(pair.attached(), 0);
    let failures = "switchboard_dedupe_store_failures_total";
    assert_eq!(counted(&pair.one, failures), 3);
    attach_by(&pair.one, "", "a").await.unwrap();
    assert_eq!(pair.attached(), 1);
}

/// Repeats for as long as the gateway takes the store to be away.
async fn once_it_is_back(gateway: &Gateway, request_id: &str) -> AttachUserDataResponse {
    let repeated = async {
        loop {
            match attach_by(gateway, request_id, "a").await {
                Ok(response) => return response.into_inner(),
                Err(status) if is_unavailable(&status) => {}
                Err(status) => panic!("{status:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    in_time("a store that is used again", repeated).await
}

#[tokio::test]
async fn a_store_that_is_back_is_used_again() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    attach_by(&pair.one, "order-1", "a").await.unwrap();
    pair.redis.stop();
    attach_by(&pair.one, "order-2", "a").await.unwrap_err();
    pair.redis.start_again().await;
    let first = once_it_is_back(&pair.one, "order-2").await;
    let second = once_it_is_back(&pair.two, "order-2").await;
    assert_eq!(first, second);
    assert_eq!(pair.attached(), 2);
}

#[tokio::test]
async fn a_store_that_was_exchanged_while_idle_costs_nobody_a_refusal() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    attach_by(&pair.one, "order-1", "a").await.unwrap();
    // Its result is kept after its answer: until then the store is not idle. A repeat waits for it.
    attach_by(&pair.two, "order-1", "a").await.unwrap();
    pair.redis.stop();
    pair.redis.start_again().await;
    attach_by(&pair.one, "order-2", "a").await.unwrap();
}

#[tokio::test]
async fn a_gateway_starts_without_its_store() {
    let Some(mut redis) = RedisServer::start().await else {
        return;
    };
    let url = redis.url();
    redis.stop();
    let gateway = Gateway::start_with(|config| {
        config.dedupe.redis_url = Some(Secret::fixed(url));
    })
    .await;
    attach_by(&gateway, "", "a").await.unwrap();
    let status = attach_by(&gateway, "order-1", "a").await.unwrap_err();
    assert!(is_unavailable(&status), "{status:?}");
    redis.start_again().await;
    once_it_is_back(&gateway, "order-1").await;
}

#[tokio::test]
async fn a_store_that_hangs_is_one_that_is_away() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    attach_by(&pair.one, "order-1", "a").await.unwrap();
    pair.redis.freeze();
    let status = attach_by(&pair.one, "order-2", "a").await.unwrap_err();
    assert!(is_unavailable(&status), "{status:?}");
    attach_by(&pair.one, "", "a").await.unwrap();
    pair.redis.go_on();
    once_it_is_back(&pair.one, "order-2").await;
    // The claim that arrived while nobody listened any more was given back.
    assert_eq!(pair.attached(), 3);
}

/// Callers take a new `request_id` after an answer about the vendor, and that would be another write.
#[tokio::test]
async fn a_repeat_that_learns_nothing_in_time_is_told_nothing_of_the_vendor() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let first = attach_by(&pair.one, "order-1", "a").await.unwrap();
    attach_by(&pair.two, "order-1", "a").await.unwrap();
    let mut sms = untimed::sms(pair.two.address).await;
    pair.redis.freeze();
    let repeat = within(Duration::from_millis(500), attach("order-1", "a"));
    let status = in_time("an answer", sms.attach_user_data(repeat)).await;
    pair.redis.go_on();
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&status), "DEADLINE");
    assert_eq!(fact(&status, "vendor"), "");
    let again = once_it_is_back(&pair.two, "order-1").await;
    assert_eq!(first.into_inner(), again);
    assert_eq!(pair.attached(), 1);
}

#[tokio::test]
async fn a_repeat_that_waits_while_the_store_goes_is_not_told_that_nothing_was_sent() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.fail_once(Rule::new(Fault::Hang));
    let (one, two) = (pair.one.sms(), untimed::sms(pair.two.address).await);
    let first = tokio::spawn(async move { one.clone().attach_user_data(attach("o", "a")).await });
    until("the vendor has the request", || pair.attached() == 1).await;
    let repeat = within(Duration::from_secs(3), attach("o", "a"));
    let repeat = tokio::spawn(async move { two.clone().attach_user_data(repeat).await });
    let looked = async {
        // Of the first, of the repeat, and of one that comes after an answer to that.
        while pair.redis.asked().await < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("looks at how the write stands", looked).await;
    pair.redis.stop();
    let status = in_time("an answer", repeat).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason(&status), "OUTCOME_UNKNOWN");
    assert_eq!(attempts(status.metadata()), 0);
    first.abort();
}

#[tokio::test]
async fn who_did_the_write_gets_its_result_though_it_cannot_be_kept() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.fail_once(Rule::new(Fault::Latency { ms: 300 }));
    let sms = pair.one.sms();
    let call = tokio::spawn(async move { sms.clone().attach_user_data(attach("o", "a")).await });
    until("the vendor has the request", || pair.attached() == 1).await;
    pair.redis.stop();
    let first = in_time("an answer", call).await.unwrap().unwrap();
    // It lost the claim too, and is told of both.
    pair.redis.start_again().await;
    let kept = async { while pair.redis.ask("DBSIZE").await.unwrap() != ":1\r\n" {} };
    in_time("the result to be kept", kept).await;
    let second = once_it_is_back(&pair.two, "o").await;
    assert_eq!(first.into_inner(), second);
    assert_eq!(pair.attached(), 1);
}

/// Who is told to make the call again elsewhere finds its `request_id` free there.
#[tokio::test]
async fn a_write_that_was_cut_before_it_was_sent_is_done_by_the_other_gateway() {
    let Some(redis) = RedisServer::start().await else {
        return;
    };
    let share = |config: &mut Config| {
        config.dedupe.redis_url = Some(Secret::fixed(redis.url()));
        patient(config);
    };
    let mut cut = Gateway::start_with(|config| {
        share(config);
        config.server.drain_timeout = Duration::from_millis(100);
        upstreams(config).for_each(|upstream| upstream.limit.in_flight = 1);
    })
    .await;
    let vendor = support::config(&cut.sandbox);
    let other = Gateway::start_with(|config| {
        *config = vendor;
        share(config);
    })
    .await;
    let count = |operation| cut.sandbox.journal().count("genesys", operation);
    let hang = Rule::new(Fault::Hang).operation("GetSession");
    cut.sandbox.faults().push(hang).unwrap();
    let channel = cut.channel.clone();
    let ahead = tokio::spawn(async move { Call::GetSession.send_over(channel, "", None).await });
    until("the vendor's only place is taken", || {
        count("GetSession") == 1
    })
    .await;
    let sms = cut.sms();
    let call = tokio::spawn(async move { sms.clone().attach_user_data(attach("o", "a")).await });
    let claimed = async { while redis.ask("DBSIZE").await.unwrap() != ":2\r\n" {} };
    in_time("the claim and its lease", claimed).await;
    cut.terminate();
    let status = in_time("the answer", call).await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "GATEWAY_DRAINING");
    assert_eq!(
        reason(&ahead.await.unwrap().unwrap_err()),
        "GATEWAY_DRAINING"
    );
    let again = attach_by(&other, "o", "a").await.unwrap();
    assert_eq!(attempts(again.metadata()), 1);
    assert!(in_time("its end", cut.ended()).await.is_err());
    assert_eq!(cut.sandbox.genesys().attaches().len(), 1);
}

#[tokio::test]
async fn what_a_killed_gateway_was_doing_is_never_done_twice_where_that_does_harm() {
    let Some(redis) = RedisServer::start().await else {
        return;
    };
    let dir = Dir::new();
    let url = dir.write("redis_url", &redis.url());
    let mut killed = Observed::start(&[
        ("SWITCHBOARD__DEDUPE__REDIS_URL_FILE", url.to_str().unwrap()),
        ("SWITCHBOARD__GENESYS__TIMEOUT__ATTEMPT", "1m"),
        ("SWITCHBOARD__SERVER__MAX_DEADLINE", "2m"),
    ])
    .await;
    let sandbox = killed.sandbox.clone();
    let hang = Rule::new(Fault::Hang).times(2);
    sandbox.faults().push(hang).unwrap();
    let sms = killed.sms();
    let update = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Ticket", "a")])),
        request_id: "order-1".into(),
        ..Default::default()
    };
    let (mut once, mut again) = (sms.clone(), sms);
    let first = update.clone();
    let calls = [
        tokio::spawn(async move {
            once.attach_user_data(attach("order-1", "a"))
                .await
                .map(drop)
        }),
        tokio::spawn(async move { again.update_user_data(first).await.map(drop) }),
    ];
    let count = |operation| sandbox.journal().count("genesys", operation);
    until("the vendor has both", || {
        (count("AttachUserData"), count("UpdateUserData")) == (1, 1)
    })
    .await;
    killed.kill();
    for call in calls {
        in_time("the end of the connection", call)
            .await
            .unwrap()
            .unwrap_err();
    }

    let other = Gateway::start_with(|config| {
        *config = support::config(&sandbox);
        config.dedupe.redis_url = Some(Secret::fixed(redis.url()));
        patient(config);
    })
    .await;
    let status = attach_by(&other, "order-1", "a").await.unwrap_err();
    assert_eq!(status.code(), Code::Unknown);
    assert_eq!(reason(&status), "OUTCOME_UNKNOWN");
    assert_eq!(pushback(&status), Some("-1"));
    // Nobody knows whether the one that is gone is at it still, so what is not there may come.
    let confirmed = AttachUserDataRequest {
        confirmation: Confirmation::Confirmed.into(),
        ..attach("order-1", "a")
    };
    let mut sms = untimed::sms(other.address).await;
    let answer = sms.attach_user_data(within(Duration::from_secs(4), confirmed));
    let status = answer.await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(reason(&status), "OUTCOME_UNKNOWN");
    let updated = other.sms().update_user_data(update).await.unwrap();
    assert_eq!(attempts(updated.metadata()), 1, "it may be done again");
    assert_eq!((count("AttachUserData"), count("UpdateUserData")), (1, 2));
}
