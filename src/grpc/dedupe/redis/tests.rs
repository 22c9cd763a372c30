//! Against a real server, and one that is played by hand. What callers see of it is in
//! `tests/it/request_id_redis.rs`.

use super::super::write::Asked;
use super::link::PAUSE;
use super::played::{DONE, GREETED, MINE, Played, Question, RUNNING, Step};
use super::*;
use crate::settings::testing::Dir;
use crate::telemetry::testing::Spans;
use crate::upstream::operation::{Meta, Replay};
use crate::upstream::progress::Progress;
use server::RedisServer;
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::Code;
use tonic_types::StatusExt;

#[path = "script_tests.rs"]
mod scripts;
#[allow(unreachable_pub, reason = "other tests use it too")]
#[path = "../../../../tests/it/support/redis.rs"]
mod server;

static ONCE: Meta = Meta {
    name: "AttachUserData",
    method: http::Method::POST,
    template: "/",
    replay: Replay::Once,
    creates: false,
};

static IDEMPOTENT: Meta = Meta {
    name: "UpdateUserData",
    method: http::Method::POST,
    template: "/",
    replay: Replay::Idempotent,
    creates: false,
};

/// A gateway's share in the store.
fn replica(server: &RedisServer, window: Duration) -> Arc<Redis> {
    replica_at(Secret::fixed(server.url()), window)
}

fn replica_at(url: Secret, window: Duration) -> Arc<Redis> {
    let meter = opentelemetry::global::meter("test");
    Redis::new(url, window, TaskTracker::new(), &meter)
}

fn write(meta: &'static Meta, id: &str) -> Write {
    Write {
        key: Key {
            caller: String::new(),
            vendor: "genesys",
            account: "default".to_owned(),
            operation: meta.name,
            request_id: id.to_owned(),
        },
        fingerprint: vec![7; 32],
        asked: Asked {
            vendor: "genesys",
            meta,
        },
    }
}

fn ticket(seconds: u64) -> Ticket {
    Ticket {
        account: "default".to_owned(),
        deadline: Instant::now() + Duration::from_secs(seconds),
        caller_repeats: false,
        progress: Progress::default(),
        place: None,
    }
}

async fn first(redis: &Arc<Redis>, write: &Write) -> store::Turn {
    match redis.claim(write, &ticket(20)).await.unwrap() {
        Claim::First(turn) => turn,
        Claim::Again(outcome) => panic!("was done before: {outcome:?}"),
    }
}

async fn again(redis: &Arc<Redis>, write: &Write) -> Outcome {
    match redis.claim(write, &ticket(20)).await.unwrap() {
        Claim::First(_) => panic!("was not done before"),
        Claim::Again(outcome) => outcome,
    }
}

fn response(text: &'static str) -> Outcome {
    Ok(Bytes::from_static(text.as_bytes()))
}

/// Tells nobody how it ended, as if its process had been killed.
async fn begin_and_die(redis: &Arc<Redis>, write: &Write) {
    let mut turn = first(redis, write).await;
    turn.spend(std::future::ready(())).await;
}

#[tokio::test]
async fn a_result_is_everybodys_and_the_first_one_stays() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let window = Duration::from_secs(600);
    let (one, two) = (replica(&server, window), replica(&server, window));
    let write = write(&ONCE, "id");
    let turn = first(&one, &write).await;
    let (told, ()) = tokio::join!(again(&two, &write), turn.keep(response("first")));
    assert_eq!(told.unwrap(), "first");
    assert_eq!(again(&one, &write).await.unwrap(), "first");
    let other = Write {
        fingerprint: vec![8; 32],
        ..write.clone()
    };
    let Err(status) = two.claim(&other, &ticket(10)).await else {
        panic!("another body was taken for the same");
    };
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_repeats_get_can_be_replaced_and_expires_all_the_same() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(60));
    let write = write(&ONCE, "id");
    let unknown = Err(write.asked.abandoned());
    first(&redis, &write).await.keep(unknown).await;
    let place = Place::of(&write.key).write;
    let sooner = server.ask(&format!("EXPIRE {place} 30")).await;
    assert_eq!(sooner.unwrap(), ":1\r\n");
    redis.replace(write.clone(), Bytes::from_static(b"settled"));
    redis.tasks.close();
    redis.tasks.wait().await;
    assert_eq!(again(&redis, &write).await.unwrap(), "settled");
    let left = seconds_left(&server, &place).await;
    assert!((1..=30).contains(&left), "{left}");
}

async fn seconds_left(server: &RedisServer, key: &str) -> i32 {
    let answer = server.ask(&format!("TTL {key}")).await.unwrap();
    answer.trim().trim_start_matches(':').parse().unwrap()
}

