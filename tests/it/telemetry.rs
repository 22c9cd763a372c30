//! Metrics: the page that lists them is what is exported, and the counts add up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use switchboard::pb::{
    AttachUserDataRequest, Confirmation, UpdateUserDataRequest, WatchSessionsRequest,
};
use switchboard::sandbox::faults::{Fault, Rule};

use crate::support::authority::Authority;
use crate::support::calls::{ALL, Call};
use crate::support::dir::Dir;
use crate::support::mint::{ISSUER, Signer, claims, jwks};
use crate::support::observed::Observed;
use crate::support::redis::RedisServer;
use crate::support::untimed;
use crate::support::watch::{in_time, total, until};
use crate::support::watcher::Watcher;
use crate::support::{Gateway, SESSION, attempts, data, genesys_config, get, impatient, reason};

/// Those that no run shows without a Redis; `docs/METRICS.md` has them too.
const ONLY_WITH_REDIS: &str = "switchboard_dedupe_store_failures_total";

/// What is known of a metric beside its name: its type, and its labels.
type Shape = (String, BTreeSet<String>);

/// The metrics of the exposition.
fn exported(text: &str) -> BTreeMap<String, Shape> {
    let mut metrics: BTreeMap<String, Shape> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap();
            current = name.to_owned();
            metrics.entry(current.clone()).or_default().0 = kind.to_owned();
        } else if let Some((_, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = rest
                .split_inclusive("=\"")
                .filter_map(|it| it.strip_suffix("=\""));
            let names = labels.map(|it| it.rsplit([',', '{']).next().unwrap().to_owned());
            // Of a histogram's buckets.
            let names = names.filter(|name| name != "le");
            metrics.get_mut(&current).unwrap().1.extend(names);
        }
    }
    metrics
}

/// The rows of the page's tables.
fn documented() -> BTreeMap<String, Shape> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    // The other tables are narrower.
    let rows = rows.filter(|cells| cells.len() > 4);
    rows.map(|cells| {
        let labels = cells[3].split('`').skip(1).step_by(2).map(str::to_owned);
        let name = cells[0].trim_end_matches('`').to_owned();
        (name, (cells[1].to_owned(), labels.collect()))
    })
    .collect()
}

#[tokio::test]
async fn the_page_lists_what_is_exported_and_nothing_else() {
    let process = Observed::start(&[]).await;
    let mut sms = process.sms();
    let request = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Colour", "green")])),
        request_id: "once".into(),
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    };
    sms.attach_user_data(request).await.unwrap();
    let watch = sms.watch_sessions(WatchSessionsRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    // A repeat; a notification that is delivered; a session that has to be made again.
    let fault = Rule::new(Fault::status(503))
        .times(1)
        .operation("UpdateUserData");
    process.sandbox.faults().push(fault).unwrap();
    let update = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Colour", "blue")])),
        ..Default::default()
    };
    sms.update_user_data(update).await.unwrap();
    watch.message().await.unwrap().unwrap();
    process.sandbox.genesys().drop_clients();
    let mut settings = process.settings();
    let query = switchboard::pb::GetAgentSettingsRequest {
        user_id: crate::support::USER.into(),
        ..Default::default()
    };
    settings.get_agent_settings(query).await.unwrap();

    // What there is only with certificates and tokens.
    let (dir, ours) = (Dir::new(), Authority::new("ours"));
    let server = ours.server();
    let file = |name: &str, contents: &str| dir.write(name, contents).display().to_string();
    let secured = Observed::start(&[
        (
            "SWITCHBOARD__SERVER__TLS__CERT_FILE",
            &file("tls.crt", &server.cert),
        ),
        (
            "SWITCHBOARD__SERVER__TLS__KEY_FILE",
            &file("tls.key", &server.key),
        ),
        ("SWITCHBOARD__SERVER__JWT__ISSUER", ISSUER),
        ("SWITCHBOARD__SERVER__JWT__AUDIENCES", "switchboard"),
        (
            "SWITCHBOARD__SERVER__JWT__JWKS_FILE",
            &file("jwks.json", &jwks(&[Signer::es256().jwk("k1")])),
        ),
    ])
    .await;

    let mut documented = documented();
    assert!(documented.remove(ONLY_WITH_REDIS).is_some());
    // Labels that come with a failure, of which there is none here.
    let (_, labels) = documented
        .get_mut("rpc_server_call_duration_seconds")
        .unwrap();
    assert!(labels.remove("error_type"));
    let mut missing = Vec::new();
    for _ in 0..600 {
        let text = process.metrics().await + &secured.metrics().await;
        let exported = exported(&text);
        for (name, (kind, labels)) in &exported {
            let (told_kind, told) =
                (documented.get(name)).unwrap_or_else(|| panic!("not on the page: {name}"));
            assert_eq!(kind, told_kind, "{name}");
            assert!(labels.is_subset(told), "{name} has {labels:?}");
        }
        missing = (documented.iter())
            .filter(|(name, shape)| exported.get(*name) != Some(shape))
            .map(|(name, (_, labels))| format!("{name} {labels:?}"))
            .collect();
        if missing.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never exported: {missing:?}");
}

