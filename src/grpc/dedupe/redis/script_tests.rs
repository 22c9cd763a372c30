//! What each script makes of each state that it may find.

use super::server::RedisServer;
use super::*;

/// One write in a Redis, and calls that know nothing of each other.
struct Scripts {
    server: RedisServer,
    redis: Arc<Redis>,
    place: Place,
}

impl Scripts {
    async fn start() -> Option<Scripts> {
        let server = RedisServer::start().await?;
        Some(Scripts {
            redis: replica(&server, WINDOW),
            place: Place::of(&write(&ONCE, "id").key),
            server,
        })
    }

    async fn run(&self, text: &str, arguments: &[&str]) -> String {
        let mut question = script(text, &[&self.place.write, &self.place.lease]);
        question.arg(arguments);
        let answer = self.redis.link.ask(&question).await.unwrap();
        String::from_utf8(answer.concat()).unwrap()
    }

    /// Of a window of 600 s.
    async fn claim(&self, token: &str) -> String {
        let arguments = ["1", "f", token, "600000", "6000", "12000", "0", "1"];
        self.run(include_str!("claim.lua"), &arguments).await
    }

    async fn finish(&self, token: &str, result: &str) -> String {
        let arguments = ["1", "f", token, "600000", result];
        self.run(include_str!("finish.lua"), &arguments).await
    }

    async fn release(&self, token: &str) -> String {
        let arguments = [token, "12000"];
        self.run(include_str!("release.lua"), &arguments).await
    }

    async fn replace(&self, version: &str, fingerprint: &str) -> String {
        let arguments = [version, fingerprint, "settled"];
        self.run(include_str!("replace.lua"), &arguments).await
    }

    /// Till the write is forgotten, and till its lease ends, in seconds; -2 for what is not there.
    async fn left(&self) -> (i32, i32) {
        let of = |key| seconds_left(&self.server, key);
        (of(&self.place.write).await, of(&self.place.lease).await)
    }

    async fn expire_in(&self, seconds: u32) {
        let expire = format!("EXPIRE {} {seconds}", self.place.write);
        assert_eq!(self.server.ask(&expire).await.unwrap(), ":1\r\n");
    }
}

#[tokio::test]
async fn a_result_is_its_owners_to_tell_and_only_once() {
    let Some(scripts) = Scripts::start().await else {
        return;
    };
    assert_eq!(scripts.claim("own").await, "mine");
    assert_eq!(scripts.finish("other", "a").await, "passed");
    assert_eq!(scripts.claim("repeat").await, "running");
    assert_eq!(scripts.finish("own", "b").await, "kept");
    assert_eq!(scripts.finish("own", "c").await, "passed");
    assert_eq!(scripts.claim("repeat").await, "endedb");
}

#[tokio::test]
async fn a_result_is_kept_as_long_as_the_claim_or_the_window_where_that_was_lost() {
    let Some(scripts) = Scripts::start().await else {
        return;
    };
    scripts.claim("own").await;
    scripts.expire_in(30).await;
    scripts.finish("own", "a").await;
    let (write, lease) = scripts.left().await;
    assert!((25..=30).contains(&write), "{write}");
    assert_eq!(lease, -2, "nobody does it any more");

    scripts.server.ask("FLUSHALL").await.unwrap();
    assert_eq!(scripts.finish("own", "a").await, "kept");
    let (write, _) = scripts.left().await;
    assert!((595..=600).contains(&write), "{write}");
}

#[tokio::test]
async fn a_claim_is_its_owners_to_give_back_and_not_after_its_end() {
    let Some(scripts) = Scripts::start().await else {
        return;
    };
    scripts.claim("own").await;
    assert_eq!(scripts.release("other").await, "passed");
    assert_eq!(scripts.claim("repeat").await, "running");
    assert_eq!(scripts.release("own").await, "released");
    let (write, lease) = scripts.left().await;
    assert!((10..=12).contains(&write), "{write}");
    assert_eq!(lease, -2);

    assert_eq!(scripts.claim("repeat").await, "mine");
    scripts.finish("repeat", "a").await;
    assert_eq!(scripts.release("repeat").await, "passed");
    assert_eq!(scripts.claim("another").await, "endeda");
}

/// So that it is the next call's, and is kept as long as any other.
#[tokio::test]
async fn a_claim_that_arrives_after_it_was_given_back_is_none() {
    let Some(scripts) = Scripts::start().await else {
        return;
    };
    assert_eq!(scripts.release("late").await, "released");
    assert_eq!(scripts.claim("late").await, "released");
    assert_eq!(scripts.claim("next").await, "mine");
    assert_eq!(scripts.finish("next", "a").await, "kept");
    let (write, _) = scripts.left().await;
    assert!((595..=600).contains(&write), "{write}");
}

/// And not gone, however short its window.
#[tokio::test]
async fn what_is_held_on_to_is_remembered_till_it_can_be_found_abandoned() {
    let Some(scripts) = Scripts::start().await else {
        return;
    };
    scripts.claim("own").await;
    for (left, then) in [(300, 295..=300), (3, 11..=12)] {
        scripts.expire_in(left).await;
        assert_eq!(scripts.claim("own").await, "mine");
        let (write, lease) = scripts.left().await;
        assert!(then.contains(&write), "{write}");
        assert!((5..=6).contains(&lease), "{lease}");
    }
}

#[tokio::test]
async fn only_what_the_same_call_was_given_is_replaced() {
    let Some(scripts) = Scripts::start().await else {
        return;
    };
    scripts.claim("own").await;
    scripts.finish("own", "a").await;
    assert_eq!(scripts.replace("2", "f").await, "passed");
    assert_eq!(scripts.replace("1", "another").await, "passed");
    assert_eq!(scripts.claim("repeat").await, "endeda");
    assert_eq!(scripts.replace("1", "f").await, "kept");
    assert_eq!(scripts.claim("repeat").await, "endedsettled");
}