#[tokio::test]
async fn what_was_abandoned_is_done_again_only_where_that_does_no_harm() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let (once, idempotent) = (write(&ONCE, "id"), write(&IDEMPOTENT, "id"));
    begin_and_die(&redis, &once).await;
    begin_and_die(&redis, &idempotent).await;
    let (outcome, _turn) = tokio::join!(again(&redis, &once), first(&redis, &idempotent));
    assert_eq!(outcome.unwrap_err().code(), Code::Unknown);
}

/// However short the window: who waits when it ends is not to be told that there was nothing.
#[tokio::test]
async fn an_abandoned_write_is_not_forgotten_under_who_waits_for_it() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(1));
    let (at_once, later) = (write(&ONCE, "at once"), write(&ONCE, "later"));
    begin_and_die(&redis, &at_once).await;
    let renewed = async {
        let mut turn = first(&redis, &later).await;
        turn.spend(sleep(LEASE / 2)).await;
    };
    let waiting = async {
        sleep(LEASE / 4).await;
        again(&redis, &later).await
    };
    let (one, (), other) = tokio::join!(again(&redis, &at_once), renewed, waiting);
    for told in [one, other] {
        assert_eq!(told.unwrap_err().code(), Code::Unknown);
    }
}

#[tokio::test]
async fn a_result_that_comes_after_all_is_better_than_none() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let write = write(&ONCE, "id");
    let mut turn = first(&redis, &write).await;
    turn.spend(std::future::ready(())).await;
    assert!(again(&redis, &write).await.is_err());
    turn.keep(response("late")).await;
    assert_eq!(again(&redis, &write).await.unwrap(), "late");
}

#[tokio::test]
async fn a_lease_is_kept_up_while_the_work_is_done() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let write = write(&ONCE, "id");
    let mut turn = first(&redis, &write).await;
    let work = async {
        turn.spend(sleep(LEASE + Duration::from_secs(2))).await;
        turn.keep(response("done")).await;
    };
    let ((), told) = tokio::join!(work, again(&redis, &write));
    assert_eq!(told.unwrap(), "done");
}

/// Only who is new is refused: what was begun before goes on, and what came of it is everybody's.
#[tokio::test]
async fn a_redis_that_is_full_goes_on_with_what_it_knows() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (one, two) = (replica(&server, WINDOW), replica(&server, WINDOW));
    let known = write(&ONCE, "id");
    let mut turn = first(&one, &known).await;
    let full = server.ask("CONFIG SET maxmemory 1").await;
    assert_eq!(full.unwrap(), "+OK\r\n");
    let work = async {
        turn.spend(sleep(LEASE + Duration::from_secs(2))).await;
        turn.keep(response("done")).await;
    };
    let ((), told) = tokio::join!(work, again(&two, &known));
    assert_eq!(told.unwrap(), "done");
    let status = refused(&two, &write(&ONCE, "new"), &ticket(10)).await;
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn a_claim_with_which_nothing_was_done_is_given_back() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let write = write(&ONCE, "id");
    drop(first(&redis, &write).await);
    first(&redis, &write).await.keep(response("done")).await;
    assert_eq!(again(&redis, &write).await.unwrap(), "done");
}

/// What is given back was not done, so who waits for it does it.
#[tokio::test]
async fn who_waits_takes_up_what_is_given_back() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let (one, two) = (replica(&server, WINDOW), replica(&server, WINDOW));
    let write = write(&ONCE, "id");
    let turn = first(&one, &write).await;
    let given_back = async {
        until_asked(&server, 3).await;
        drop(turn);
    };
    let (turn, ()) = tokio::join!(first(&two, &write), given_back);
    turn.keep(response("done")).await;
    assert_eq!(again(&one, &write).await.unwrap(), "done");
}

/// The Redis has lost the claim; who did the write has not.
#[tokio::test]
async fn who_waits_for_a_write_does_not_begin_it_when_redis_forgets_it() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let (one, two) = (replica(&server, WINDOW), replica(&server, WINDOW));
    let (once, idempotent) = (write(&ONCE, "id"), write(&IDEMPOTENT, "id"));
    let mut turn = first(&one, &once).await;
    turn.spend(std::future::ready(())).await;
    let mut other = first(&one, &idempotent).await;
    other.spend(std::future::ready(())).await;
    let forgotten = async {
        // By then both know that the write is done by another.
        until_asked(&server, 12).await;
        server.stop();
        server.start_again().await;
        until_asked(&server, 3).await;
        turn.keep(response("done")).await;
    };
    let (told, again, ()) = tokio::join!(again(&two, &once), first(&two, &idempotent), forgotten);
    assert_eq!(told.unwrap(), "done");
    drop(again);
}