/// Nothing sees a counter rise that is born with its first event.
#[tokio::test]
async fn what_is_alerted_on_is_there_before_its_first_event() {
    let gateway = Gateway::start().await;
    Call::GetSession
        .send_as(&gateway, "nobody")
        .await
        .unwrap_err();
    let text = gateway.metrics.text();
    let zero = |series: &str| {
        let line = format!("{series} 0");
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    };
    let results = [
        "ok",
        "refused",
        "misdirected",
        "secret",
        "unavailable",
        "throttled",
        "busy",
        "unreadable",
    ];
    for vendor in ["genesys", "aicc"] {
        for account in ["default", "other"] {
            for result in results {
                zero(&format!(
                    "switchboard_token_refreshes_total{{account=\"{account}\",\
                     result=\"{result}\",vendor=\"{vendor}\"}}"
                ));
            }
        }
        for refusals in ["queue", "retry"] {
            zero(&format!(
                "switchboard_{refusals}_refusals_total{{vendor=\"{vendor}\"}}"
            ));
        }
    }
    for how in ["notification", "read", "rejected", "absent", "unknown"] {
        zero(&format!("switchboard_confirmations_total{{how=\"{how}\"}}"));
    }
    for name in [
        "switchboard_shed_total",
        "switchboard_connections_refused_total",
        "switchboard_notification_gaps_total",
        "switchboard_watch_streams",
        "switchboard_notification_sessions{state=\"connecting\"}",
        "switchboard_notification_sessions{state=\"subscribed\"}",
    ] {
        zero(name);
    }
}

/// A library that meets very many series of one metric adds the rest up, without their labels.
#[tokio::test]
async fn hundreds_of_accounts_keep_their_names() {
    let gateway = Gateway::start_with(|config| {
        let accounts = &mut config.genesys.as_mut().unwrap().accounts;
        for number in 0..300 {
            let account = genesys_config("http://127.0.0.1:1")
                .accounts
                .remove("default");
            accounts.insert(format!("agent-{number}"), account.unwrap());
        }
    })
    .await;
    let text = gateway.metrics.text();
    assert!(!text.contains("overflow=\"true\""), "series were added up");
    let refused = "switchboard_token_refreshes_total{account=\"agent-299\",result=\"refused\"";
    assert!(text.contains(refused));
}

