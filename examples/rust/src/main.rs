//! A caller of switchboard in Rust: `cargo run -- tour` shows what a caller has to know,
//! `cargo run -- restart` keeps writing and watching while the gateway is restarted. It ends with 0
//! only if all went well.

use std::collections::HashMap;
use std::env;
use std::time::Duration;

use pb::session_events::Event;
use pb::sms_session_data_client::SmsSessionDataClient;
use pb::{AttachUserDataRequest, Confirmation, Outcome, SmsSession};
use prost_types::{Struct, Value, value::Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

mod pb {
    tonic::include_proto!("contactcenter.v1");
    pub use watch_sessions_response as session_events;
}

type Client = SmsSessionDataClient<Channel>;
type Error = Box<dyn std::error::Error + Send + Sync>;

const SESSION: &str = "0071023821aec011";
const ATTEMPTS: u32 = 4;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let channel =
        Endpoint::from_shared(format!("http://{}", var("SWITCHBOARD", "127.0.0.1:50051")))?
            // A stream says nothing for hours; pings find out that its peer is gone.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .connect_lazy();
    let client = SmsSessionDataClient::new(channel);
    if env::args().nth(1).as_deref() == Some("restart") {
        return timeout(Duration::from_secs(90), restart(client)).await?;
    }
    confirmed_attach(client.clone()).await?;
    rich_errors(client.clone()).await?;
    retries(client.clone()).await?;
    pushback(client.clone()).await?;
    timeout(Duration::from_secs(30), gap(client)).await??;
    println!("rust: all went as expected");
    Ok(())
}

/// Returns when the write was seen in place, not just when the vendor accepted it.
async fn confirmed_attach(mut client: Client) -> Result<(), Error> {
    let answer = client
        .attach_user_data(within(
            5,
            &AttachUserDataRequest {
                session_id: SESSION.into(),
                user_data: Some(data("RustKey", "attached")),
                confirmation: Confirmation::Confirmed.into(),
                // Of the caller's own making, one per intended write: a repeat gets the first's result.
                request_id: format!("rust-{:x}", rand::random::<u128>()),
                ..Default::default()
            },
        ))
        .await?
        .into_inner();
    println!("attach: {:?}", answer.outcome());
    assert_eq!(answer.outcome(), Outcome::Confirmed);
    assert!(
        holds(answer.session.as_ref(), "RustKey", "attached"),
        "seen in place"
    );
    Ok(())
}