async fn until_asked(server: &RedisServer, scripts: u32) {
    let asked = async {
        while server.asked().await < scripts {
            sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("questions to Redis", asked).await;
}

#[tokio::test]
async fn a_claim_that_redis_answered_too_late_is_given_back() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let (warm, write) = (write(&ONCE, "warm"), write(&ONCE, "id"));
    first(&redis, &warm).await.keep(response("warm")).await;
    server.freeze();
    let Err(status) = redis.claim(&write, &ticket(10)).await else {
        panic!("nobody answered");
    };
    assert_eq!(status.code(), Code::Unavailable);
    server.go_on();
    // Until Redis is taken to be back, and the claim that arrived is given back.
    let turn = async {
        loop {
            match redis.claim(&write, &ticket(10)).await {
                Ok(Claim::First(turn)) => return turn,
                Ok(Claim::Again(outcome)) => panic!("nothing was done: {outcome:?}"),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let turn = in_time("the claim to be given back", turn).await;
    turn.keep(response("done")).await;
}

/// What was told to a Redis that hangs it does once it goes on, however late.
#[tokio::test]
async fn a_redis_that_hangs_for_long_is_told_all_the_same() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let (begun, asked) = (write(&ONCE, "begun"), write(&ONCE, "asked"));
    let mut turn = first(&redis, &begun).await;
    turn.spend(std::future::ready(())).await;
    server.freeze();
    let keeping = turn.keep(response("done"));
    let ticket = ticket(10);
    let claiming = redis.claim(&asked, &ticket);
    let hanging = async {
        sleep(INSIST + Duration::from_secs(2)).await;
        server.go_on();
    };
    let ((), claim, ()) = tokio::join!(keeping, claiming, hanging);
    let Err(status) = claim else {
        panic!("nobody answered");
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(again(&redis, &begun).await.unwrap(), "done");
    first(&redis, &asked).await.keep(response("done")).await;
}

/// Else the next call would find it abandoned, and not know that nothing was done.
#[tokio::test]
async fn a_gateway_that_ends_gives_back_what_it_asked_for_in_vain() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, WINDOW);
    let (warm, write) = (write(&ONCE, "warm"), write(&ONCE, "id"));
    first(&redis, &warm).await.keep(response("warm")).await;
    server.freeze();
    let status = refused(&redis, &write, &hurried(Duration::from_millis(200))).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    server.go_on();
    redis.tasks.close();
    redis.tasks.wait().await;
    let place = Place::of(&write.key).write;
    let released = server.ask(&format!("HEXISTS {place} released")).await;
    assert_eq!(released.unwrap(), ":1\r\n");
}

/// Who goes does not wait for a Redis that may never come back.
#[tokio::test]
async fn a_gateway_that_ends_does_not_insist_for_long() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let mut turn = first(&redis, &write(&ONCE, "id")).await;
    turn.spend(std::future::ready(())).await;
    server.stop();
    redis
        .tasks
        .spawn(async move { turn.keep(response("done")).await });
    redis.tasks.close();
    redis.tasks.wait().await;
}

#[tokio::test]
async fn who_waits_for_another_has_a_deadline() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let write = write(&ONCE, "id");
    let mut turn = first(&redis, &write).await;
    let impatient = ticket(1);
    let waiting = turn.spend(redis.claim(&write, &impatient));
    let Err(status) = waiting.await else {
        panic!("it has not ended");
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("may or may not"), "{status:?}");
    // More and more seldom: they may be many that wait.
    let asked = server.asked().await;
    assert!((5..=15).contains(&asked), "{asked}");
}

/// So that whoever comes after that does not do it, too.
#[tokio::test]
async fn a_redis_that_forgot_everything_soon_knows_again_what_is_being_done() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, WINDOW);
    let write = write(&ONCE, "id");
    let mut turn = first(&redis, &write).await;
    server.stop();
    server.start_again().await;
    let claimed = async { while server.ask("DBSIZE").await.unwrap() != ":2\r\n" {} };
    in_time("the claim and its lease", turn.spend(claimed)).await;
    let (told, ()) = tokio::join!(again(&redis, &write), turn.keep(response("done")));
    assert_eq!(told.unwrap(), "done");
}

#[tokio::test]
async fn a_result_that_is_too_large_is_not_kept() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let log = Spans::capture();
    let redis = replica(&server, WINDOW);
    let write = write(&ONCE, "id");
    let mut turn = first(&redis, &write).await;
    turn.spend(std::future::ready(())).await;
    turn.keep(Ok(vec![7; 8 << 20].into())).await;
    assert_eq!(
        again(&redis, &write).await.unwrap_err().code(),
        Code::Unknown
    );
    let words: Vec<_> = log
        .lines()
        .iter()
        .map(|it| it["message"].to_string())
        .collect();
    assert_eq!(words, ["\"a result is too large to be kept for repeats\""]);
}

