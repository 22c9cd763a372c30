//! An account logs in once, however many calls want it, and again only when the vendor refused
//! what it has; a refused call is cured by one fresh login and one replay, and accounts share
//! nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use switchboard::config::Config;
use switchboard::sandbox::aicc::{AICC_APP, AICC_SECRET};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::GENESYS_PASSWORD;
use switchboard::sandbox::journal::Entry;
use switchboard::upstream::secret::Secret;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::support::calls::{ALL, Call, ONCE};
use crate::support::vendor::{self, Vendor, answer, json};
use crate::support::verdict::{Verdict, all_words, pushback, retry_info};
use crate::support::watch::{in_time, total, until};
use crate::support::{self, Gateway, impatient, patient, relocate};

/// A write of each vendor and what its logins are called.
const WRITES: [(Call, &str); 2] = [(Call::Attach, "Login"), (Call::UpdateSettings, "Token")];

#[tokio::test]
async fn many_calls_on_a_cold_start_log_in_once() {
    let gateway = Gateway::start().await;
    for (call, login) in WRITES {
        all_succeed(&gateway, call, 100).await;
        assert_eq!(logins(&gateway, call, login), 1);
    }
    assert_eq!(gateway.sandbox.genesys().attaches().len(), 100);
}

#[tokio::test]
async fn many_calls_on_a_refused_token_log_in_once_more() {
    let gateway = Gateway::start().await;
    for (call, login) in WRITES {
        all_succeed(&gateway, call, 1).await;
        forget(&gateway);
        all_succeed(&gateway, call, 100).await;
        assert_eq!(logins(&gateway, call, login), 2);
        forget(&gateway);
        all_succeed(&gateway, call, 1).await;
        assert_eq!(logins(&gateway, call, login), 3);
    }
    // Every one of them once, whatever had to be replayed.
    assert_eq!(gateway.sandbox.genesys().attaches().len(), 102);
}

#[tokio::test]
async fn reads_and_writes_share_a_session_while_it_is_lost() {
    let gateway = Gateway::start().await;
    for _ in 0..5 {
        forget(&gateway);
        let calls = (0..20).flat_map(|_| [Call::GetSession, Call::Attach, Call::ListSessions]);
        let answers = join_all(calls.map(|call| call.send(&gateway))).await;
        for answer in answers {
            assert!(support::attempts(&answer.unwrap()) <= 2);
        }
    }
    assert_eq!(gateway.sandbox.genesys().attaches().len(), 100);
    assert_eq!(gateway.sandbox.genesys().mixed_sessions(), 0);
}

