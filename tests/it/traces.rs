//! What a collector gets of a call: exactly these spans, by the semantic conventions.

use std::future::ready;

use switchboard::pb::{
    AttachUserDataRequest, Confirmation, DeleteAgentSettingsRequest, GetAgentSettingsRequest,
    UpdateUserDataRequest, WatchSessionsRequest,
};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::genesys::{Notification, NotificationRule};
use tonic::Request;

use crate::support::collector::Collector;
use crate::support::observed::Observed;
use crate::support::spans::{hex, tree};
use crate::support::vendor::{self, Vendor};
use crate::support::watch::until;
use crate::support::{SESSION, USER, attempts, data, get};

/// The callers' own spans.
const PARENT: &str = "b7ad6b7169203331";

struct Traced {
    process: Observed,
    collector: Collector,
}

impl Traced {
    async fn start_with(variables: &[(&str, &str)]) -> Traced {
        let (collector, endpoint) = Collector::start().await;
        let own = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ];
        let process = Observed::start(&[&own, variables].concat()).await;
        Traced { process, collector }
    }

    /// A process whose tokens are there already.
    async fn warm() -> Traced {
        let traced = Self::start_with(&[]).await;
        let mut sms = traced.process.sms();
        sms.get_session(get()).await.unwrap();
        let mut settings = traced.process.settings();
        settings.get_agent_settings(query()).await.unwrap();
        traced
    }

    /// What the collector has of a trace in the end.
    async fn trace(mut self, id: u128) -> String {
        assert!(self.process.end().await.success());
        let id = format!("{id:032x}");
        let spans = self.collector.spans();
        let server = spans
            .iter()
            .find(|it| hex(&it.trace_id) == id && it.kind == 2);
        assert_eq!(hex(&server.expect("a server span").parent_span_id), PARENT);
        tree(spans, &id)
    }
}

fn query() -> GetAgentSettingsRequest {
    GetAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    }
}

/// From a caller that traces.
fn traced<T>(id: u128, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{id:032x}-{PARENT}-01");
    request
        .metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    request
}

#[tokio::test]
async fn success() {
    let traced_gateway = Traced::warm().await;
    let mut sms = traced_gateway.process.sms();
    sms.get_session(traced(0xa1, get())).await.unwrap();
    assert_eq!(
        traced_gateway.trace(0xa1).await,
        "\
SERVER contactcenter.v1.SmsSessionData/GetSession [unset]
    rpc.method=contactcenter.v1.SmsSessionData/GetSession
    rpc.status_code=OK
    rpc.system.name=grpc
  CLIENT GET /api/v2/me/smssessions/{id} [unset]
      http.request.method=GET
      http.response.status_code=200
      server.address=127.0.0.1
      switchboard.account=default
      switchboard.operation=GetSession
      switchboard.vendor=genesys
      url.full=http://127.0.0.1/api/v2/me/smssessions/{id}
      url.template=/api/v2/me/smssessions/{id}
"
    );
}

#[tokio::test]
async fn retry_then_success() {
    let traced_gateway = Traced::warm().await;
    let fault = Rule::new(Fault::status(503))
        .times(1)
        .operation("UpdateUserData");
    traced_gateway.process.sandbox.faults().push(fault).unwrap();
    let update = UpdateUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Colour", "green")])),
        ..Default::default()
    };
    let mut sms = traced_gateway.process.sms();
    sms.update_user_data(traced(0xa2, update)).await.unwrap();
    assert_eq!(
        traced_gateway.trace(0xa2).await,
        "\
SERVER contactcenter.v1.SmsSessionData/UpdateUserData [unset]
    rpc.method=contactcenter.v1.SmsSessionData/UpdateUserData
    rpc.status_code=OK
    rpc.system.name=grpc
  CLIENT POST /api/v2/me/smssessions/{id} [error]
      error.type=unavailable
      http.request.method=POST
      http.response.status_code=503
      server.address=127.0.0.1
      switchboard.account=default
      switchboard.operation=UpdateUserData
      switchboard.vendor=genesys
      url.full=http://127.0.0.1/api/v2/me/smssessions/{id}
      url.template=/api/v2/me/smssessions/{id}
  CLIENT POST /api/v2/me/smssessions/{id} [unset]
      http.request.method=POST
      http.request.resend_count=1
      http.response.status_code=200
      server.address=127.0.0.1
      switchboard.account=default
      switchboard.operation=UpdateUserData
      switchboard.resend_reason=unavailable
      switchboard.vendor=genesys
      url.full=http://127.0.0.1/api/v2/me/smssessions/{id}
      url.template=/api/v2/me/smssessions/{id}
"
    );
}

