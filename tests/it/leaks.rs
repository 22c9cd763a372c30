//! Nothing that was told in confidence gets out: not in the log however loud, not in metrics, the
//! status page, traces or exported logs, not in errors. The real process, every rpc, every kind of
//! fault.

use std::collections::BTreeSet;

use switchboard::pb::{
    AttachUserDataRequest, CallType, Confirmation, CreateAgentSettingsRequest,
    DeleteAgentSettingsRequest, DeleteUserDataRequest, GetAgentSettingsRequest,
    ListSessionsRequest, PersonalSettings, UpdateAgentSettingsRequest, UpdateUserDataRequest,
    WatchSessionsRequest,
};
use switchboard::sandbox::faults::{Code, Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationRule};
use tonic::{Request, Status};

use crate::support::collector::Collector;
use crate::support::doors::secrets;
use crate::support::observed::Observed;
use crate::support::scan::forms;
use crate::support::verdict::all_words;
use crate::support::watch::until;
use crate::support::{RECORD, SESSION, USER, get, number, text};

// User data, its keys, and numbers of persons: no pattern would tell them from other words.
const VALUE: &str = "Canary Lane 7 Springfield";
const KEY: &str = "canary-key of Alice Doe";
const PAN: &str = "4929118755331234";
const PHONE: &str = "+4917799887766";
/// A token that a caller sends though nobody asked for one.
const BEARER: &str = "caller-token-canary";

/// What does get out, so that every place that is looked at is known to have been looked at.
const PLANTED_SESSION: &str = "planted-session";
const PLANTED_REQUEST: &str = "planted-request";

/// All that one process let out, by where.
struct Emitted(Vec<(&'static str, String)>);

impl Emitted {
    fn holding(&self, words: &str) -> Vec<&'static str> {
        let places = self.0.iter().filter(|(_, text)| text.contains(words));
        places.map(|(place, _)| *place).collect()
    }
}

fn user_data() -> prost_types::Struct {
    prost_types::Struct {
        fields: [
            (KEY.to_owned(), text(VALUE)),
            ("pan".to_owned(), number(PAN.parse().unwrap())),
        ]
        .into(),
    }
}

fn personal() -> PersonalSettings {
    PersonalSettings {
        call_type: CallType::Direct.into(),
        call_number: vec![PHONE.into()],
        call_number_default: PHONE.into(),
        ..Default::default()
    }
}

/// With what a caller brings along.
fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(std::time::Duration::from_secs(2));
    let metadata = request.metadata_mut();
    let bearer = format!("Bearer {BEARER}").parse().unwrap();
    metadata.insert("authorization", bearer);
    metadata.insert("x-request-id", PLANTED_REQUEST.parse().unwrap());
    request
}

/// Every rpc once; the errors.
async fn call_all(process: &Observed, confirmation: Confirmation) -> Vec<Status> {
    let (mut sms, mut settings) = (process.sms(), process.settings());
    let attach = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(user_data()),
        confirmation: confirmation.into(),
        ..Default::default()
    };
    let update = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(user_data()),
        confirmation: confirmation.into(),
        ..Default::default()
    };
    let delete = DeleteUserDataRequest {
        session_id: SESSION.into(),
        keys: vec![KEY.into()],
        confirmation: confirmation.into(),
        ..Default::default()
    };
    let create = CreateAgentSettingsRequest {
        user_id: "1660270845627002402".into(),
        settings: Some(personal()),
        ..Default::default()
    };
    let change = UpdateAgentSettingsRequest {
        id: RECORD.into(),
        user_id: USER.into(),
        settings: Some(personal()),
        ..Default::default()
    };
    let wrong = CreateAgentSettingsRequest {
        user_id: String::new(),
        settings: Some(PersonalSettings {
            call_number: vec![format!("{PHONE},{PHONE},{VALUE}")],
            ..Default::default()
        }),
        ..Default::default()
    };
    let query = GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    let remove = DeleteAgentSettingsRequest {
        user_id: "1660270845627002402".into(),
        ..Default::default()
    };
    let get = get();
    let results = [
        sms.attach_user_data(request(attach)).await.map(drop),
        sms.update_user_data(request(update)).await.map(drop),
        sms.get_session(request(get)).await.map(drop),
        sms.list_sessions(request(ListSessionsRequest::default()))
            .await
            .map(drop),
        sms.delete_user_data(request(delete)).await.map(drop),
        settings
            .create_agent_settings(request(create))
            .await
            .map(drop),
        settings
            .update_agent_settings(request(change))
            .await
            .map(drop),
        settings
            .create_agent_settings(request(wrong))
            .await
            .map(drop),
        settings.get_agent_settings(request(query)).await.map(drop),
        settings
            .delete_agent_settings(request(remove))
            .await
            .map(drop),
    ];
    results.into_iter().filter_map(Result::err).collect()
}