#[tokio::test]
async fn a_first_caller_that_leaves_harms_nobody() {
    let (open, gate) = watch::channel(false);
    let vendor = Vendor::start_with(move |seen| {
        let mut gate = gate.clone();
        Box::pin(async move {
            if !seen.is_login() {
                return json(r#"{"statusCode":0,"returnCode":"0","smssessions":[]}"#);
            }
            gate.wait_for(|open| *open).await.unwrap();
            vendor::login(&seen)
        })
    })
    .await;
    let gateway = Gateway::start_with(|config| {
        relocate(config, &vendor.url);
        patient(config);
    })
    .await;
    for (arrivals, call) in [(1, Call::ListSessions), (2, Call::DeleteSettings)] {
        {
            // The first caller starts the login and goes.
            let mut first = Box::pin(call.send(&gateway));
            tokio::select! {
                _ = &mut first => panic!("no login, no answer"),
                () = vendor.arrived(arrivals) => {}
            }
        }
        // On the same connection after the leaving, so the gateway knows of it.
        call.send_as(&gateway, "nobody").await.unwrap_err();
    }
    let waiting = join_all(
        (0..20)
            .flat_map(|_| [Call::ListSessions, Call::DeleteSettings])
            .map(|call| call.send(&gateway)),
    );
    let release = async {
        Call::ListSessions
            .send_as(&gateway, "nobody")
            .await
            .unwrap_err();
        open.send_replace(true);
    };
    let (answers, ()) = tokio::join!(waiting, release);
    for answer in answers {
        answer.unwrap();
    }
    let seen = vendor.seen();
    assert_eq!(seen.iter().filter(|seen| seen.is_login()).count(), 2);
}

#[tokio::test]
async fn accounts_share_nothing() {
    let gateway = Gateway::start().await;
    // Each sees its own sessions, and both use the same pooled connections.
    let calls = [
        Call::ListSessions,
        Call::QuerySettings,
        Call::UpdateSettings,
    ];
    let calls = (0..30).flat_map(|_| calls.map(|call| (call, ["", "other"])));
    let calls = calls.flat_map(|(call, accounts)| accounts.map(|account| (call, account)));
    let answers = calls.map(|(call, account)| call.send_as(&gateway, account));
    for answer in join_all(answers).await {
        answer.unwrap();
    }
    let own = gateway.sms();
    for (account, sessions) in [("default", 2), ("other", 1)] {
        let request = switchboard::pb::ListSessionsRequest {
            account: account.into(),
        };
        let seen = own.clone().list_sessions(request).await.unwrap();
        assert_eq!(seen.into_inner().sessions.len(), sessions);
    }
    assert_eq!(gateway.sandbox.genesys().mixed_sessions(), 0);

    let journal = gateway.sandbox.journal();
    assert!(
        journal
            .entries()
            .iter()
            .all(|entry| entry.status == Some(200))
    );
    let sent = |vendor: &str, owner: &str, secret: &str| {
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for entry in journal
            .for_vendor(vendor)
            .iter()
            .filter(|entry| !entry.is_login)
        {
            let secret = header(entry, secret);
            owners.entry(secret).or_default().push(header(entry, owner));
        }
        owners
    };
    for (vendor, owner, secret) in [
        ("genesys", "authorization", "cookie"),
        ("aicc", "x-app-key", "authorization"),
    ] {
        let owners = sent(vendor, owner, secret);
        assert_eq!(owners.len(), 2, "{vendor}");
        for mut owner in owners.into_values() {
            owner.dedup();
            assert_eq!(owner.len(), 1, "{vendor}: {owner:?}");
        }
    }
}

#[tokio::test]
async fn an_account_whose_login_hangs_takes_no_place_from_another() {
    let (open, gate) = watch::channel(false);
    let first = AtomicBool::new(true);
    let vendor = Vendor::start_with(move |seen| {
        let mut gate = gate.clone();
        let first = first.swap(false, Ordering::Relaxed);
        Box::pin(async move {
            if first {
                gate.wait_for(|open| *open).await.unwrap();
            }
            if seen.is_login() {
                return vendor::login(&seen);
            }
            json(r#"{"statusCode":0,"smssessions":[]}"#)
        })
    })
    .await;
    let gateway = Gateway::start_with(|config| {
        relocate(config, &vendor.url);
        patient(config);
        let limit = &mut config.genesys.as_mut().unwrap().upstream.limit;
        (limit.in_flight, limit.queue) = (1, 0);
    })
    .await;
    let meanwhile = async {
        vendor.arrived(1).await;
        let answer = Call::ListSessions.send_as(&gateway, "other").await;
        open.send_replace(true);
        answer
    };
    let (waited, answered) = tokio::join!(Call::ListSessions.send(&gateway), meanwhile);
    answered.unwrap();
    waited.unwrap();
}

#[tokio::test]
async fn a_lost_session_is_cured_for_every_method() {
    let gateway = Gateway::start().await;
    for call in ALL {
        gateway.sandbox.aicc().reset();
        call.send(&gateway).await.unwrap();
        gateway.sandbox.aicc().reset();
        gateway.sandbox.journal().clear();
        forget(&gateway);
        let told = call.send(&gateway).await.unwrap();
        // A read of Genesys needs no session of before: it begins one.
        let free = matches!(call, Call::GetSession | Call::ListSessions);
        assert_eq!(
            support::attempts(&told),
            if free { 1 } else { 2 },
            "{call:?}"
        );
        let entries = gateway.sandbox.journal().for_vendor(call.vendor());
        assert!(entries.iter().filter(|entry| entry.applied).count() <= 1);
    }
    assert_eq!(gateway.sandbox.genesys().attaches().len(), 2);
}

#[tokio::test]
async fn one_refusal_of_the_credentials_is_cured() {
    let gateway = Gateway::start().await;
    for call in ALL {
        let mut faults = vec![Fault::Unauthorized, Fault::ForbiddenToken];
        if call.vendor() == "genesys" {
            faults.push(not_authenticated());
        }
        for fault in faults {
            gateway.sandbox.aicc().reset();
            let rule = Rule::new(fault.clone()).times(1);
            gateway.sandbox.faults().replace(vec![rule]).unwrap();
            let told = call.send(&gateway).await;
            let told = told.unwrap_or_else(|error| panic!("{call:?} {fault:?}: {error:?}"));
            assert_eq!(support::attempts(&told), 2, "{call:?} {fault:?}");
        }
    }
    // Once for each fault.
    let entries = gateway.sandbox.journal().entries();
    let applied = |call: Call| {
        let applied = |entry: &&Entry| entry.applied && entry.operation == call.operation();
        entries.iter().filter(applied).count()
    };
    assert_eq!(ONCE.map(applied), [3, 2]);
}

#[tokio::test]
async fn a_second_refusal_of_the_credentials_is_final() {
    for call in ALL {
        let table = match call.vendor() {
            "genesys" => vec![
                (Fault::Unauthorized, "401", "20"),
                (Fault::ForbiddenToken, "403", ""),
                (not_authenticated(), "200", "20"),
            ],
            _ => vec![
                (Fault::Unauthorized, "401", ""),
                (Fault::ForbiddenToken, "403", ""),
            ],
        };
        for (fault, status, code) in table {
            let gateway = Gateway::start().await;
            gateway.sandbox.faults().push(Rule::new(fault)).unwrap();
            let error = call.send(&gateway).await.unwrap_err();
            let rejected = Verdict::new(Code::Internal, "VENDOR_CREDENTIAL_REJECTED");
            let rejected = rejected.status(status).vendor_code(code).attempts(2);
            rejected.check(call, &error);
            assert_eq!((pushback(&error), retry_info(&error)), (None, None));
            let journal = gateway.sandbox.journal();
            assert_eq!(journal.count(call.vendor(), call.operation()), 2);
            let logins = journal.count("genesys", "Login") + journal.count("aicc", "Token");
            assert_eq!(logins, 2);
            // Two new logins were of no use: for a while that is known without asking.
            let error = call.send(&gateway).await.unwrap_err();
            rejected.attempts(0).check(call, &error);
            assert!(error.message().contains("just granted"), "{error:?}");
            // Nor is the operator told that all is well with the account.
            let refused = [
                ("vendor", call.vendor()),
                ("account", "default"),
                ("result", "refused"),
            ];
            let refreshes = "switchboard_token_refreshes_total";
            assert_eq!(total(&gateway.metrics, refreshes, &refused), 1, "{call:?}");
        }
    }
}

/// As where the account lacks what it takes for one kind of call: no login cures that, and the other calls
/// are well with the token that they have.
#[tokio::test]
async fn one_kind_of_call_that_is_refused_for_good_brings_no_storm_of_logins() {
    let vendor = Vendor::start(|seen| async move {
        match seen.target.ends_with("/create") {
            true => answer(401, "application/json", "{}"),
            false => json(r#"{"returnCode":"0","id":"1","userId":"u"}"#),
        }
    })
    .await;
    let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
    for _ in 0..150 {
        Call::QuerySettings.send(&gateway).await.unwrap();
        let error = Call::CreateSettings.send(&gateway).await.unwrap_err();
        assert_eq!(support::reason(&error), "VENDOR_CREDENTIAL_REJECTED");
    }
    let logins = vendor.seen().len() - vendor.calls().len();
    // Two for each of the first 30; it may take longer than a minute.
    assert!(logins <= 125, "{logins}");
}

/// Agents are locked out after some logins that fail; an application's token may be asked for again.
#[tokio::test]
async fn a_login_that_was_lost_is_made_again_at_once_only_where_that_locks_nobody() {
    for ((call, login), made) in WRITES.into_iter().zip([1, 3]) {
        let gateway = Gateway::start_with(impatient).await;
        during_logins(&gateway, &Fault::Reset);
        let error = call.send(&gateway).await.unwrap_err();
        assert_eq!(support::reason(&error), "VENDOR_UNAVAILABLE");
        assert_eq!(logins(&gateway, call, login), made, "{call:?}");
    }
}

#[tokio::test]
async fn a_denial_that_is_not_about_credentials_costs_no_login() {
    let gateway = Gateway::start().await;
    for fault in [
        Fault::status(403),
        Fault::Html { status: 403 },
        Fault::status(418),
    ] {
        gateway
            .sandbox
            .faults()
            .replace(vec![Rule::new(fault)])
            .unwrap();
        for call in ALL {
            let error = call.send(&gateway).await.unwrap_err();
            assert_eq!(error.code(), Code::PermissionDenied);
            assert_eq!(support::attempts(error.metadata()), 1);
        }
    }
    for (call, login) in WRITES {
        assert_eq!(logins(&gateway, call, login), 1);
    }
}

/// A balancer may move the session with any of them.
#[tokio::test]
async fn cookies_of_an_answer_go_with_the_next_request() {
    let vendor = Vendor::start(|_| async {
        let mut moved = json(r#"{"statusCode":0,"smssessions":[]}"#);
        let cookie = "node=two; Path=/".parse().unwrap();
        moved.headers_mut().insert("set-cookie", cookie);
        moved
    })
    .await;
    let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
    for _ in 0..2 {
        Call::ListSessions.send(&gateway).await.unwrap();
    }
    let calls = vendor.calls().into_iter();
    let reads = calls.filter(|seen| seen.target.contains("smssessions"));
    let moved = |seen: vendor::Seen| {
        let cookies = seen.headers.get("cookie").map(|it| it.to_str().unwrap());
        cookies.is_some_and(|cookies| cookies.contains("node=two"))
    };
    assert_eq!(reads.map(moved).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn protection_against_csrf_may_be_off_and_turned_on() {
    let gateway = Gateway::start().await;
    gateway.sandbox.genesys().set_csrf(false);
    for call in [Call::Attach, Call::Update, Call::Delete] {
        assert_eq!(support::attempts(&call.send(&gateway).await.unwrap()), 1);
    }
    for entry in gateway.sandbox.journal().for_vendor("genesys") {
        assert!(!entry.request_headers.contains_key("x-csrf-token"));
    }
    gateway.sandbox.genesys().set_csrf(true);
    let told = Call::Attach.send(&gateway).await.unwrap();
    assert_eq!(support::attempts(&told), 2);
    assert_eq!(gateway.sandbox.genesys().attaches().len(), 2);
}

#[tokio::test]
async fn a_refused_login_is_told_and_remembered() {
    let gateway = Gateway::start().await;
    gateway.sandbox.genesys().add_agent("agent1", "another");
    gateway.sandbox.aicc().set_secret(AICC_APP, "another");
    for (call, login, status, code) in [
        (Call::Attach, "Login", "401", "20"),
        (Call::GetSession, "Login", "401", "20"),
        (Call::CreateSettings, "Token", "403", ""),
        (Call::QuerySettings, "Token", "403", ""),
    ] {
        for answer in join_all((0..50).map(|_| call.send(&gateway))).await {
            let error = answer.unwrap_err();
            let rejected = Verdict::new(Code::Internal, "VENDOR_CREDENTIAL_REJECTED");
            let rejected = rejected.status(status).vendor_code(code).attempts(0);
            rejected.check(call, &error);
            let words = all_words(&error);
            assert!(!words.contains(AICC_SECRET) && !words.contains(GENESYS_PASSWORD));
        }
        // Two hundred calls in less than a few times five seconds.
        assert!(logins(&gateway, call, login) <= 3);
        assert_eq!(
            gateway
                .sandbox
                .journal()
                .count(call.vendor(), call.operation()),
            0
        );
    }
    // The other account has nothing to do with it.
    Call::ListSessions.send_as(&gateway, "other").await.unwrap();
    Call::QuerySettings
        .send_as(&gateway, "other")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_login_that_cannot_be_made_is_unavailable() {
    let gateway = Gateway::start_with(impatient).await;
    for (fault, status) in [
        (Fault::status(500), "500"),
        (Fault::status(502), "502"),
        (Fault::Html { status: 503 }, "503"),
        (Fault::status(504), "504"),
        (Fault::Reset, ""),
        (Fault::CutBody, ""),
    ] {
        logins_fail(&gateway, &fault, status).await;
    }
    gateway.sandbox.faults().clear();
    for call in ALL {
        call.send(&gateway).await.unwrap();
    }
}

/// It says so in a 200 too, and then nobody has to look at the password.
#[tokio::test]
async fn a_login_that_the_vendor_fails_at_is_no_refusal() {
    let answers = [
        (200, "200", 4),
        (200, "200", 9),
        (400, "400", 4),
        (500, "500", 4),
    ];
    for (status, told, code) in answers {
        let body = format!(r#"{{"statusCode":{code},"statusMessage":"out of order"}}"#);
        let (vendor, gateway) = logging_in_with(answer(status, "application/json", body)).await;
        for number in 1..=2 {
            let error = Call::Attach.send(&gateway).await.unwrap_err();
            let down = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE").attempts(0);
            down.status(told).check(Call::Attach, &error);
            assert!(all_words(&error).contains("out of order"), "{error:?}");
            assert_eq!(vendor.seen().len(), number, "the next call may do better");
        }
    }
}

#[tokio::test]
async fn a_login_that_is_not_answered_is_unavailable() {
    let gateway = Gateway::start_with(|config| {
        impatient(config);
        for upstream in support::upstreams(config) {
            upstream.timeout.attempt = Duration::from_millis(100);
        }
    })
    .await;
    logins_fail(&gateway, &Fault::Hang, "").await;
}

/// Nothing was sent but logins, so nothing is in doubt.
async fn logins_fail(gateway: &Gateway, fault: &Fault, status: &'static str) {
    during_logins(gateway, fault);
    for call in [
        Call::Attach,
        Call::GetSession,
        Call::CreateSettings,
        Call::DeleteSettings,
    ] {
        let error = call.send(gateway).await.unwrap_err();
        let down = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE");
        down.status(status).attempts(0).check(call, &error);
        assert!(retry_info(&error).is_some(), "{error:?}");
        assert_ne!(pushback(&error), Some("-1"), "{error:?}");
    }
}

#[tokio::test]
async fn a_login_that_cannot_be_read_is_the_vendors_fault() {
    let faults = [
        Fault::Garbage,
        Fault::NoCode,
        Fault::WrongType,
        Fault::Html { status: 200 },
        Fault::Oversize { bytes: 5_000_000 },
    ];
    join_all(faults.map(|fault| async move {
        let gateway = Gateway::start_with(impatient).await;
        during_logins(&gateway, &fault);
        for call in ALL {
            unreadable_login(call, &call.send(&gateway).await.unwrap_err());
        }
        gateway.sandbox.faults().clear();
        for (call, _) in WRITES {
            // It is remembered for some seconds.
            let cured = async { while call.send(&gateway).await.is_err() {} };
            in_time("a login", cured).await;
        }
        for call in ALL {
            call.send(&gateway).await.unwrap();
        }
    }))
    .await;
}

#[tokio::test]
async fn a_token_that_cannot_be_used_is_the_vendors_fault() {
    for body in [
        r#"{"AccessToken":""}"#,
        r#"{"AccessToken":null,"Expires":"600"}"#,
        r#"{"AccessToken":"a\nb"}"#,
        r#"{"access_token":"abc","expires_in":600}"#,
        "[]",
    ] {
        let (vendor, gateway) = logging_in_with(json(body)).await;
        let error = Call::CreateSettings.send(&gateway).await.unwrap_err();
        unreadable_login(Call::CreateSettings, &error);
        assert!(vendor.calls().is_empty());
    }
}

/// A page says the same to the next login, and whoever counts logins counts them all.
#[tokio::test]
async fn an_answer_that_cannot_be_read_brings_no_storm_of_logins() {
    let page = answer(200, "text/html", "<html>please log in</html>");
    let (vendor, gateway) = logging_in_with(page).await;
    for call in [Call::GetSession, Call::QuerySettings] {
        for answer in join_all((0..50).map(|_| call.send(&gateway))).await {
            unreadable_login(call, &answer.unwrap_err());
        }
        for _ in 0..50 {
            unreadable_login(call, &call.send(&gateway).await.unwrap_err());
        }
    }
    assert!(vendor.calls().is_empty());
    // Two hundred calls in less than a few times five seconds.
    assert!(vendor.seen().len() <= 4, "{}", vendor.seen().len());
}

/// It leads away from the vendor, and does so the next time, too.
#[tokio::test]
async fn a_login_that_is_redirected_or_not_implemented_has_a_wrong_address() {
    let elsewhere = Verdict::new(Code::Internal, "VENDOR_FAILED").status("302");
    let unknown = Verdict::new(Code::Unimplemented, "VENDOR_MISCONFIGURED").status("501");
    for (status, verdict) in [(302, elsewhere), (501, unknown)] {
        let page = answer(status, "text/html", "<html>not here</html>");
        let (vendor, gateway) = logging_in_with(page).await;
        for call in [Call::Attach, Call::QuerySettings] {
            for _ in 0..50 {
                let error = call.send(&gateway).await.unwrap_err();
                verdict.attempts(0).check(call, &error);
                assert_eq!((pushback(&error), retry_info(&error)), (None, None));
            }
        }
        assert!(vendor.calls().is_empty());
        // A hundred calls in less than a few times five seconds.
        assert!(vendor.seen().len() <= 4, "{}", vendor.seen().len());
    }
}

/// As its calls are, a login may be refused within a 200.
#[tokio::test]
async fn a_login_that_aicc_refuses_within_a_200_is_told_in_its_words() {
    let body = format!(r#"{{"returnCode":"0401000","returnDesc":"wrong secret {AICC_SECRET}"}}"#);
    let (vendor, gateway) = logging_in_with(json(body)).await;
    for call in [Call::CreateSettings, Call::QuerySettings] {
        let error = call.send(&gateway).await.unwrap_err();
        let rejected = Verdict::new(Code::Internal, "VENDOR_CREDENTIAL_REJECTED");
        let rejected = rejected.status("200").vendor_code("0401000").attempts(0);
        rejected.check(call, &error);
        assert!(error.message().contains("wrong secret ***"), "{error:?}");
    }
    assert_eq!(vendor.seen().len(), 1);
}

/// And it does not come before.
#[tokio::test]
async fn a_login_that_is_not_wanted_now_says_when_to_come_again() {
    let throttled = Verdict::new(Code::ResourceExhausted, "VENDOR_THROTTLED").status("429");
    let busy = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE").status("503");
    for (status, verdict) in [(429, throttled), (503, busy)] {
        let mut later = answer(status, "text/plain", "slow down");
        later
            .headers_mut()
            .insert("retry-after", "60".parse().unwrap());
        let (vendor, gateway) = logging_in_with(later).await;
        for call in [Call::Attach, Call::CreateSettings] {
            for _ in 0..3 {
                let error = call.send(&gateway).await.unwrap_err();
                verdict.attempts(0).check(call, &error);
                let wait = retry_info(&error).expect("a RetryInfo");
                assert!(wait > Duration::from_secs(30), "{wait:?}");
                let told = pushback(&error).unwrap().parse().unwrap();
                assert_eq!(wait.as_millis(), told);
            }
        }
        assert!(vendor.calls().is_empty());
        assert_eq!(vendor.seen().len(), 2, "one login for each vendor");
    }
}

/// Both secrets from files, which change.
fn read_from(config: &mut Config, password: &File, app_secret: &File) {
    let genesys = config.genesys.as_mut().unwrap();
    genesys.accounts.get_mut("default").unwrap().password = password.secret();
    let aicc = config.aicc.as_mut().unwrap();
    aicc.accounts.get_mut("default").unwrap().secret = app_secret.secret();
}

#[tokio::test]
async fn a_changed_secret_is_taken_up_without_a_restart() {
    let (password, app_secret) = (File::new(GENESYS_PASSWORD), File::new(AICC_SECRET));
    let gateway = Gateway::start_with(|config| read_from(config, &password, &app_secret)).await;
    for (call, _) in WRITES {
        call.send(&gateway).await.unwrap();
    }
    // In this order an operator changes it: first where it is read, then where it counts.
    password.write("new-password\n");
    app_secret.write("new-secret\n");
    gateway
        .sandbox
        .genesys()
        .add_agent("agent1", "new-password");
    gateway.sandbox.aicc().set_secret(AICC_APP, "new-secret");
    forget(&gateway);
    for (call, _) in WRITES {
        call.send(&gateway).await.unwrap();
    }
}

/// The vendor's and the file's change together, as one step of the operator's.
#[tokio::test]
async fn secrets_change_under_load_and_no_call_fails() {
    let (password, app_secret) = (File::new(GENESYS_PASSWORD), File::new(AICC_SECRET));
    let gateway = Gateway::start_with(|config| {
        patient(config);
        read_from(config, &password, &app_secret);
    })
    .await;
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let calls = [Call::GetSession, Call::Update, Call::QuerySettings].repeat(4);
    let (stop, done, gateway) = (&stop, &done, &gateway);
    let load = join_all(calls.into_iter().map(|call| async move {
        while !stop.load(Ordering::Relaxed) {
            call.send(gateway).await.expect("it is still allowed");
            done.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let operator = async {
        for round in 0..5 {
            let before = done.load(Ordering::Relaxed);
            until("calls go on", || done.load(Ordering::Relaxed) > before + 50).await;
            let (new_password, new_secret) =
                (format!("password-{round}"), format!("secret-{round}"));
            let genesys = gateway.sandbox.genesys();
            genesys.add_agent("agent1", &new_password);
            gateway.sandbox.aicc().set_secret(AICC_APP, &new_secret);
            password.write(&new_password);
            app_secret.write(&new_secret);
            // The old ones are worth nothing from here on.
            forget(gateway);
        }
        let before = done.load(Ordering::Relaxed);
        until("calls go on", || done.load(Ordering::Relaxed) > before + 50).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, operator);
}

#[tokio::test]
async fn a_refused_secret_is_forgotten_when_its_file_changes() {
    let (password, app_secret) = (File::new("outdated"), File::new("outdated"));
    let gateway = Gateway::start_with(|config| read_from(config, &password, &app_secret)).await;
    for (call, _) in WRITES {
        let error = call.send(&gateway).await.unwrap_err();
        assert_eq!(support::reason(&error), "VENDOR_CREDENTIAL_REJECTED");
    }
    password.write(GENESYS_PASSWORD);
    app_secret.write(AICC_SECRET);
    for (call, login) in WRITES {
        // The file is looked at again within a second.
        let cured = async { while call.send(&gateway).await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(60), cured)
            .await
            .unwrap();
        assert!(logins(&gateway, call, login) <= 3);
    }
}

#[tokio::test]
async fn a_secret_file_that_is_gone_is_told_by_no_more_than_its_name() {
    let (password, app_secret) = (File::new("x"), File::new("x"));
    let gateway = Gateway::start_with(|config| read_from(config, &password, &app_secret)).await;
    std::fs::remove_file(&password.0).unwrap();
    std::fs::remove_file(&app_secret.0).unwrap();
    for call in ONCE {
        let error = call.send(&gateway).await.unwrap_err();
        let rejected = Verdict::new(Code::Internal, "VENDOR_CREDENTIAL_REJECTED");
        rejected.attempts(0).check(call, &error);
    }
    assert!(gateway.sandbox.journal().entries().is_empty());
}

#[track_caller]
fn unreadable_login(call: Call, error: &Status) {
    assert_eq!(error.code(), Code::Internal, "{call:?}: {error:?}");
    assert_eq!(support::reason(error), "VENDOR_PROTOCOL", "{call:?}");
    assert_eq!(support::attempts(error.metadata()), 0);
    assert_eq!((pushback(error), retry_info(error)), (None, None));
}

async fn all_succeed(gateway: &Gateway, call: Call, number: usize) {
    for answer in join_all((0..number).map(|_| call.send(gateway))).await {
        answer.unwrap();
    }
}

/// Both vendors have forgotten every login.
fn forget(gateway: &Gateway) {
    gateway.sandbox.genesys().expire_sessions();
    gateway.sandbox.aicc().expire_tokens();
}

fn logins(gateway: &Gateway, call: Call, name: &str) -> u64 {
    gateway.sandbox.journal().count(call.vendor(), name)
}

fn during_logins(gateway: &Gateway, fault: &Fault) {
    let rules = ["Login", "Token"].map(|name| Rule::new(fault.clone()).operation(name));
    gateway.sandbox.faults().replace(rules.into()).unwrap();
}

/// A vendor whose answer to logins is this one.
async fn logging_in_with(answer: Response<Bytes>) -> (Vendor, Gateway) {
    let vendor = Vendor::start_with(move |seen| {
        let answer = if seen.is_login() {
            answer.clone()
        } else {
            json("{}")
        };
        Box::pin(async move { answer })
    })
    .await;
    let gateway = Gateway::start_with(|config| relocate(config, &vendor.url)).await;
    (vendor, gateway)
}

fn not_authenticated() -> Fault {
    Fault::VendorCode {
        code: 20.into(),
        message: "Authentication required".into(),
    }
}

fn header(entry: &Entry, name: &str) -> String {
    entry.request_headers[name].to_str().unwrap().to_owned()
}

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(contents: &str) -> File {
        let name = format!("switchboard-{}", uuid::Uuid::new_v4());
        let file = File(std::env::temp_dir().join(name));
        file.write(contents);
        file
    }

    /// Whole or not at all, as every tool that changes secrets does.
    fn write(&self, contents: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, contents).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    fn secret(&self) -> Secret {
        Secret::file(Path::to_owned(&self.0))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // One of the tests has done it already.
        let _ = std::fs::remove_file(&self.0);
    }
}