/// The look is a request of its own, and no repeat of the delete.
#[tokio::test]
async fn a_delete_in_doubt_is_looked_for() {
    let traced_gateway = Traced::warm().await;
    let fault = Rule::new(Fault::status(504)).after().times(1);
    let sandbox = &traced_gateway.process.sandbox;
    sandbox.faults().push(fault.operation("delete")).unwrap();
    let delete = DeleteAgentSettingsRequest {
        user_id: USER.into(),
        ..Default::default()
    };
    let mut settings = traced_gateway.process.settings();
    let answer = settings.delete_agent_settings(traced(0xa7, delete)).await;
    assert_eq!(attempts(answer.unwrap().metadata()), 3);
    let trace = traced_gateway.trace(0xa7).await;
    let resent: Vec<_> = trace
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("CLIENT") || line.contains("resen"))
        .collect();
    assert_eq!(
        resent,
        [
            "CLIENT POST /apiaccess/CC-Management/v1/openapp/agentsettings/delete [error]",
            "CLIENT POST /apiaccess/CC-Management/v1/openapp/agentsettings/delete [error]",
            "http.request.resend_count=1",
            "switchboard.resend_reason=unavailable",
            "CLIENT POST /apiaccess/CC-Management/v1/openapp/agentsettings/query [unset]",
        ]
    );
}

#[tokio::test]
async fn a_token_is_refreshed() {
    let traced_gateway = Traced::warm().await;
    traced_gateway.process.sandbox.aicc().expire_tokens();
    let mut settings = traced_gateway.process.settings();
    let answer = settings.get_agent_settings(traced(0xa3, query())).await;
    answer.unwrap();
    assert_eq!(
        traced_gateway.trace(0xa3).await,
        "\
SERVER contactcenter.v1.AgentSettings/GetAgentSettings [unset]
    rpc.method=contactcenter.v1.AgentSettings/GetAgentSettings
    rpc.status_code=OK
    rpc.system.name=grpc
  CLIENT POST /apiaccess/CC-Management/v1/openapp/agentsettings/query [error]
      error.type=credential_refused
      http.request.method=POST
      http.response.status_code=403
      server.address=127.0.0.1
      switchboard.account=default
      switchboard.operation=query
      switchboard.vendor=aicc
      url.full=http://127.0.0.1/apiaccess/CC-Management/v1/openapp/agentsettings/query
      url.template=/apiaccess/CC-Management/v1/openapp/agentsettings/query
  INTERNAL login [unset]
      switchboard.account=default
      switchboard.vendor=aicc
    CLIENT POST /apigovernance/api/oauth/tokenByAkSk [unset]
        http.request.method=POST
        http.response.status_code=200
        server.address=127.0.0.1
        switchboard.operation=Token
        switchboard.vendor=aicc
        url.full=http://127.0.0.1/apigovernance/api/oauth/tokenByAkSk
        url.template=/apigovernance/api/oauth/tokenByAkSk
  CLIENT POST /apiaccess/CC-Management/v1/openapp/agentsettings/query [unset]
      http.request.method=POST
      http.request.resend_count=1
      http.response.status_code=200
      server.address=127.0.0.1
      switchboard.account=default
      switchboard.operation=query
      switchboard.resend_reason=credential_refused
      switchboard.vendor=aicc
      url.full=http://127.0.0.1/apiaccess/CC-Management/v1/openapp/agentsettings/query
      url.template=/apiaccess/CC-Management/v1/openapp/agentsettings/query
"
    );
}

#[tokio::test]
async fn a_token_comes_from_elsewhere() {
    let tokens = Vendor::start_with(|seen| Box::pin(ready(vendor::login(&seen)))).await;
    let traced_gateway = Traced::start_with(&[(
        "SWITCHBOARD__AICC__TOKEN_URL",
        &format!("{}/iam/v3/tokens", tokens.url),
    )])
    .await;
    // The sandbox does not know the token that is made by hand.
    let mut settings = traced_gateway.process.settings();
    let answer = settings.get_agent_settings(traced(0xa7, query())).await;
    answer.unwrap_err();
    let trace = traced_gateway.trace(0xa7).await;
    let login = "\
  INTERNAL login [unset]
      switchboard.account=default
      switchboard.vendor=aicc
    CLIENT POST /iam/v3/tokens [unset]
        http.request.method=POST
        http.response.status_code=200
        server.address=127.0.0.1
        switchboard.operation=Token
        switchboard.vendor=aicc
        url.full=http://127.0.0.1/iam/v3/tokens
        url.template=/iam/v3/tokens
";
    assert!(trace.contains(login), "{trace}");
}