#[tokio::test]
async fn counts_add_up_under_faults() {
    let gateway = Gateway::start_with(impatient).await;
    let faults = [(Fault::status(503), 0.2), (Fault::Reset, 0.1)];
    for (fault, probability) in faults {
        let rule = Rule::new(fault).probability(probability);
        gateway.sandbox.faults().push(rule).unwrap();
    }
    let mut made = 0;
    for _ in 0..25 {
        // One at a time, else a login counts as refused and calls fail without an attempt.
        gateway.sandbox.genesys().expire_sessions();
        gateway.sandbox.aicc().expire_tokens();
        // Not the one that asks the vendor twice: a delete that was repeated and is then refused
        // is settled by a query.
        for call in ALL.into_iter().filter(|it| *it != Call::DeleteSettings) {
            made += 1;
            let _ = call.send(&gateway).await;
        }
    }
    let text = gateway.metrics.text();
    let sum = |name: &str, keep: &dyn Fn(&str) -> bool| -> u64 {
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && keep(line));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64)
            .sum()
    };
    let ours = |line: &str| line.contains("contactcenter.v1.");
    let calls = sum("rpc_server_call_duration_seconds_count{", &ours);
    assert_eq!(calls, made);
    // Some failed, else it was no faulty run.
    let good = |line: &str| ours(line) && line.contains("rpc_status_code=\"OK\"");
    assert!(sum("rpc_server_call_duration_seconds_count{", &good) < made);

    let login = |line: &str| line.contains("=\"Login\"") || line.contains("=\"Token\"");
    let attempts = sum("switchboard_vendor_attempts_total{", &|line| !login(line));
    let retries = total(&gateway.metrics, "switchboard_retries_total", &[]);
    assert!(retries > 0);
    // Replays after a refused credential are counted among the retries, by their reason.
    assert_eq!(attempts, calls + retries);
    let requests = sum("http_client_request_duration_seconds_count{", &|_| true);
    let logins = sum("switchboard_vendor_attempts_total{", &login);
    assert_eq!(requests, attempts + logins);
    // Both call a failure by the same word, whether there was an HTTP status or not.
    for (word, has_status) in [("unavailable", true), ("lost", false)] {
        let outcome = |line: &str| line.contains(&format!("outcome=\"{word}\""));
        let error = |line: &str| {
            line.contains(&format!("error_type=\"{word}\""))
                && line.contains("http_response_status_code") == has_status
        };
        let failed = sum("switchboard_vendor_attempts_total{", &outcome);
        assert!(failed > 0, "{word}");
        let requests = sum("http_client_request_duration_seconds_count{", &error);
        assert_eq!(requests, failed, "{word}");
    }
}

/// Whether it is the circuit or a login that comes between.
#[tokio::test]
async fn what_is_not_sent_again_is_no_retry() {
    let gateway = Gateway::start_with(|config| {
        impatient(config);
        let breaker = &mut config.genesys.as_mut().unwrap().upstream.breaker;
        breaker.enabled = true;
        breaker.min_calls = 1;
    })
    .await;
    let login = Rule::new(Fault::status(503)).operation("Token").times(1);
    gateway.sandbox.faults().push(login).unwrap();
    let answer = Call::QuerySettings.send(&gateway).await.unwrap();
    assert_eq!(attempts(&answer), 1);
    let down = Rule::new(Fault::status(503)).operation("GetSession");
    gateway.sandbox.faults().push(down).unwrap();
    let status = Call::GetSession.send(&gateway).await.unwrap_err();
    assert_eq!(reason(&status), "CIRCUIT_OPEN");
    assert_eq!(attempts(status.metadata()), 1);
    let retries = total(&gateway.metrics, "switchboard_retries_total", &[]);
    assert_eq!(retries, 0);
}

