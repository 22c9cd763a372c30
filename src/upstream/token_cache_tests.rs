//! One account's token through its life, in paused time.

use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;
use crate::upstream::backoff::LEAST_THROTTLED;
use crate::upstream::testing::{
    Login, Logins, answer, login_busy, login_throttled, tokens, unavailable,
};

const SECOND: Duration = Duration::from_secs(1);

/// The life of tokens in most tests: refreshed from 300 s on, waited for from 540 s on.
const LIFE: Duration = Duration::from_secs(600);

fn scripted(script: impl IntoIterator<Item = Login>) -> (Logins, TokenCache<Logins>) {
    let logins = Logins::new(LIFE, script);
    let cache = tokens(&logins);
    (logins, cache)
}

/// The number of the login whose token is to be had now, which must not be past its end.
async fn number(cache: &TokenCache<Logins>) -> usize {
    let lease = cache.get().await.expect("a token");
    assert!(!lease.has_ended(Instant::now()));
    lease.token().0
}

async fn label(cache: &TokenCache<Logins>) -> &'static str {
    match cache.get().await {
        Ok(_) => "ok",
        Err(error) => error.label(),
    }
}

/// When to come again, as who wants a token is told.
async fn left(cache: &TokenCache<Logins>) -> Option<Duration> {
    match cache.get().await.err()? {
        LoginError::Throttled { retry_after, .. } => retry_after,
        LoginError::Busy { retry_after, .. } => Some(retry_after),
        _ => None,
    }
}