fn confirmed(id: u128) -> Request<AttachUserDataRequest> {
    let attach = AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(&[("Topic", "billing")])),
        confirmation: Confirmation::Confirmed.into(),
        ..Default::default()
    };
    traced(id, attach)
}

#[tokio::test]
async fn a_write_is_confirmed_by_a_notification() {
    let traced_gateway = Traced::warm().await;
    let mut sms = traced_gateway.process.sms();
    // The notifications are subscribed to by the first.
    sms.attach_user_data(confirmed(0xa8)).await.unwrap();
    sms.attach_user_data(confirmed(0xa9)).await.unwrap();
    assert_eq!(
        traced_gateway.trace(0xa9).await,
        "\
SERVER contactcenter.v1.SmsSessionData/AttachUserData [unset]
    rpc.method=contactcenter.v1.SmsSessionData/AttachUserData
    rpc.status_code=OK
    rpc.system.name=grpc
  INTERNAL confirmed write [unset]
      switchboard.account=default
      switchboard.operation=AttachUserData
      switchboard.vendor=genesys
    CLIENT POST /api/v2/me/smssessions/{id} [unset]
        http.request.method=POST
        http.response.status_code=200
        server.address=127.0.0.1
        switchboard.account=default
        switchboard.operation=AttachUserData
        switchboard.vendor=genesys
        url.full=http://127.0.0.1/api/v2/me/smssessions/{id}
        url.template=/api/v2/me/smssessions/{id}
    INTERNAL confirmation [unset]
        switchboard.account=default
        switchboard.confirmation=notification
        switchboard.operation=AttachUserData
        switchboard.vendor=genesys
"
    );
}

#[tokio::test]
async fn a_write_is_confirmed_by_a_read() {
    let traced_gateway = Traced::warm().await;
    let genesys = traced_gateway.process.sandbox.genesys();
    let mut sms = traced_gateway.process.sms();
    sms.attach_user_data(confirmed(0xaa)).await.unwrap();
    let silence = NotificationRule::new(Notification::Never);
    genesys.push_notification_rule(silence).unwrap();
    sms.attach_user_data(confirmed(0xab)).await.unwrap();
    assert_eq!(
        traced_gateway.trace(0xab).await,
        "\
SERVER contactcenter.v1.SmsSessionData/AttachUserData [unset]
    rpc.method=contactcenter.v1.SmsSessionData/AttachUserData
    rpc.status_code=OK
    rpc.system.name=grpc
  INTERNAL confirmed write [unset]
      switchboard.account=default
      switchboard.operation=AttachUserData
      switchboard.vendor=genesys
    CLIENT POST /api/v2/me/smssessions/{id} [unset]
        http.request.method=POST
        http.response.status_code=200
        server.address=127.0.0.1
        switchboard.account=default
        switchboard.operation=AttachUserData
        switchboard.vendor=genesys
        url.full=http://127.0.0.1/api/v2/me/smssessions/{id}
        url.template=/api/v2/me/smssessions/{id}
    INTERNAL confirmation [unset]
        switchboard.account=default
        switchboard.confirmation=read
        switchboard.operation=AttachUserData
        switchboard.vendor=genesys
      CLIENT GET /api/v2/me/smssessions/{id} [unset]
          http.request.method=GET
          http.response.status_code=200
          server.address=127.0.0.1
          switchboard.account=default
          switchboard.operation=GetSession
          switchboard.vendor=genesys
          url.full=http://127.0.0.1/api/v2/me/smssessions/{id}
          url.template=/api/v2/me/smssessions/{id}
"
    );
}

