//! Which token an attempt carries, and what an answer does to it.

use std::sync::{Arc, Mutex};

use http::header;
use secrecy::ExposeSecret;
use tower::ServiceExt;
use tower::retry::RetryLayer;

use super::*;
use crate::upstream::error::Refusal;
use crate::upstream::observer::Blind;
use crate::upstream::operation::Replay;
use crate::upstream::retry::Policy;
use crate::upstream::settings;
use crate::upstream::testing::{
    Login, Logins, Numbered, REFUSALS, REPLAYS, bare, busy, call, credential_refused, lost,
    never_sent, refused, throttled, tokens, unavailable, vendor, yes,
};

const MINUTE: Duration = Duration::from_secs(60);

fn policy() -> Policy {
    Policy::new("vendor", &settings::Retry::default(), Arc::new(Blind))
}

fn carried(call: &Call) -> String {
    let value = &call.request.headers()[header::AUTHORIZATION];
    value.to_str().unwrap().to_owned()
}

/// Sends calls one after the other, without retries, to a vendor that answers each by its
/// number; returns the credentials that it saw.
async fn seen(logins: &Logins, results: Vec<Result<Reply, Error>>) -> Vec<String> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let calls = results.len();
    let (vendor, _) = vendor(move |number, call: Call| {
        noted.lock().unwrap().push(carried(&call));
        std::future::ready(results[number].clone())
    });
    let service = AuthLayer(tokens(logins)).layer(vendor);
    for _ in 0..calls {
        let _ = service.clone().oneshot(call(Replay::Once, MINUTE)).await;
    }
    let seen = seen.lock().unwrap();
    seen.clone()
}

#[tokio::test(start_paused = true)]
async fn every_attempt_carries_the_current_token() {
    let logins = Logins::new(MINUTE, []);
    let results = (0..3).map(|_| yes()).collect();
    assert_eq!(seen(&logins, results).await, ["Token 1"; 3]);
    assert_eq!(logins.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_a_refusal_of_the_credentials_throws_a_token_away() {
    let errors = [
        never_sent(),
        lost(),
        Error::TimedOut { after: MINUTE },
        bare(502),
        throttled(None),
        busy(MINUTE),
        Error::Unreadable {
            status: None,
            cause: String::new(),
        },
        Error::Deadline,
        Error::QueueFull,
    ];
    for error in errors.into_iter().chain(REFUSALS.map(refused)) {
        let told = format!("{error:?}");
        let logins = Logins::new(MINUTE, []);
        let results = vec![Err(error.clone()), Err(error), yes()];
        assert_eq!(seen(&logins, results).await, ["Token 1"; 3], "{told}");
    }
    let logins = Logins::new(MINUTE, []);
    let results = vec![yes(), Err(credential_refused()), yes()];
    let seen = seen(&logins, results).await;
    assert_eq!(seen, ["Token 1", "Token 1", "Token 2"]);
}

#[tokio::test(start_paused = true)]
async fn the_replay_carries_the_new_token() {
    for replay in REPLAYS {
        let logins = Logins::new(MINUTE, []);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        let (vendor, _) = vendor(move |_, call: Call| {
            let carried = carried(&call);
            let result = match carried.as_str() {
                "Token 1" => Err(credential_refused()),
                _ => yes(),
            };
            noted.lock().unwrap().push(carried);
            std::future::ready(result)
        });
        let service = RetryLayer::new(policy()).layer(AuthLayer(tokens(&logins)).layer(vendor));
        assert!(service.oneshot(call(replay, MINUTE)).await.is_ok());
        assert_eq!(*seen.lock().unwrap(), ["Token 1", "Token 2"]);
        assert_eq!(logins.made(), 2);
    }
}

/// A vendor that refuses every token it grants is asked for two per call, then left alone.
#[tokio::test(start_paused = true)]
async fn a_vendor_that_refuses_all_it_grants_is_not_stormed() {
    let logins = Logins::new(MINUTE, []);
    let (vendor, attempts) = vendor(|_, _| std::future::ready(Err(credential_refused())));
    let service = RetryLayer::new(policy()).layer(AuthLayer(tokens(&logins)).layer(vendor));
    for _ in 0..100 {
        let result = service.clone().oneshot(call(Replay::Safe, MINUTE)).await;
        assert!(result.is_err());
    }
    assert_eq!((attempts.count(), logins.made()), (2, 2));
}

/// Two useless grants in a row hold logins off; an accepted one in between does not let it come
/// to that. Whether a yes or a no: the vendor looked beyond the credentials.
#[tokio::test(start_paused = true)]
async fn an_answer_shows_that_the_token_was_accepted() {
    let no = || Err(credential_refused());
    for accepted in [yes(), Err(refused(Refusal::State))] {
        let logins = Logins::new(MINUTE, []);
        let results = vec![no(), accepted, no(), no(), yes()];
        let seen = seen(&logins, results).await;
        assert_eq!(
            seen,
            ["Token 1", "Token 2", "Token 2", "Token 3", "Token 4"]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_is_sent() {
    for (login, repeats) in [
        (Login::refused(), false),
        (Login::failed(unavailable(false)), false),
        (Login::failed(unavailable(true)), true),
    ] {
        let logins = Logins::new(MINUTE, [login]);
        let (vendor, attempts) = vendor(|_, _| std::future::ready(yes()));
        let service = RetryLayer::new(policy()).layer(AuthLayer(tokens(&logins)).layer(vendor));
        let call = call(Replay::Once, MINUTE);
        let progress = call.progress.clone();
        let result = service.oneshot(call).await;
        assert_eq!(result.is_ok(), repeats);
        if let Err(error) = result {
            assert!(matches!(error, Error::Login(_)), "{error:?}");
            assert_eq!(attempts.count(), 0);
        }
        assert!(!progress.in_doubt());
    }
}

#[tokio::test(start_paused = true)]
async fn layers_below_know_the_token_and_its_secrets() {
    let logins = Logins::new(MINUTE, []);
    let (vendor, _) = vendor(|_, call: Call| {
        let signed = call.signed.expect("signed");
        let secrets: Vec<_> = signed.secrets().collect();
        assert_eq!(secrets[0].expose_secret(), "secret of token 1");
        std::future::ready(yes())
    });
    let service = AuthLayer(tokens(&logins)).layer(vendor);
    assert!(service.oneshot(call(Replay::Safe, MINUTE)).await.is_ok());
}

#[test]
fn debug_of_a_signed_request_shows_no_token() {
    let mut request = Request::new(bytes::Bytes::new());
    Numbered(4711).sign(&mut request);
    let shown = format!("{request:?}");
    assert!(
        shown.contains("Sensitive") && !shown.contains("4711"),
        "{shown}"
    );
}