#[tokio::test]
async fn a_redis_that_forgot_everything_is_told_the_result() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let write = write(&ONCE, "id");
    let mut turn = first(&redis, &write).await;
    turn.spend(std::future::ready(())).await;
    server.stop();
    let keeping = tokio::spawn(async move { turn.keep(response("done")).await });
    server.start_again().await;
    keeping.await.unwrap();
    assert_eq!(again(&redis, &write).await.unwrap(), "done");
}

#[tokio::test]
async fn what_another_version_wrote_is_left_alone() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let write = write(&ONCE, "id");
    let place = Place::of(&write.key).write;
    let set = format!("HSET {place} version 2 fingerprint x token y");
    assert_eq!(server.ask(&set).await.unwrap(), ":3\r\n");
    let Err(status) = redis.claim(&write, &ticket(10)).await else {
        panic!("it was read");
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        server.ask(&format!("HLEN {place}")).await.unwrap(),
        ":3\r\n"
    );
}

#[tokio::test]
async fn an_id_is_kept_no_longer_than_its_window() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let redis = replica(&server, Duration::from_secs(600));
    let write = write(&ONCE, "id");
    first(&redis, &write).await.keep(response("done")).await;
    let place = Place::of(&write.key);
    let left = seconds_left(&server, &place.write).await;
    assert!((590..=600).contains(&left), "{left}");
    let lease = server.ask(&format!("EXISTS {}", place.lease)).await;
    assert_eq!(lease.unwrap(), ":0\r\n");
}

/// What ADR 12 asks for is enough.
#[tokio::test]
async fn a_login_needs_no_more_than_operators_are_asked_to_give_it() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let host = server.url().replace("redis://", "");
    // The first knows no other database.
    for (database, beside) in [("", ""), ("/1", " +select")] {
        let listed = "+eval +hmget +hset +set +exists +pttl +pexpire +del";
        let rights = format!("~switchboard:dedupe:* -@all {listed}{beside}");
        let user = format!("ACL SETUSER gateway on >hunter2 {rights}");
        assert_eq!(server.ask(&user).await.unwrap(), "+OK\r\n");
        let url = format!("redis://gateway:hunter2@{host}{database}");
        let redis = replica_at(Secret::fixed(url), WINDOW);
        let (kept, left) = (write(&ONCE, "kept"), write(&ONCE, "left"));
        let mut turn = first(&redis, &kept).await;
        turn.spend(std::future::ready(())).await;
        turn.keep(response("done")).await;
        assert_eq!(again(&redis, &kept).await.unwrap(), "done");
        redis.replace(kept.clone(), Bytes::from_static(b"settled"));
        drop(first(&redis, &left).await);
        redis.tasks.close();
        redis.tasks.wait().await;
        assert_eq!(again(&redis, &kept).await.unwrap(), "settled");
        drop(first(&redis, &left).await);
    }
}

/// Redis takes nothing back of a script that it refuses to go on with.
#[tokio::test]
async fn a_claim_that_a_login_may_not_finish_leaves_nothing_behind() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let host = server.url().replace("redis://", "gateway:hunter2@");
    let redis = replica_at(Secret::fixed(format!("redis://{host}")), WINDOW);
    let allow = async |rights: String| {
        let user = format!("ACL SETUSER gateway on >hunter2 ~* {rights}");
        assert_eq!(server.ask(&user).await.unwrap(), "+OK\r\n");
    };
    for right in ["hmget", "set", "hset", "pexpire"] {
        let write = write(&ONCE, right);
        allow(format!("+@all -{right}")).await;
        let status = refused(&redis, &write, &ticket(10)).await;
        assert_eq!(status.code(), Code::Unavailable, "{right}");
        allow("+@all".to_owned()).await;
        first(&redis, &write).await.keep(response("done")).await;
    }
    // Without this one a claim cannot be given back, and all else goes on.
    let known = write(&ONCE, "del");
    allow("+@all -del".to_owned()).await;
    first(&redis, &known).await.keep(response("done")).await;
    assert_eq!(again(&redis, &known).await.unwrap(), "done");
    let keys = server.ask("INFO keyspace").await.unwrap();
    let number = |name| {
        let (_, rest) = keys.split_once(name).unwrap();
        rest.split(',').next().unwrap()
    };
    assert_eq!(number("keys="), number("expires="), "{keys}");
}

#[tokio::test]
async fn a_redis_that_wants_a_login_is_told_from_one_that_is_at_fault() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let login = server.ask("CONFIG SET requirepass hunter2").await;
    assert_eq!(login.unwrap(), "+OK\r\n");
    let log = Spans::capture();
    let redis = replica(&server, WINDOW);
    let status = refused(&redis, &write(&ONCE, "id"), &ticket(10)).await;
    assert_eq!(status.code(), Code::Unavailable);
    let complaint = ("WARN".to_owned(), "Redis answered NOAUTH".to_owned());
    assert_eq!(told(&log), [complaint]);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_as_the_cause() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let log = Spans::capture();
    let redis = replica_at(Secret::fixed(server.url() + "/99"), WINDOW);
    refused(&redis, &write(&ONCE, "id"), &ticket(10)).await;
    let cause = "Redis answered ERR: DB index is out of range";
    assert_eq!(told(&log), [("WARN".to_owned(), cause.to_owned())]);
}