/// Code and reason are for programs, the message is for people.
async fn rich_errors(mut client: Client) -> Result<(), Error> {
    let wrong = pb::DeleteUserDataRequest {
        session_id: "..".into(),
        keys: vec!["a".into(), "a".into(), String::new()],
        ..Default::default()
    };
    let status = client
        .delete_user_data(within(5, &wrong))
        .await
        .unwrap_err();
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    println!("refused: {} {fields:?}", reason(&status));
    assert_eq!(
        (reason(&status).as_str(), fields.len()),
        ("INVALID_FIELD", 3)
    );

    fault(r#"[{"operation": "ListSessions", "fault": {"kind": "throttle", "retry_after": "60"}}]"#)
        .await?;
    let all = pb::ListSessionsRequest::default();
    let status = client.list_sessions(within(5, &all)).await.unwrap_err();
    fault("[]").await?;
    let metadata = status.get_details_error_info().unwrap().metadata;
    let wait = status.get_details_retry_info().unwrap().retry_delay;
    println!(
        "throttled: {} {metadata:?} come again in {wait:?}",
        reason(&status)
    );
    assert_eq!(reason(&status), "VENDOR_THROTTLED");
    assert_eq!(metadata["vendor"], "genesys");
    assert!(
        wait.is_some_and(|wait| !wait.is_zero()),
        "told when to come again"
    );
    Ok(())
}

/// The gateway gives up after three attempts; the caller asks once more.
async fn retries(client: Client) -> Result<(), Error> {
    fault(r#"[{"operation": "GetSession", "times": 3, "fault": {"kind": "html", "status": 503}}]"#)
        .await?;
    let request = pb::GetSessionRequest {
        session_id: SESSION.into(),
        ..Default::default()
    };
    retrying(ATTEMPTS, Code::Unavailable, async || {
        client.clone().get_session(within(10, &request)).await
    })
    .await?;
    let times = sent("GetSession").await?;
    println!("retried by the caller: the vendor was asked {times} times");
    assert_eq!(times, 4, "one retry by the client");
    Ok(())
}

/// Even a caller that would repeat what may have been done is stopped by a pushback of -1.
async fn pushback(client: Client) -> Result<(), Error> {
    fault(r#"[{"operation": "AttachUserData", "stage": "after", "fault": {"kind": "reset"}}]"#)
        .await?;
    let request = attach("RustPushback", "once", String::new());
    let answer = retrying(ATTEMPTS, Code::Unknown, async || {
        client.clone().attach_user_data(within(5, &request)).await
    })
    .await;
    let (status, times) = (answer.unwrap_err(), sent("AttachUserData").await?);
    fault("[]").await?;
    println!(
        "lost: {:?} {} {:?} sent {times}",
        status.code(),
        reason(&status),
        pushed(&status)
    );
    assert_eq!((reason(&status).as_str(), times), ("OUTCOME_UNKNOWN", 1));
    Ok(())
}

/// A loss of notifications is told by a snapshot.
async fn gap(client: Client) -> Result<(), Error> {
    let mut view = View::open(client);
    view.wait_for(|view| view.started == 1).await?;
    control("POST", "/genesys/fail-over", "").await?;
    view.wait_for(|view| view.gaps == 1).await?;
    println!("seen: REASON_STARTED, REASON_GAP");
    Ok(())
}

/// Writes and watches until the stream has begun anew and three more writes are done.
async fn restart(client: Client) -> Result<(), Error> {
    let mut view = View::open(client.clone());
    view.wait_for(|view| view.started == 1).await?;
    let (mut keys, mut after) = (Vec::new(), 0);
    while after < 3 {
        let key = format!("rust-{}", keys.len() + 1);
        let request = attach(
            &key,
            "written",
            format!("rust-{:x}", rand::random::<u128>()),
        );
        // Only because of its request_id may an attach be repeated when the connection was lost.
        retrying(30, Code::Unavailable, async || {
            client.clone().attach_user_data(within(5, &request)).await
        })
        .await?;
        keys.push(key);
        println!("wrote {}", keys.len());
        after += u32::from(view.borrow().started > 1);
        // A caller's own pace, so that the restart falls between writes.
        sleep(Duration::from_millis(100)).await;
    }
    let whole = |view: &View| {
        keys.iter()
            .all(|key| holds(view.sessions.get(SESSION), key, "written"))
    };
    view.wait_for(whole).await?;
    println!("rust: the view is whole after the restart");
    Ok(())
}

/// tonic knows no service config, so its rules are kept here: one code, jittered waits, and the
/// server's pushback before all.
async fn retrying<T>(
    attempts: u32,
    retryable: Code,
    call: impl AsyncFn() -> Result<T, Status>,
) -> Result<T, Status> {
    let mut attempt = 0;
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        attempt += 1;
        if status.code() != retryable || attempt >= attempts {
            return Err(status);
        }
        match pushed(&status) {
            None => sleep(backoff(attempt)).await,
            Some(told) => match told.parse() {
                Ok(wait) => sleep(Duration::from_millis(wait)).await,
                // Negative, or not understood: do not come again.
                Err(_) => return Err(status),
            },
        }
    }
}

/// Full jitter: callers that lost the same gateway must not all come back at the same moment.
fn backoff(attempt: u32) -> Duration {
    let ceiling =
        (Duration::from_millis(100) * 2_u32.pow(attempt.min(6))).min(Duration::from_secs(5));
    ceiling.mul_f64(rand::random())
}

/// The sessions as the stream tells them.
#[derive(Default)]
struct View {
    sessions: HashMap<String, SmsSession>,
    started: u32,
    gaps: u32,
}

impl View {
    /// Opens the stream again for as long as the receiver is kept.
    fn open(client: Client) -> watch::Receiver<Self> {
        let (sender, receiver) = watch::channel(Self::default());
        tokio::spawn(async move {
            let mut attempt = 0;
            while !sender.is_closed() {
                let ended = Self::follow(client.clone(), &sender, &mut attempt).await;
                use Code::{InvalidArgument, PermissionDenied, Unauthenticated, Unimplemented};
                match ended.map_err(|status| status.code()) {
                    // Asking again changes nothing; dropping the sender says so.
                    Err(InvalidArgument | PermissionDenied | Unauthenticated | Unimplemented) => {
                        return;
                    }
                    ended => println!("watch ended, opened again: {ended:?}"),
                }
                attempt += 1;
                sleep(backoff(attempt)).await;
            }
        });
        receiver
    }

    async fn follow(
        mut client: Client,
        view: &watch::Sender<Self>,
        attempt: &mut u32,
    ) -> Result<(), Status> {
        let all = pb::WatchSessionsRequest::default();
        let mut events = client.watch_sessions(all).await?.into_inner();
        while let Some(event) = events.message().await? {
            *attempt = 0;
            view.send_modify(|view| view.apply(event.event));
        }
        Ok(())
    }

    fn apply(&mut self, event: Option<Event>) {
        match event {
            Some(Event::Snapshot(snapshot)) => {
                match snapshot.reason() {
                    pb::sessions_snapshot::Reason::Gap => self.gaps += 1,
                    _ => self.started += 1,
                }
                // Whatever was known before may be wrong by now.
                let sessions = snapshot.sessions.into_iter();
                self.sessions = sessions
                    .map(|session| (session.id.clone(), session))
                    .collect();
            }
            Some(Event::Notification(pb::SessionNotification {
                session: Some(told),
                ..
            })) if told.user_data.is_some() => {
                // The whole of the user data, not a change. Other fields are not needed here.
                let known = self.sessions.entry(told.id.clone()).or_default();
                known.user_data = told.user_data;
            }
            _ => {}
        }
    }
}

fn within<T: Clone>(seconds: u64, message: &T) -> Request<T> {
    let mut request = Request::new(message.clone());
    request.set_timeout(Duration::from_secs(seconds));
    request
}

fn attach(key: &str, value: &str, request_id: String) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(data(key, value)),
        request_id,
        ..Default::default()
    }
}