#[tokio::test]
async fn a_deadline_runs_out() {
    let traced_gateway = Traced::warm().await;
    let fault = Rule::new(Fault::Hang).operation("GetSession");
    traced_gateway.process.sandbox.faults().push(fault).unwrap();
    let mut request = traced(0xa4, get());
    request
        .metadata_mut()
        .insert("grpc-timeout", "300m".parse().unwrap());
    let mut sms = traced_gateway.process.sms();
    sms.get_session(request).await.unwrap_err();
    assert_eq!(
        traced_gateway.trace(0xa4).await,
        "\
SERVER contactcenter.v1.SmsSessionData/GetSession [error]
    error.type=DEADLINE_EXCEEDED
    rpc.method=contactcenter.v1.SmsSessionData/GetSession
    rpc.status_code=DEADLINE_EXCEEDED
    rpc.system.name=grpc
    switchboard.reason=DEADLINE
  CLIENT GET /api/v2/me/smssessions/{id} [error]
      error.type=deadline
      http.request.method=GET
      server.address=127.0.0.1
      switchboard.account=default
      switchboard.operation=GetSession
      switchboard.vendor=genesys
      url.full=http://127.0.0.1/api/v2/me/smssessions/{id}
      url.template=/api/v2/me/smssessions/{id}
"
    );
}

#[tokio::test]
async fn a_stream_ends_when_its_caller_has_enough() {
    let traced_gateway = Traced::warm().await;
    let mut sms = traced_gateway.process.sms();
    let request = traced(0xa5, WatchSessionsRequest::default());
    let mut stream = sms.watch_sessions(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    drop(stream);
    access_line(&traced_gateway, "WatchSessions").await;
    assert_eq!(
        traced_gateway.trace(0xa5).await,
        "\
SERVER contactcenter.v1.SmsSessionData/WatchSessions [unset]
    rpc.method=contactcenter.v1.SmsSessionData/WatchSessions
    rpc.status_code=CANCELLED
    rpc.system.name=grpc
"
    );
}

#[tokio::test]
async fn a_caller_is_gone() {
    let traced_gateway = Traced::warm().await;
    let fault = Rule::new(Fault::Hang).operation("GetSession");
    let sandbox = &traced_gateway.process.sandbox;
    sandbox.faults().push(fault).unwrap();
    sandbox.journal().clear();
    let mut sms = traced_gateway.process.sms();
    let call = tokio::spawn(async move { sms.get_session(traced(0xa6, get())).await });
    until("the request at the vendor", || {
        !sandbox.journal().entries().is_empty()
    })
    .await;
    call.abort();
    access_line(&traced_gateway, "CANCELLED").await;
    assert_eq!(
        traced_gateway.trace(0xa6).await,
        "\
SERVER contactcenter.v1.SmsSessionData/GetSession [unset]
    rpc.method=contactcenter.v1.SmsSessionData/GetSession
    rpc.status_code=CANCELLED
    rpc.system.name=grpc
  CLIENT GET /api/v2/me/smssessions/{id} [error]
      error.type=cancelled
      http.request.method=GET
      server.address=127.0.0.1
      switchboard.account=default
      switchboard.operation=GetSession
      switchboard.vendor=genesys
      url.full=http://127.0.0.1/api/v2/me/smssessions/{id}
      url.template=/api/v2/me/smssessions/{id}
"
    );
}

/// The line of a call, once it has ended.
async fn access_line(traced: &Traced, word: &str) {
    until("the access line", || {
        let lines = traced.process.lines();
        let found = |line: &serde_json::Value| {
            line["target"] == "switchboard::access" && line.to_string().contains(word)
        };
        lines.iter().any(found)
    })
    .await;
}

#[tokio::test]
async fn what_is_not_sampled_is_not_exported_but_still_passed_on() {
    let (collector, endpoint) = Collector::start().await;
    let mut process = Observed::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
    ])
    .await;
    process
        .sms()
        .get_session(traced(0xb1, get()))
        .await
        .unwrap();
    process.end().await;
    assert!(collector.spans().is_empty());
    let line = process.lines();
    let line = line.iter().find(|it| it["target"] == "switchboard::access");
    assert_eq!(line.unwrap()["trace_id"], format!("{:032x}", 0xb1));
}

#[tokio::test]
async fn without_a_collector_the_vendor_and_the_log_still_have_a_trace() {
    let mut process = Observed::start(&[]).await;
    process.sms().get_session(get()).await.unwrap();
    process
        .sms()
        .get_session(traced(0xc1, get()))
        .await
        .unwrap();
    process.end().await;
    let lines = process.lines();
    let ids: Vec<_> = lines
        .iter()
        .filter(|line| line["target"] == "switchboard::access")
        .map(|line| line["trace_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 2);
    assert!(ids[0].len() == 32 && ids[0] != "0".repeat(32), "{ids:?}");
    assert_eq!(ids[1], format!("{:032x}", 0xc1));
}