/// Sleeps until `moment` after `start`.
async fn at(start: Instant, moment: Duration) {
    tokio::time::sleep_until(start + moment).await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_want_it_and_one_login_is_made() {
    let (logins, cache) = scripted([Login::granted(LIFE).after(SECOND)]);
    let all = join_all((0..100).map(|_| number(&cache))).await;
    assert_eq!(all, [1; 100]);
    assert_eq!(logins.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_share_a_failure() {
    let (logins, cache) = scripted([Login::failed(unavailable(true)).after(SECOND)]);
    let all = join_all((0..100).map(|_| label(&cache))).await;
    assert_eq!(all, ["unavailable"; 100]);
    assert_eq!(logins.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_to_wait_may_leave_without_harm_to_the_others() {
    let (logins, cache) = scripted([Login::granted(LIFE).after(SECOND)]);
    let task = || {
        let cache = cache.clone();
        tokio::spawn(async move { number(&cache).await })
    };
    let leader = task();
    sleep(SECOND / 4).await;
    let others: Vec<_> = (0..10).map(|_| task()).collect();
    sleep(SECOND / 4).await;
    leader.abort();
    for other in others {
        assert_eq!(other.await.unwrap(), 1);
    }
    assert_eq!(logins.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn all_may_leave_and_the_login_still_lands() {
    let (logins, cache) = scripted([Login::granted(LIFE).after(SECOND)]);
    let left = tokio::time::timeout(SECOND / 2, cache.get()).await;
    assert!(left.is_err());
    sleep(SECOND).await;
    assert_eq!(number(&cache).await, 1);
    assert_eq!(logins.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn from_half_of_its_life_one_refresh_runs_while_the_old_one_is_used() {
    let (logins, cache) = scripted([Login::granted(LIFE), Login::granted(LIFE).after(SECOND * 2)]);
    let start = Instant::now();
    assert_eq!(number(&cache).await, 1);
    at(start, LIFE / 2 - SECOND).await;
    assert_eq!(number(&cache).await, 1);
    assert_eq!(logins.made(), 1);
    at(start, LIFE / 2).await;
    let all = join_all((0..100).map(|_| number(&cache))).await;
    assert_eq!(all, [1; 100]);
    assert_eq!(start.elapsed(), LIFE / 2, "somebody waited");
    at(start, LIFE / 2 + SECOND).await;
    assert_eq!(number(&cache).await, 1);
    at(start, LIFE / 2 + SECOND * 3).await;
    assert_eq!(number(&cache).await, 2);
    assert_eq!(logins.made(), 2);
}

#[tokio::test(start_paused = true)]
async fn in_the_last_minute_all_wait_for_one_login() {
    // 60 s, or a tenth of a life that is shorter than 600 s.
    for (life, margin) in [(LIFE, 60), (LIFE * 6, 60), (SECOND * 100, 10)] {
        let margin = SECOND * margin;
        let logins = Logins::new(life, [Login::granted(life)]);
        let cache = tokens(&logins);
        let start = Instant::now();
        assert_eq!(number(&cache).await, 1);
        at(start, life - margin).await;
        let all = join_all((0..50).map(|_| number(&cache))).await;
        assert_eq!(all, [2; 50]);
        assert_eq!(logins.made(), 2, "life {life:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_last_minute_nobody_waits() {
    let slow = Login::granted(LIFE).after(SECOND * 30);
    let (_, cache) = scripted([Login::granted(LIFE), slow]);
    let start = Instant::now();
    assert_eq!(number(&cache).await, 1);
    at(start, SECOND * 539).await;
    assert_eq!(number(&cache).await, 1);
    assert_eq!(start.elapsed(), SECOND * 539);
    at(start, SECOND * 540).await;
    assert_eq!(
        number(&cache).await,
        2,
        "the refresh under way is waited for"
    );
    assert_eq!(start.elapsed(), SECOND * 569);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_never_used_past_its_end() {
    let failing = (0..200).map(|_| Login::failed(unavailable(false)));
    let (_, cache) = scripted([Login::granted(LIFE)].into_iter().chain(failing));
    let start = Instant::now();
    assert_eq!(number(&cache).await, 1);
    at(start, LIFE - SECOND / 1000).await;
    assert_eq!(number(&cache).await, 1);
    at(start, LIFE).await;
    assert_eq!(label(&cache).await, "unavailable");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ended_while_the_login_ran_is_not_used_either() {
    let late = Login::granted(SECOND).after(SECOND * 2);
    let (logins, cache) = scripted([late]);
    assert_eq!(label(&cache).await, "unavailable");
    assert_eq!(number(&cache).await, 2);
    assert_eq!(logins.made(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_keeps_the_good_token_and_pauses() {
    let (logins, cache) = scripted([Login::granted(LIFE), Login::failed(unavailable(true))]);
    let start = Instant::now();
    assert_eq!(number(&cache).await, 1);
    at(start, LIFE / 2).await;
    // The pause is at least 15 s: half of min(life / 10, 30 s).
    for _ in 0..140 {
        assert_eq!(number(&cache).await, 1);
        sleep(SECOND / 10).await;
    }
    assert_eq!(logins.made(), 2, "a refresh on every call");
    at(start, LIFE / 2 + SECOND * 31).await;
    assert_eq!(number(&cache).await, 1);
    sleep(SECOND).await;
    assert_eq!(number(&cache).await, 3);
    assert_eq!(logins.made(), 3);
}

/// However short the pause of a short life: accounts lock.
#[tokio::test(start_paused = true)]
async fn a_refused_refresh_is_not_made_again_for_as_long_as_a_refused_login() {
    let (logins, cache) = scripted([Login::granted(SECOND * 20), Login::refused()]);
    assert_eq!(number(&cache).await, 1);
    sleep(SECOND * 10).await;
    for _ in 0..49 {
        assert_eq!(number(&cache).await, 1);
        sleep(SECOND / 10).await;
    }
    assert_eq!(logins.made(), 2);
}

/// The next token may have a much shorter life than the one whose refresh failed.
#[tokio::test(start_paused = true)]
async fn a_pause_ends_with_a_login_that_succeeds() {
    let (logins, cache) = scripted([
        Login::granted(LIFE),
        Login::failed(unavailable(false)),
        Login::granted(SECOND * 4),
    ]);
    assert_eq!(number(&cache).await, 1);
    sleep(LIFE / 2).await;
    assert_eq!(number(&cache).await, 1, "while its refresh fails");
    sleep(SECOND).await;
    cache.login().await.unwrap();
    sleep(SECOND * 2).await;
    assert_eq!(number(&cache).await, 3);
    sleep(SECOND).await;
    assert_eq!((number(&cache).await, logins.made()), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_failed_refresh_keeps_the_good_token() {
    let failures = [
        LoginError::Secret {
            cause: "torn".into(),
        },
        unavailable(false),
        login_throttled(None),
        LoginError::Unreadable {
            cause: "HTML".into(),
        },
    ];
    let refresh = failures.into_iter().map(Login::failed);
    for failing in refresh.chain([Login::refused(), Login::panicked()]) {
        let (_, cache) = scripted([Login::granted(LIFE), failing]);
        let start = Instant::now();
        assert_eq!(number(&cache).await, 1);
        at(start, LIFE / 2).await;
        assert_eq!(number(&cache).await, 1);
        sleep(SECOND).await;
        assert_eq!(number(&cache).await, 1);
        at(start, LIFE / 2 + SECOND * 40).await;
        number(&cache).await;
        sleep(SECOND).await;
        assert_eq!(number(&cache).await, 3, "the refresh died for good");
    }
}

/// The last part of a token's life is there for the case that no new one can be had: then
/// nobody should wait for a login that has just failed.
#[tokio::test(start_paused = true)]
async fn in_its_last_part_a_token_outlives_failed_logins() {
    let failing = || Login::failed(unavailable(false)).after(SECOND * 5);
    let (logins, cache) = scripted([Login::granted(LIFE), failing(), failing(), failing()]);
    let start = Instant::now();
    assert_eq!(number(&cache).await, 1);
    at(start, LIFE - SECOND * 60).await;
    let all = join_all((0..50).map(|_| number(&cache))).await;
    assert_eq!(all, [1; 50]);
    assert_eq!(logins.made(), 2);
    let failed = Instant::now();
    for _ in 0..100 {
        assert_eq!(number(&cache).await, 1);
    }
    assert_eq!(logins.made(), 2, "a login on every call");
    assert_eq!(
        failed.elapsed(),
        Duration::ZERO,
        "waited for a failing login"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_grants_nothing_is_remembered_for_five_seconds() {
    let unreadable = LoginError::Unreadable {
        cause: String::new(),
    };
    let misdirected = LoginError::Misdirected {
        meaning: crate::upstream::error::Refusal::Misconfigured,
        answer: answer(404),
    };
    for (login, expected) in [
        (Login::refused(), "refused"),
        (Login::failed(unreadable), "unreadable"),
        (Login::failed(misdirected), "misdirected"),
    ] {
        let (logins, cache) = scripted([login]);
        let start = Instant::now();
        for _ in 0..49 {
            assert_eq!(label(&cache).await, expected);
            sleep(SECOND / 10).await;
        }
        assert_eq!(logins.made(), 1);
        at(start, SECOND * 5).await;
        assert_eq!(number(&cache).await, 2);
    }
}

/// Agents are locked out after some refused logins, and as long as there are more of them. Each is
/// remembered twice as long as the one before, up to a minute.
#[tokio::test(start_paused = true)]
async fn refused_again_and_again_an_account_is_left_alone_for_longer_each_time() {
    let (logins, cache) = scripted(std::iter::repeat_with(Login::refused).take(20));
    let start = Instant::now();
    let mut made_at = Vec::new();
    while start.elapsed() < SECOND * 260 {
        let made = logins.made();
        assert_eq!(label(&cache).await, "refused");
        if logins.made() > made {
            made_at.push(start.elapsed().as_secs());
        }
        sleep(SECOND).await;
    }
    assert_eq!(made_at, [0, 5, 15, 35, 75, 135, 195, 255]);
    // Another secret has not been refused yet.
    for _ in 0..2 {
        let made = logins.made();
        logins.change_secret();
        assert_eq!(label(&cache).await, "refused");
        sleep(SECOND * 5).await;
        assert_eq!(label(&cache).await, "refused");
        assert_eq!(logins.made(), made + 2);
    }
}

/// What refused the right secret was a passing trouble, and is over.
#[tokio::test(start_paused = true)]
async fn a_login_that_succeeds_makes_refusals_forgotten() {
    let life = SECOND * 100;
    let (refused, granted) = (Login::refused, Login::granted(life));
    let (logins, cache) = scripted([refused(), refused(), granted, refused(), refused()]);
    for moments in [[0, 5, 15], [0, 5, 15]] {
        let (start, made) = (Instant::now(), logins.made());
        for (before, moment) in moments.into_iter().enumerate() {
            at(start, SECOND * moment).await;
            let _ = cache.get().await;
            assert_eq!(logins.made(), made + before + 1, "{moment}");
        }
        sleep(life).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_secret_makes_a_refusal_forgotten_at_once() {
    let (logins, cache) = scripted([Login::refused(), Login::refused()]);
    assert_eq!(label(&cache).await, "refused");
    logins.change_secret();
    assert_eq!(label(&cache).await, "refused");
    assert_eq!(logins.made(), 2, "the new secret was not tried");
    assert_eq!(label(&cache).await, "refused");
    assert_eq!(logins.made(), 2, "the refusal of the new secret is one too");
    logins.change_secret();
    assert_eq!(number(&cache).await, 3);
}

/// A secret that changes while it is being refused, or while its file is half written: that was the old
/// one's, and is no answer to anybody.
#[tokio::test(start_paused = true)]
async fn a_secret_that_changed_meanwhile_is_tried_before_anybody_is_told() {
    let unreadable = LoginError::Secret {
        cause: String::new(),
    };
    for old in [Login::refused(), Login::failed(unreadable)] {
        let (logins, cache) = scripted([old.after(SECOND)]);
        let changed = async {
            sleep(SECOND / 2).await;
            logins.change_secret();
        };
        let (number, ()) = tokio::join!(number(&cache), changed);
        assert_eq!((number, logins.made()), (2, 2));
        // It is the new one's token.
        assert_eq!(cache.get().await.unwrap().token().0, 2);
        assert_eq!(logins.made(), 2);
    }
}

/// Once: a file that changes all the time would have the account locked.
#[tokio::test(start_paused = true)]
async fn the_second_refusal_stands() {
    let (logins, cache) = scripted([
        Login::refused().after(SECOND),
        Login::refused().after(SECOND),
    ]);
    let changed = async {
        for _ in 0..3 {
            sleep(SECOND * 3 / 4).await;
            logins.change_secret();
        }
    };
    let (label, ()) = tokio::join!(label(&cache), changed);
    assert_eq!((label, logins.made()), ("refused", 2));
}

#[tokio::test(start_paused = true)]
async fn other_failures_are_not_remembered() {
    for failure in [
        unavailable(true),
        unavailable(false),
        LoginError::Secret {
            cause: String::new(),
        },
    ] {
        let expected = failure.label();
        let (logins, cache) = scripted([Login::failed(failure)]);
        assert_eq!(label(&cache).await, expected);
        assert_eq!(number(&cache).await, 2, "{expected}");
        assert_eq!(logins.made(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_names_a_time_is_left_alone_until_then() {
    for told in [login_throttled(Some(SECOND * 30)), login_busy(SECOND * 30)] {
        let expected = told.label();
        let (logins, cache) = scripted([Login::failed(told.clone()), Login::failed(told)]);
        let start = Instant::now();
        assert_eq!(label(&cache).await, expected);
        at(start, SECOND * 10).await;
        for _ in 0..100 {
            assert_eq!(left(&cache).await, Some(SECOND * 20));
        }
        assert_eq!(logins.made(), 1);
        at(start, SECOND * 31).await;
        assert_eq!(label(&cache).await, expected);
        assert_eq!(logins.made(), 2);
        logins.change_secret();
        assert_eq!(number(&cache).await, 3, "another secret, another chance");
    }
}

/// Nor asked by any other call before one that was told so would come again.
#[tokio::test(start_paused = true)]
async fn a_vendor_that_limits_logins_and_names_no_time_is_not_asked_at_once() {
    let none = Duration::ZERO;
    for told in [
        login_throttled(None),
        login_throttled(Some(none)),
        login_busy(none),
    ] {
        let expected = told.label();
        let (logins, cache) = scripted([Login::failed(told)]);
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(label(&cache).await, expected);
            sleep(LEAST_THROTTLED / 11).await;
        }
        assert_eq!(logins.made(), 1);
        at(start, LEAST_THROTTLED).await;
        assert_eq!(number(&cache).await, 2);
    }
}

/// A slip of the vendor's, or of something in front of it, is not believed for a day.
#[tokio::test(start_paused = true)]
async fn a_time_far_away_is_not_waited_for_to_its_end() {
    let (logins, cache) = scripted([Login::failed(login_busy(SECOND * 86_400))]);
    let start = Instant::now();
    assert_eq!(label(&cache).await, "busy");
    at(start, SECOND * 61).await;
    assert_eq!(number(&cache).await, 2);
    assert_eq!(logins.made(), 2);
}

/// Whoever waited for the login, or came after it: another time would be a call for nothing, or one that
/// does not come although it could.
#[tokio::test(start_paused = true)]
async fn all_are_told_when_the_next_login_is_made() {
    let none = Duration::ZERO;
    for (told, made_after) in [
        (login_throttled(None), LEAST_THROTTLED),
        (login_throttled(Some(none)), LEAST_THROTTLED),
        (login_busy(none), LEAST_THROTTLED),
        (login_busy(SECOND * 30), SECOND * 30),
        (login_throttled(Some(SECOND * 86_400)), LONGEST_WAIT),
        (login_busy(SECOND * 86_400), LONGEST_WAIT),
    ] {
        let (logins, cache) = scripted([Login::failed(told).after(SECOND)]);
        let all = join_all((0..10).map(|_| left(&cache))).await;
        assert_eq!(all, [Some(made_after); 10]);
        assert_eq!(left(&cache).await, Some(made_after));
        assert_eq!(logins.made(), 1);
        sleep(made_after).await;
        assert_eq!(number(&cache).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_refusals_of_one_token_are_one_login() {
    let (logins, cache) = scripted([Login::granted(LIFE), Login::granted(LIFE).after(SECOND)]);
    let lease = cache.get().await.unwrap();
    lease.mark_accepted();
    let refused = join_all((0..100).map(|_| async {
        cache.invalidate(&lease, &answer(401), false);
        number(&cache).await
    }))
    .await;
    assert_eq!(refused, [2; 100]);
    // Those whose refusal comes late do no harm to the successor.
    cache.invalidate(&lease, &answer(401), false);
    assert_eq!(number(&cache).await, 2);
    assert_eq!(logins.made(), 2);
}

/// A call that is refused with one token, and replayed and refused with the next.
async fn refused_twice(cache: &TokenCache<Logins>) {
    for replayed in [false, true] {
        let lease = cache.get().await.expect("a token");
        cache.invalidate(&lease, &answer(401), replayed);
    }
}

/// What refuses them is not the token, which others took: no login cures that.
#[tokio::test(start_paused = true)]
async fn calls_that_no_token_helps_cost_so_many_logins_a_minute_and_no_more() {
    let logins = Logins::new(None, []);
    let cache = tokens(&logins);
    for minute in 1..4 {
        let start = Instant::now();
        for _ in 0..200 {
            cache.get().await.expect("a token").mark_accepted();
            refused_twice(&cache).await;
            sleep(SECOND / 4).await;
        }
        let in_vain = minute * 2 * IN_VAIN_A_MINUTE as usize;
        // One is there in the end, and stays.
        assert_eq!(logins.made(), in_vain + 1);
        assert_eq!(number(&cache).await, in_vain + 1);
        at(start, SECOND * 60).await;
    }
}

/// The call was refused with the one before, too, and others are well with this one.
#[tokio::test(start_paused = true)]
async fn a_replay_that_is_refused_takes_no_token_that_others_are_well_with() {
    let logins = Logins::new(None, []);
    let cache = tokens(&logins);
    let lease = cache.get().await.expect("a token");
    lease.mark_accepted();
    for (replayed, number_after) in [(true, 1), (false, 2)] {
        cache.invalidate(&lease, &answer(401), replayed);
        assert_eq!(number(&cache).await, number_after);
    }
}

/// One that is refused to everybody is lost, whatever logins were in vain before it.
#[tokio::test(start_paused = true)]
async fn a_lost_token_is_thrown_away_however_many_logins_were_in_vain() {
    let logins = Logins::new(None, []);
    let cache = tokens(&logins);
    for _ in 0..2 * IN_VAIN_A_MINUTE {
        cache.get().await.expect("a token").mark_accepted();
        refused_twice(&cache).await;
    }
    let lost = cache.get().await.expect("a token");
    lost.mark_accepted();
    let made = logins.made();
    for refusal in 1..=LOST {
        assert_eq!(number(&cache).await, made, "{refusal}");
        cache.invalidate(&lost, &answer(401), refusal % 2 == 0);
    }
    assert_eq!(number(&cache).await, made + 1);
}

/// As with a vendor that forgets sessions all the time: each call is well with the next one.
#[tokio::test(start_paused = true)]
async fn tokens_are_lost_as_often_as_the_vendor_likes() {
    let logins = Logins::new(None, []);
    let cache = tokens(&logins);
    for made in 1..1000 {
        let lease = cache.get().await.expect("a token");
        assert_eq!(lease.token().0, made);
        lease.mark_accepted();
        cache.invalidate(&lease, &answer(401), false);
    }
}

#[tokio::test(start_paused = true)]
async fn grants_that_are_refused_at_once_count_as_a_refusal() {
    let (logins, cache) = scripted([]);
    for expected in [1, 2] {
        let lease = cache.get().await.unwrap();
        assert_eq!(lease.token().0, expected);
        cache.invalidate(&lease, &answer(401), false);
    }
    let start = Instant::now();
    for _ in 0..100 {
        assert!(matches!(cache.get().await, Err(LoginError::Useless(_))));
    }
    assert_eq!(logins.made(), 2);
    at(start, SECOND * 5).await;
    // One more useless one is enough to hold off again.
    let third = cache.get().await.unwrap();
    cache.invalidate(&third, &answer(401), false);
    assert!(matches!(cache.get().await, Err(LoginError::Useless(_))));
    assert_eq!(logins.made(), 3);
    logins.change_secret();
    assert_eq!(number(&cache).await, 4, "another secret, another chance");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_was_accepted_starts_the_count_anew() {
    let (logins, cache) = scripted([]);
    for round in 1..10 {
        let lease = cache.get().await.expect("not held off");
        assert_eq!(lease.token().0, round);
        // Every second one is of use.
        if round % 2 == 0 {
            lease.mark_accepted();
        }
        cache.invalidate(&lease, &answer(401), false);
    }
    assert_eq!(logins.made(), 9);
}

/// Also where the accepted one was not refused in the end but replaced.
#[tokio::test(start_paused = true)]
async fn a_grant_that_was_accepted_and_replaced_starts_the_count_anew() {
    let (_, cache) = scripted([]);
    cache.invalidate(&cache.get().await.unwrap(), &answer(401), false);
    let start = Instant::now();
    cache.get().await.unwrap().mark_accepted();
    at(start, LIFE - SECOND).await;
    let third = cache.get().await.unwrap();
    assert_eq!(third.token().0, 3);
    cache.invalidate(&third, &answer(401), false);
    assert_eq!(number(&cache).await, 4);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_panics_does_not_wedge_the_cache() {
    let (logins, cache) = scripted([Login::panicked().after(SECOND), Login::panicked()]);
    let all = join_all((0..10).map(|_| label(&cache))).await;
    assert_eq!(all, ["unavailable"; 10]);
    assert_eq!(label(&cache).await, "unavailable");
    assert_eq!(number(&cache).await, 3);
    assert_eq!(logins.made(), 3);
}

#[tokio::test(start_paused = true)]
async fn another_secret_is_a_refresh_in_the_background() {
    let (logins, cache) = scripted([Login::granted(None), Login::granted(None).after(SECOND)]);
    assert_eq!(number(&cache).await, 1);
    logins.change_secret();
    let start = Instant::now();
    let all = join_all((0..100).map(|_| number(&cache))).await;
    assert_eq!(all, [1; 100]);
    assert_eq!(start.elapsed(), Duration::ZERO, "somebody waited");
    sleep(SECOND * 2).await;
    assert_eq!(number(&cache).await, 2);
    sleep(SECOND * 2).await;
    assert_eq!(number(&cache).await, 2);
    assert_eq!(logins.made(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_new_secret_leaves_the_old_token_in_use() {
    let (logins, cache) = scripted([Login::granted(None), Login::refused()]);
    assert_eq!(number(&cache).await, 1);
    logins.change_secret();
    for _ in 0..14 {
        assert_eq!(number(&cache).await, 1);
        sleep(SECOND).await;
    }
    assert_eq!(logins.made(), 2, "a storm of logins with a bad secret");
    // And the next secret is tried at once.
    logins.change_secret();
    assert_eq!(number(&cache).await, 1);
    sleep(SECOND).await;
    assert_eq!(number(&cache).await, 3);
}

/// Far shorter than any margin: refreshed once per half life, and not on every call.
#[tokio::test(start_paused = true)]
async fn a_life_of_one_second_is_lived() {
    for takes in [0, 10, 300, 700] {
        let takes = Duration::from_millis(takes);
        let logins = Logins::new(
            SECOND,
            (0..200).map(|_| Login::granted(SECOND).after(takes)),
        );
        let cache = tokens(&logins);
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < SECOND * 20 {
            number(&cache).await;
            calls += 1;
            sleep(Duration::from_millis(10)).await;
        }
        assert!(calls > 100, "login takes {takes:?}: {calls} calls");
        let most = if takes < SECOND / 2 { 42 } else { 80 };
        assert!(
            logins.made() <= most,
            "login takes {takes:?}: {}",
            logins.made()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_without_an_end_is_never_refreshed() {
    let logins = Logins::new(None, []);
    let cache = tokens(&logins);
    for _ in 0..100 {
        assert_eq!(number(&cache).await, 1);
        sleep(SECOND * 86_400).await;
    }
    assert_eq!(logins.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_on_demand_is_made_whatever_is_cached() {
    let (logins, cache) = scripted([]);
    cache.login().await.unwrap();
    cache.login().await.unwrap();
    assert_eq!(number(&cache).await, 2);
    assert_eq!(logins.made(), 2);
}

/// However logins go, a good token is used to its end and never beyond it.
#[tokio::test(start_paused = true)]
async fn through_an_outage_calls_fail_only_when_no_token_is_left() {
    let life = SECOND * 60;
    let outage = (0..1000).map(|_| Login::failed(unavailable(true)).after(SECOND / 10));
    let logins = Logins::new(life, [Login::granted(life)].into_iter().chain(outage));
    let cache = tokens(&logins);
    let start = Instant::now();
    while start.elapsed() < life - SECOND / 2 {
        assert_eq!(number(&cache).await, 1);
        sleep(SECOND / 4).await;
    }
    // A refresh at most every 3 s, the shortest pause of this life.
    assert!(logins.made() <= 12, "{} logins", logins.made());
    at(start, life).await;
    assert_eq!(label(&cache).await, "unavailable");
}