fn data(key: &str, value: &str) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue(value.into())),
    };
    Struct {
        fields: [(key.into(), value)].into(),
    }
}

fn holds(session: Option<&SmsSession>, key: &str, value: &str) -> bool {
    let found =
        session.and_then(|session| session.user_data.as_ref()?.fields.get(key)?.kind.clone());
    found == Some(Kind::StringValue(value.into()))
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

fn pushed(status: &Status) -> Option<&str> {
    status
        .metadata()
        .get("grpc-retry-pushback-ms")?
        .to_str()
        .ok()
}

fn var(name: &str, fallback: &str) -> String {
    env::var(name).unwrap_or(fallback.into())
}

// The rest is about the sandbox: faults to rehearse with, and what its vendor was sent.

async fn fault(rules: &str) -> Result<(), Error> {
    control("PUT", "/faults", rules).await?;
    if rules != "[]" {
        control("DELETE", "/requests", "").await?;
    }
    Ok(())
}

async fn sent(operation: &str) -> Result<usize, Error> {
    let answer = control("GET", &format!("/requests?operation={operation}"), "").await?;
    Ok(answer.matches("\"sequence\"").count())
}

/// HTTP by hand: a client for it would be the largest dependency of this example.
async fn control(method: &str, path: &str, body: &str) -> Result<String, Error> {
    let url = var("SANDBOX_CONTROL", "http://127.0.0.1:50052");
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(
        answer.starts_with("HTTP/1.1 2"),
        "{method} {path}: {answer}"
    );
    Ok(answer)
}