/// But nothing that could be a part of what it was asked.
#[tokio::test]
async fn an_error_without_a_code_is_told_in_the_words_of_redis() {
    for (answer, words) in [
        (
            "unknown command 'EVAL', with args beginning with: 'card-4929'",
            "unknown command",
        ),
        (
            "unknown command `EVAL`, with args beginning with: `card-4929`",
            "unknown command",
        ),
        (
            "The user executing the script can't run this command or subcommand script: b5, on @user_script:6.",
            "The user executing the script can't run this command or subcommand script",
        ),
        (
            "ACL failure in script: User gw has no permissions to run the 'hmget' command",
            "ACL failure in script",
        ),
        ("no such thing as \"card-4929\"", "no such thing as"),
        (
            "Error running script (call to f_b5): @user_script:6: oops",
            "Error running script",
        ),
    ] {
        let answer = format!("-ERR {answer}\r\n");
        let server = Played::start(move |_, question| match question {
            Question::Greeting => GREETED,
            _ => Step::Say(answer.clone().leak()),
        })
        .await;
        let log = Spans::capture();
        let redis = replica_at(server.url(), WINDOW);
        refused(&redis, &write(&ONCE, "id"), &ticket(10)).await;
        let cause = format!("Redis answered ERR: {words}");
        assert_eq!(told(&log), [("WARN".to_owned(), cause)]);
    }
}

#[test]
fn no_two_keys_are_spelled_the_same_and_none_holds_a_callers_words() {
    let key = |account: &str, id: &str| Key {
        account: account.to_owned(),
        ..write(&ONCE, id).key
    };
    let keys = [
        key("a", "bc"),
        key("ab", "c"),
        key("a", "b"),
        key("a", ""),
        key("", "a"),
        key("a", "}\r\nFLUSHALL\r\n"),
        // One after the other the parts of both are the same.
        key("a", "bAttachUserDatac"),
        key("aAttachUserDatab", "c"),
    ];
    let places: Vec<String> = keys.iter().map(|key| Place::of(key).write).collect();
    for (n, place) in places.iter().enumerate() {
        let hash = place.strip_prefix("switchboard:dedupe:{").unwrap();
        let hash = hash.strip_suffix('}').unwrap();
        assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(!places[..n].contains(place));
    }
}

#[tokio::test]
async fn a_changed_url_is_taken_up_once_it_is_of_use() {
    let meter = opentelemetry::global::meter("test");
    let (Some(old), Some(mut new)) = (RedisServer::start().await, RedisServer::start().await)
    else {
        return;
    };
    new.stop();
    let dir = Dir::new();
    let file = dir.write("redis_url", old.url());
    let link = Link::new(Secret::file(file), &meter);
    let set = |value: &str| {
        let mut set = redis::cmd("EVAL");
        let text = "return {redis.call('SET', KEYS[1], ARGV[1])['ok']}";
        set.arg(text).arg(1).arg("where").arg(value);
        set
    };
    link.ask(&set("old")).await.unwrap();
    dir.write("redis_url", new.url() + "/0");
    sleep(Duration::from_millis(1100)).await;
    link.ask(&set("still old")).await.unwrap();
    assert!(old.ask("GET where").await.unwrap().contains("still old"));

    new.start_again().await;
    dir.write("redis_url", new.url());
    drop(old);
    sleep(Duration::from_millis(1100)).await;
    link.ask(&set("new")).await.unwrap();
    assert!(new.ask("GET where").await.unwrap().contains("new"));
}

/// However long it takes to learn that it is of none.
#[tokio::test]
async fn nobody_waits_for_a_changed_url_while_the_old_one_is_of_use() {
    let answers = |question| match question {
        Question::Claim => MINE,
        Question::Greeting => GREETED,
        _ => DONE,
    };
    let old = Played::start(move |_, question| answers(question)).await;
    let silent = Played::start(|_, _| Step::Hang).await;
    let new = Played::start(move |_, question| answers(question)).await;
    let dir = Dir::new();
    let redis = replica_at(Secret::file(dir.write("redis_url", old.address())), WINDOW);
    let write = write(&ONCE, "id");
    drop(first(&redis, &write).await);
    dir.write("redis_url", silent.address() + "/0");
    sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        let hurried = hurried(Duration::from_millis(900));
        let claim = redis.claim(&write, &hurried).await;
        assert!(matches!(claim, Ok(Claim::First(_))));
    }
    until("it was tried", || silent.connections() == 1).await;
    dir.write("redis_url", new.address());
    let taken_up = async {
        while new.count(Question::Claim) == 0 {
            drop(first(&redis, &write).await);
            sleep(Duration::from_millis(50)).await;
        }
    };
    in_time("the new one to be taken up", taken_up).await;
}