#[tokio::test]
async fn the_log_level_changes_over_the_admin_port() {
    let mut process = Observed::start(&[]).await;
    let url = format!("http://{}/log", process.admin);
    let client = reqwest::Client::new();
    let put = async |level: &str| {
        let answer = client
            .put(&url)
            .body(level.to_owned())
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let shown = reqwest::get(&url).await.unwrap().text().await.unwrap();
    assert!(shown.contains("info"), "{shown}");
    for refused in ["", "loud", "h2=trace", "info,hyper=trace", "INFO"] {
        let (status, why) = put(refused).await;
        assert_eq!(status, 400, "{refused:?}");
        assert!(why.contains("debug, trace"), "{why}");
    }
    let get = get();
    assert_eq!(put("error\n").await.0, 200);
    process.sms().get_session(get.clone()).await.unwrap();
    let (status, shown) = put("info").await;
    assert!(status == 200 && shown.contains("info"), "{shown}");
    process.sms().get_session(get).await.unwrap();
    assert!(process.end().await.success());

    let lines = process.lines();
    let of = |target: &str| lines.iter().filter(|it| it["target"] == target).count();
    // Of two calls one; and both changes, by the louder of the two levels.
    assert_eq!(of("switchboard::access"), 1);
    assert_eq!(of("switchboard::telemetry::logs"), 2, "{lines:#?}");
}

#[tokio::test]
async fn the_access_line_says_what_a_call_cost() {
    let mut process = Observed::start(&[]).await;
    let fault = Rule::new(Fault::status(503)).operation("GetSession");
    process.sandbox.faults().push(fault).unwrap();
    let get = get();
    process.sms().get_session(get).await.unwrap_err();
    process.end().await;
    let lines = process.lines();
    let line = lines
        .iter()
        .find(|it| it["target"] == "switchboard::access");
    let line = line.unwrap();
    for (field, value) in [
        ("method", "contactcenter.v1.SmsSessionData/GetSession"),
        ("caller", "anonymous"),
        ("account", "default"),
        ("code", "UNAVAILABLE"),
        ("reason", "VENDOR_UNAVAILABLE"),
        ("level", "INFO"),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    assert_eq!(
        (&line["attempts"], &line["vendor_status"]),
        (&3.into(), &503.into())
    );
    let milliseconds = |field: &str| line[field].as_f64().unwrap();
    assert!(milliseconds("vendor_ms") > 0.0);
    assert!(milliseconds("vendor_ms") < milliseconds("duration_ms"));
    assert_eq!(line["request_id"].as_str().unwrap().len(), 36);
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
}

/// Who left is known as well as who stayed.
#[tokio::test]
async fn the_access_line_names_a_caller_that_left() {
    let (dir, signer) = (Dir::new(), Signer::es256());
    let keys = dir.write("jwks.json", &jwks(&[signer.jwk("k1")]));
    let mut process = Observed::start(&[
        ("SWITCHBOARD__SERVER__JWT__ISSUER", ISSUER),
        ("SWITCHBOARD__SERVER__JWT__AUDIENCES", "switchboard"),
        (
            "SWITCHBOARD__SERVER__JWT__JWKS_FILE",
            keys.to_str().unwrap(),
        ),
    ])
    .await;
    let late = Rule::new(Fault::Latency { ms: 60_000 }).operation("GetSession");
    process.sandbox.faults().push(late).unwrap();
    let mut get = tonic::Request::new(get());
    let token = signer.token("k1", &claims("bot"));
    let bearer = format!("Bearer {token}").parse().unwrap();
    get.metadata_mut().insert("authorization", bearer);
    let mut sms = process.sms();
    let calling = tokio::spawn(async move { sms.get_session(get).await });
    until("the vendor to be asked", || {
        process.sandbox.journal().count("genesys", "GetSession") == 1
    })
    .await;
    calling.abort();
    assert!(process.end().await.success());

    let lines = access(&process, "/GetSession");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["code"], "CANCELLED");
    assert_eq!(lines[0]["caller"], "jwt:bot");
}

/// The lines of calls of this method.
fn access(process: &Observed, method: &str) -> Vec<serde_json::Value> {
    let mut lines = process.lines();
    lines.retain(|line| {
        line["target"] == "switchboard::access"
            && line["method"].as_str().unwrap().ends_with(method)
    });
    lines
}

#[tokio::test]
async fn the_access_line_says_why_a_stream_ended() {
    let mut process = Observed::start(&[]).await;
    let mut sms = process.sms();
    let stream = sms.watch_sessions(WatchSessionsRequest::default()).await;
    let mut stream = stream.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert!(process.end().await.success());
    let status = stream.message().await.unwrap_err();
    assert_eq!(reason(&status), "GATEWAY_DRAINING");
    let lines = access(&process, "/WatchSessions");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["code"], "UNAVAILABLE");
    assert_eq!(lines[0]["reason"], "GATEWAY_DRAINING");
}