fn faults() -> Vec<Rule> {
    let echo = Fault::VendorCode {
        code: Code::from(11),
        message: format!("{VALUE}, {KEY}, {PAN} and {PHONE} are wrong"),
    };
    let page = Fault::Status {
        status: 400,
        body: Some(format!("<html>{VALUE} {KEY} {PAN} {PHONE}</html>")),
        content_type: Some("text/html".into()),
        retry_after: None,
        location: None,
    };
    let kinds = [
        Fault::Reset,
        Fault::CutBody,
        Fault::Garbage,
        Fault::WrongType,
        Fault::NoCode,
        Fault::Unauthorized,
        Fault::ForbiddenToken,
        Fault::Html { status: 403 },
        Fault::status(500),
        Fault::status(503),
        echo,
        page,
    ];
    let all = kinds.into_iter();
    all.flat_map(|kind| [Rule::new(kind.clone()), Rule::new(kind).after()])
        .collect()
}

async fn page(process: &Observed, path: &str) -> String {
    let url = format!("http://{}{path}", process.admin);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn nothing_that_was_told_in_confidence_gets_out() {
    let (collector, endpoint) = Collector::start().await;
    let mut process = Observed::start(&[
        ("RUST_LOG", "trace"),
        // It would keep most of the faults from being met.
        ("SWITCHBOARD__GENESYS__BREAKER__ENABLED", "false"),
        ("SWITCHBOARD__AICC__BREAKER__ENABLED", "false"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_LOGS_EXPORTER", "otlp"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ])
    .await;
    let watch = WatchSessionsRequest::default();
    let mut watch = process.sms().watch_sessions(request(watch)).await.unwrap();
    let mut errors = call_all(&process, Confirmation::Confirmed).await;
    watch.get_mut().message().await.unwrap().unwrap();
    let error = Notification::Error {
        message: format!("{VALUE}, {PHONE} could not be attached"),
    };
    let rule = NotificationRule::new(error).times(2);
    process
        .sandbox
        .genesys()
        .push_notification_rule(rule)
        .unwrap();
    errors.extend(call_all(&process, Confirmation::Confirmed).await);
    for fault in faults() {
        process.sandbox.faults().replace(vec![fault]).unwrap();
        errors.extend(call_all(&process, Confirmation::Accepted).await);
    }
    process.sandbox.faults().clear();
    let planted = AttachUserDataRequest {
        session_id: PLANTED_SESSION.into(),
        user_data: Some(user_data()),
        ..Default::default()
    };
    let unknown = process.sms().attach_user_data(request(planted)).await;
    errors.push(unknown.unwrap_err());
    assert!(errors.len() > 50, "{} errors", errors.len());
    until("spans and logs have been exported", || {
        !collector.spans().is_empty() && !collector.logs().is_empty()
    })
    .await;

    let pages = [
        ("metrics", page(&process, "/metrics").await),
        ("status page", page(&process, "/").await),
        ("status", page(&process, "/status.json").await),
    ];
    let entries = process.sandbox.journal().entries();
    drop(watch);
    assert!(process.end().await.success());
    let mut emitted = Emitted(pages.into());
    emitted.0.extend([
        ("log", process.log()),
        ("spans", format!("{:?}", collector.spans())),
        ("exported logs", format!("{:?}", collector.logs())),
        ("errors", errors.iter().map(all_words).collect()),
    ]);

    let mut secrets: BTreeSet<String> = entries.iter().flat_map(secrets).collect();
    // Of each scheme there was something to find.
    assert!(secrets.len() > 12, "{secrets:?}");
    secrets.extend([VALUE, KEY, PAN, PHONE, BEARER].map(str::to_owned));
    for secret in &secrets {
        for form in forms(secret) {
            let places = emitted.holding(&form);
            assert!(
                places.is_empty(),
                "{secret:?} is in {places:?}, as {form:?}"
            );
        }
    }

    // The same look finds what was put there on purpose, in each place.
    assert_eq!(emitted.holding(PLANTED_SESSION), ["log", "exported logs"]);
    assert!(emitted.holding(PLANTED_REQUEST).contains(&"status"));
    assert!(emitted.holding("AttachUserData").contains(&"spans"));
    assert!(emitted.holding("account=\"default\"").contains(&"metrics"));
    assert!(emitted.holding("VENDOR_REJECTED").contains(&"errors"));
    let loud = emitted.holding("h2::").contains(&"log");
    assert!(loud, "the log was to be as loud as it can be");
}