#[tokio::test]
async fn the_url_is_shown_nowhere() {
    let meter = opentelemetry::global::meter("test");
    let url = Secret::fixed("redis://user:hunter2@127.0.0.1:1/0");
    let redis = Redis::new(url, LEASE, TaskTracker::new(), &meter);
    let failed = redis.link.ask(&redis::cmd("PING")).await.unwrap_err();
    assert!(!format!("{failed:?}").contains("hunter2"), "{failed:?}");
    assert_eq!(failed.came, Came::Nowhere);
}

const WINDOW: Duration = Duration::from_secs(600);

/// As Redis says it, and as its versions before 7 do.
const READ_ONLY: [&str; 2] = [
    "-READONLY You can't write against a read only replica.\r\n",
    "-ERR Error running script (call to f_c0ffee): @user_script:15: @user_script: 15: \
     -READONLY You can't write against a read only replica.\r\n",
];
const FULL: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

/// Who has so much time left.
fn hurried(time: Duration) -> Ticket {
    Ticket {
        deadline: Instant::now() + time,
        ..ticket(0)
    }
}

async fn refused(redis: &Arc<Redis>, write: &Write, ticket: &Ticket) -> Status {
    match redis.claim(write, ticket).await {
        Err(status) => status,
        Ok(Claim::First(_)) => panic!("it was this call's to do"),
        Ok(Claim::Again(outcome)) => panic!("was done before: {outcome:?}"),
    }
}

/// Until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let come_true = async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(what, come_true).await;
}

/// Nothing that is waited for here takes that long unless it never comes.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let come = tokio::time::timeout(Duration::from_secs(30), future).await;
    come.unwrap_or_else(|_| panic!("still waiting: {what}"))
}

/// It knows that the write is done by another.
#[tokio::test]
async fn a_repeat_that_waits_outlasts_a_redis_that_fails() {
    let asked = AtomicUsize::new(0);
    let server = Played::start(move |_, question| match question {
        Question::Claim => match asked.fetch_add(1, Ordering::Relaxed) {
            0 => RUNNING,
            1 => Step::Say(FULL),
            2 => Step::Close,
            3 => Step::Say("-LOADING Redis is loading the dataset in memory\r\n"),
            _ => Step::Say("*2\r\n$5\r\nended\r\n$6\r\n\n\x04done\r\n"),
        },
        _ => GREETED,
    })
    .await;
    let redis = replica_at(server.url(), WINDOW);
    let told = again(&redis, &write(&ONCE, "id")).await;
    assert_eq!(told.unwrap(), "done");
}

#[tokio::test]
async fn a_repeat_that_waits_is_never_told_that_nothing_was_sent() {
    let asked = AtomicUsize::new(0);
    let server = Played::start(move |_, question| match question {
        Question::Claim if asked.fetch_add(1, Ordering::Relaxed) == 0 => RUNNING,
        Question::Claim => Step::Say(FULL),
        _ => GREETED,
    })
    .await;
    let redis = replica_at(server.url(), WINDOW);
    let status = refused(&redis, &write(&ONCE, "id"), &ticket(1)).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("may or may not"), "{status:?}");
}

/// A new `request_id` would be no repeat of a call that may have been made before.
#[tokio::test]
async fn who_learned_nothing_in_time_is_told_nothing_about_the_vendor() {
    let server = Played::start(|_, question| match question {
        Question::Claim => Step::Hang,
        _ => GREETED,
    })
    .await;
    let redis = replica_at(server.url(), WINDOW);
    let hurried = hurried(Duration::from_millis(300));
    let status = refused(&redis, &write(&ONCE, "id"), &hurried).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "DEADLINE");
    assert_eq!(info.metadata.get("vendor"), None);
    assert_eq!(info.metadata["attempts"], "0");
}