#[tokio::test]
async fn the_planned_end_of_a_stream_is_no_failure() {
    let mut gateway = Gateway::start().await;
    let bounded = untimed::within(Duration::from_secs(2), WatchSessionsRequest::default());
    let stream = gateway.sms().watch_sessions(bounded).await.unwrap();
    let mut bounded = Watcher::of(stream.into_inner());
    bounded.snapshot().await;
    assert_eq!(reason(&bounded.end().await), "DEADLINE");
    let mut unbounded = Watcher::started(&gateway, "", &[]).await;
    gateway.terminate();
    assert_eq!(reason(&unbounded.end().await), "GATEWAY_DRAINING");
    gateway.ended().await.unwrap();

    let text = gateway.metrics.text();
    let streams: Vec<_> = text
        .lines()
        .filter(|line| {
            line.starts_with("rpc_server_call_duration_seconds_count")
                && line.contains("/WatchSessions\"")
        })
        .collect();
    assert_eq!(streams.len(), 2, "{streams:?}");
    for line in streams {
        assert!(!line.contains("error_type"), "{line}");
    }
}

#[tokio::test]
async fn the_access_line_says_why_an_earlier_write_failed() {
    let Some(redis) = RedisServer::start().await else {
        return;
    };
    let dir = Dir::new();
    let url = dir.write("url", &redis.url());
    let in_redis = ("SWITCHBOARD__DEDUPE__REDIS_URL_FILE", url.to_str().unwrap());
    for store in [&[][..], &[in_redis]] {
        let mut process = Observed::start(store).await;
        let fault = Rule::new(Fault::Reset).times(1).operation("AttachUserData");
        process.sandbox.faults().push(fault).unwrap();
        let attach = AttachUserDataRequest {
            session_id: SESSION.into(),
            user_data: Some(data(&[("Colour", "green")])),
            request_id: "once".into(),
            ..Default::default()
        };
        for _ in 0..2 {
            let status = process.sms().attach_user_data(attach.clone()).await;
            assert_eq!(reason(&status.unwrap_err()), "OUTCOME_UNKNOWN");
        }
        process.end().await;
        let lines = access(&process, "/AttachUserData");
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in lines {
            assert_eq!(line["reason"], "OUTCOME_UNKNOWN", "{store:?}: {line}");
        }
    }
}

/// Some three times what a pipe holds, and more than is kept to be written together.
async fn write_many_lines(process: &Observed) {
    let get = get();
    let mut sms = process.sms();
    for _ in 0..600 {
        sms.get_session(get.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_no_call() {
    let mut process = Observed::start_unread().await;
    write_many_lines(&process).await;
    assert!(process.end().await.success());
}

/// Nor does one whose reader is gone, and what is lost by it is counted.
#[tokio::test]
async fn a_log_whose_reader_is_gone_counts_what_is_lost() {
    let mut process = Observed::start_unread().await;
    process.hang_up_on_log();
    let lost = async || {
        let text = process.metrics().await;
        let name = "switchboard_log_lines_dropped_total ";
        let count = text.lines().find_map(|line| line.strip_prefix(name));
        count.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(lost().await, 0);
    let attach = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Colour", "green")])),
        ..Default::default()
    };
    process.sms().attach_user_data(attach).await.unwrap();
    assert_eq!(lost().await, 1, "the line of the audit log");
    write_many_lines(&process).await;
    in_time("the loss to be counted", async {
        while lost().await < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(process.end().await.success());
}