/// However many they are, and however long it lasts.
#[tokio::test]
async fn who_leaves_before_redis_was_asked_leaves_nothing_behind() {
    let server = Played::start(|_, _| Step::Hang).await;
    let redis = replica_at(server.url(), WINDOW);
    let write = write(&ONCE, "id");
    let hurried = hurried(Duration::from_millis(100));
    let calls = (0..20).map(|_| refused(&redis, &write, &hurried));
    for status in futures_util::future::join_all(calls).await {
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    until("no task is left", || redis.tasks.is_empty()).await;
}

async fn silent_about_claims() -> Played {
    Played::start(|_, question| match question {
        Question::Claim => Step::Hang,
        Question::Release => DONE,
        _ => GREETED,
    })
    .await
}

#[tokio::test]
async fn a_claim_whose_caller_left_is_given_back() {
    let server = silent_about_claims().await;
    let redis = replica_at(server.url(), WINDOW);
    let hurried = hurried(Duration::from_millis(300));
    refused(&redis, &write(&ONCE, "id"), &hurried).await;
    until("it is released", || server.count(Question::Release) == 1).await;
}

/// What cannot be read may have been a yes.
#[tokio::test]
async fn a_claim_with_an_answer_that_cannot_be_read_is_given_back() {
    for answer in ["?mine\r\n", ":1\r\n", "*1\r\n:1\r\n"] {
        let server = Played::start(move |_, question| match question {
            Question::Claim => Step::Say(answer),
            Question::Release => DONE,
            _ => GREETED,
        })
        .await;
        let redis = replica_at(server.url(), WINDOW);
        let status = refused(&redis, &write(&ONCE, "id"), &ticket(10)).await;
        assert_eq!(status.code(), Code::Unavailable);
        until(answer, || server.count(Question::Release) == 1).await;
    }
}

/// Twice would be too long for who waits for it.
#[tokio::test]
async fn a_redis_that_does_not_answer_in_time_is_asked_once() {
    let server = silent_about_claims().await;
    let redis = replica_at(server.url(), WINDOW);
    let status = refused(&redis, &write(&ONCE, "id"), &ticket(10)).await;
    assert_eq!(status.code(), Code::Unavailable);
    until("it is released", || server.count(Question::Release) == 1).await;
    assert_eq!(server.count(Question::Claim), 1);
}

/// Whatever becomes of it the second time.
#[tokio::test]
async fn a_claim_that_may_have_arrived_the_first_time_is_given_back() {
    let server = Played::start(|connection, question| match (connection, question) {
        (1, Question::Claim) => Step::Close,
        (_, Question::Claim) => Step::Say(FULL),
        (_, Question::Release) => DONE,
        _ => GREETED,
    })
    .await;
    let redis = replica_at(server.url(), WINDOW);
    refused(&redis, &write(&ONCE, "id"), &ticket(10)).await;
    until("it is released", || server.count(Question::Release) == 1).await;
}

/// Who learns late that a connection is of no use says nothing of the one after it.
#[tokio::test]
async fn a_connection_is_not_left_for_the_faults_of_the_one_before() {
    let server = Played::start(|connection, question| match (connection, question) {
        (1, Question::Claim) => Step::Hang,
        (_, Question::Greeting) => GREETED,
        (_, Question::Claim) => MINE,
        _ => DONE,
    })
    .await;
    let redis = replica_at(server.url(), WINDOW);
    let [one, two, three] = ["one", "two", "three"].map(|id| write(&ONCE, id));
    let ticket = ticket(10);
    let later = async {
        sleep(Duration::from_millis(600)).await;
        refused(&redis, &two, &ticket).await
    };
    let between = async {
        refused(&redis, &one, &ticket).await;
        first(&redis, &three).await
    };
    let (_, turn) = tokio::join!(later, between);
    drop(turn);
    until("all are released", || server.count(Question::Release) == 3).await;
    assert_eq!(server.connections(), 2);
}

/// What was answered before is nobody's to know, so it is asked again.
#[tokio::test]
async fn a_connection_that_ends_before_or_within_an_answer_costs_nobody_a_refusal() {
    for half in ["", "*1\r\n$4\r\nmi"] {
        let server = Played::start(move |connection, question| match (connection, question) {
            (1, Question::Claim) if half.is_empty() => Step::Close,
            (1, Question::Claim) => Step::SayAndClose(half),
            (_, Question::Claim) => MINE,
            (_, Question::Greeting) => GREETED,
            _ => DONE,
        })
        .await;
        let redis = replica_at(server.url(), WINDOW);
        let turn = first(&redis, &write(&ONCE, "id")).await;
        assert_eq!(server.connections(), 2);
        turn.keep(response("done")).await;
        assert_eq!(server.count(Question::Release), 0);
    }
}

/// The address leads to another server by now.
#[tokio::test]
async fn a_server_that_is_no_longer_the_one_to_ask_is_left_at_once() {
    let others = [
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        "-NOREPLICAS Not enough good replicas to write.\r\n",
        "-NOAUTH Authentication required.\r\n",
    ];
    for answer in READ_ONLY.into_iter().chain(others) {
        let server = Played::start(move |connection, question| match (connection, question) {
            (1, Question::Claim) => Step::Say(answer),
            (_, Question::Claim) => MINE,
            (_, Question::Greeting) => GREETED,
            _ => DONE,
        })
        .await;
        let redis = replica_at(server.url(), WINDOW);
        let turn = first(&redis, &write(&ONCE, "id")).await;
        turn.keep(response("done")).await;
        assert_eq!(server.connections(), 2, "{answer}");
    }
}

/// Only what is told to a server that takes questions can be refused. One that loads, or that became a
/// replica, is waited for as one that is gone.
#[tokio::test]
async fn how_far_a_question_came_is_told_by_the_answer() {
    let [read_only, wrapped] = READ_ONLY;
    let full_within = "-ERR Error running script (call to f_c0ffee): @user_script:13: \
                       -OOM command not allowed when used memory > 'maxmemory'.\r\n";
    for (answer, came) in [
        (read_only, Came::Nowhere),
        (wrapped, Came::Nowhere),
        ("-LOADING Redis is loading\r\n", Came::Nowhere),
        ("-MASTERDOWN Link with MASTER is down\r\n", Came::Nowhere),
        (
            "-NOREPLICAS Not enough good replicas to write.\r\n",
            Came::Nowhere,
        ),
        ("-NOAUTH Authentication required.\r\n", Came::Nowhere),
        (
            "-ERR Protocol error: unauthenticated multibulk length\r\n",
            Came::Nowhere,
        ),
        (FULL, Came::Refused),
        (full_within, Came::Refused),
        ("-MISCONF Redis is configured to save\r\n", Came::Refused),
        ("-ERR - what - ever -x -A1\r\n", Came::Refused),
        ("?what\r\n", Came::Perhaps),
        ("+mine\r\n", Came::Perhaps),
    ] {
        let server = Played::start(move |_, question| match question {
            Question::Greeting => GREETED,
            _ => Step::Say(answer),
        })
        .await;
        let redis = replica_at(server.url(), WINDOW);
        let question = script(include_str!("release.lua"), &[]);
        let failed = redis.link.ask(&question).await.unwrap_err();
        assert_eq!(failed.came, came, "{answer}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_is_not_connected_to_for_every_question() {
    let server = Played::start(|_, question| match question {
        Question::Greeting => GREETED,
        _ => Step::Say(READ_ONLY[0]),
    })
    .await;
    let redis = replica_at(server.url(), WINDOW);
    let begun = Instant::now();
    for _ in 0..200 {
        refused(&redis, &write(&ONCE, "id"), &ticket(10)).await;
    }
    let pauses = begun.elapsed().as_millis() / PAUSE.as_millis();
    let most = 2 * (1 + pauses as usize);
    assert!(server.connections() <= most, "{}", server.connections());
}

/// Of the log's lines, how bad and with which cause.
fn told(log: &Spans) -> Vec<(String, String)> {
    let word = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap_or("").to_owned();
    let lines = log.lines();
    let told = |line| (word(line, "level"), word(line, "cause"));
    lines.iter().map(told).collect()
}

/// It answers for what is there, and takes in nothing new.
#[tokio::test]
async fn a_full_redis_is_complained_of_once() {
    let asked = AtomicUsize::new(0);
    let server = Played::start(move |_, question| match question {
        Question::Claim if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) => {
            Step::Say(FULL)
        }
        Question::Claim => Step::Say("*1\r\n$6\r\nreused\r\n"),
        _ => GREETED,
    })
    .await;
    let log = Spans::capture();
    let redis = replica_at(server.url(), WINDOW);
    for code in [Code::Unavailable, Code::InvalidArgument].repeat(10) {
        let status = refused(&redis, &write(&ONCE, "id"), &ticket(10)).await;
        assert_eq!(status.code(), code);
    }
    let complaint = ("WARN".to_owned(), "Redis answered OOM".to_owned());
    assert_eq!(told(&log), [complaint]);
    assert_eq!(server.connections(), 1, "it is the one to ask");
}

/// Nothing that it waits for is real: there is no server behind either URL.
#[tokio::test(start_paused = true)]
async fn another_connection_is_tried_after_a_pause_and_another_cause_is_told() {
    let dir = Dir::new();
    let gone = format!("unix://{}", dir.path("gone").display());
    let file = dir.write("redis_url", gone);
    let log = Spans::capture();
    let redis = replica_at(Secret::file(file.clone()), WINDOW);
    let failure = async || {
        let failed = redis.link.ask(&redis::cmd("PING")).await.unwrap_err();
        assert_eq!(failed.came, Came::Nowhere);
        format!("{failed:?}").contains("cannot read")
    };
    assert!(!failure().await);
    std::fs::remove_file(&file).unwrap();
    assert!(!failure().await, "nothing was tried");
    tokio::time::advance(PAUSE - Duration::from_millis(1)).await;
    assert!(!failure().await, "nothing was tried");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(failure().await);
    assert_eq!(told(&log).len(), 1, "one soon after the other");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(failure().await);
    let lines = told(&log);
    assert_eq!(lines.len(), 2);
    assert!(lines[1].1.contains("cannot read"), "{lines:?}");
}
