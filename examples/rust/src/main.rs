//! A client of the gateway in Rust: `cargo run -- tour` shows calls, errors and retries against
//! the sandbox; `cargo run -- watch` writes and watches until somebody attaches the key
//! "rust-stop".

use std::collections::{BTreeSet, HashMap};
use std::fmt::{Debug, Display};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{env, fs};

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::time::{Instant, sleep};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use pb::sms_session_data_client::SmsSessionDataClient;
use pb::watch_sessions_response::Event;
use pb::{
    AttachUserDataRequest, Confirmation, DeleteUserDataRequest, GetSessionRequest, Outcome,
    SmsSession, WatchSessionsRequest,
};

#[allow(clippy::all)] // generated
mod pb {
    tonic::include_proto!("contactcenter.v1");
}

type Bearer = fn(Request<()>) -> std::result::Result<Request<()>, Status>;
type Sms = SmsSessionDataClient<InterceptedService<Channel, Bearer>>;
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SESSION: &str = "0071023821aec011"; // one that the sandbox has
const DEADLINE: Duration = Duration::from_secs(5);

/// The vendor does the next attach, and its answer is lost.
const LOST: &str = r#"[{"operation": "AttachUserData", "times": 1, "stage": "after",
    "fault": {"kind": "reset"}}]"#;

#[tokio::main]
async fn main() -> Result<()> {
    let sms = SmsSessionDataClient::with_interceptor(connect()?, bearer as Bearer);
    if env::args().nth(1).as_deref() == Some("watch") {
        return watch(sms).await;
    }
    confirmed(sms.clone()).await?;
    refused(sms.clone()).await?;
    absent(sms.clone()).await?;
    retried(sms.clone()).await?;
    stopped(sms.clone()).await?;
    settled(sms).await
}

/// One channel for the whole process, which is what makes it cheap. It is dialled lazily, so that a
/// gateway that is just restarting does not keep this from starting.
fn connect() -> Result<Channel> {
    let address = variable("GATEWAY", "127.0.0.1:50051");
    let endpoint = match env::var("CA") {
        Ok(file) => {
            let authorities = Certificate::from_pem(fs::read(file)?);
            Endpoint::from_shared(format!("https://{address}"))?
                .tls_config(ClientTlsConfig::new().ca_certificate(authorities))?
        }
        Err(_) => Endpoint::from_shared(format!("http://{address}"))?,
    };
    // A stream over a network that fails without a word would be silent for ever.
    let endpoint = endpoint
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    Ok(endpoint.connect_lazy())
}

/// The token in a file, which is read for each call anew: another one is there before it expires.
fn bearer(mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
    // Never in clear.
    if let (Ok(file), Ok(_)) = (env::var("TOKEN_FILE"), env::var("CA")) {
        let unusable = |error: &dyn Display| Status::unauthenticated(format!("{file}: {error}"));
        let token = fs::read_to_string(&file).map_err(|error| unusable(&error))?;
        let value = format!("Bearer {}", token.trim()).parse();
        let value = value.map_err(|error| unusable(&error))?;
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}

/// Returns when the vendor shows the data in place, not when it merely took it.
async fn confirmed(mut sms: Sms) -> Result<()> {
    let value = Uuid::new_v4().to_string();
    let request = AttachUserDataRequest {
        confirmation: Confirmation::Confirmed.into(),
        request_id: Uuid::new_v4().to_string(),
        ..attach("rust-tour", &value)
    };
    let answer = sms
        .attach_user_data(within(DEADLINE, request.clone()))
        .await?;
    let answer = answer.into_inner();
    expect("attach", answer.outcome(), Outcome::Confirmed)?;
    let data = answer.session.and_then(|session| session.user_data);
    let seen = data.and_then(|mut data| data.fields.remove("rust-tour"));
    expect("attached", seen, Some(text(&value)))?;
    // The same request_id again: the first one's answer, and the vendor hears nothing of it.
    let again = sms.attach_user_data(within(DEADLINE, request)).await?;
    expect("sent again", attempts(&again), "0")
}

/// A request that breaks rules is refused with every wrong field, so a form can mark them all.
async fn refused(mut sms: Sms) -> Result<()> {
    let request = DeleteUserDataRequest {
        session_id: "..".into(),
        keys: ["a", "a", ""].map(String::from).into(),
        ..Default::default()
    };
    let refused = sms.delete_user_data(within(DEADLINE, request)).await;
    let error = refused.err().ok_or("not refused")?;
    expect("refused", reason(&error).as_str(), "INVALID_FIELD")?;
    let bad = error.get_details_bad_request().ok_or("no BadRequest")?;
    let fields = bad.field_violations.iter().map(|it| it.field.as_str());
    let wrong = BTreeSet::from(["session_id", "keys[1]", "keys[2]"]);
    expect("fields", fields.collect(), wrong)
}

/// Decide by code and reason; the message is for people. The metadata has the vendor's facts.
async fn absent(mut sms: Sms) -> Result<()> {
    let request = GetSessionRequest {
        session_id: "absent".into(),
        ..Default::default()
    };
    let absent = sms.get_session(within(DEADLINE, request)).await;
    let error = absent.err().ok_or("not refused")?;
    expect("absent", error.code(), Code::NotFound)?;
    expect("reason", reason(&error).as_str(), "VENDOR_NOT_FOUND")?;
    expect("vendor", vendor(&error).as_deref(), Some("genesys"))
}

/// The gateway gives up after three attempts; this calls once more, as the service config says,
/// and that call needs one.
async fn retried(sms: Sms) -> Result<()> {
    let rules = r#"[{"operation": "GetSession", "times": 3,
        "fault": {"kind": "status", "status": 503}}]"#;
    fault(rules)?;
    let config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string("../../docs/service-config.json")?)?;
    let codes = retryable(&config, "GetSession");
    let answer = repeating(&codes, async |attempt| {
        let request = GetSessionRequest {
            session_id: SESSION.into(),
            ..Default::default()
        };
        sms.clone().get_session(repeat(attempt, request)).await
    });
    expect("attempts of the last", attempts(&answer.await?), "1")
}

/// The vendor may have done it: the gateway says so with a pushback of -1, and then it is not
/// repeated, whatever the codes say. If it were, the second call would succeed here.
async fn stopped(sms: Sms) -> Result<()> {
    fault(LOST)?;
    let careless = [Code::Unavailable, Code::Unknown];
    let lost = repeating(&careless, async |attempt| {
        let request = attach("rust-stopped", "x");
        sms.clone().attach_user_data(repeat(attempt, request)).await
    });
    let error = lost
        .await
        .err()
        .ok_or("repeated in spite of the pushback")?;
    expect("lost", error.code(), Code::Unknown)?;
    expect("reason", reason(&error).as_str(), "OUTCOME_UNKNOWN")?;
    expect("pushback", pushback(&error), Some(None))
}

/// Under a request_id the gateway finds out what became of it: the same call again, to be
/// confirmed. It looks, and does not attach a second time.
async fn settled(mut sms: Sms) -> Result<()> {
    fault(LOST)?;
    let mut request = attach("rust-settled", &Uuid::new_v4().to_string());
    request.request_id = Uuid::new_v4().to_string();
    let lost = sms
        .attach_user_data(within(DEADLINE, request.clone()))
        .await;
    let error = lost.err().ok_or("not in doubt")?;
    expect("in doubt", reason(&error).as_str(), "OUTCOME_UNKNOWN")?;
    request.set_confirmation(Confirmation::Confirmed);
    let answer = sms.attach_user_data(within(DEADLINE, request)).await?;
    expect("settled", answer.into_inner().outcome(), Outcome::Confirmed)
}

/// tonic reads no service config, so this is what other languages' libraries do with one.
async fn repeating<T>(
    codes: &[Code],
    call: impl AsyncFn(u32) -> std::result::Result<Response<T>, Status>,
) -> std::result::Result<Response<T>, Status> {
    let mut attempt = 0;
    loop {
        let error = match call(attempt).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        attempt += 1;
        match pushback(&error) {
            _ if attempt == 4 || !codes.contains(&error.code()) => return Err(error),
            Some(None) => return Err(error),
            Some(Some(wait)) => sleep(wait).await,
            None => sleep(advised(&error) + backoff(attempt)).await,
        }
    }
}

/// The codes that a method's retry policy names.
fn retryable(config: &serde_json::Value, method: &str) -> Vec<Code> {
    let all = config["methodConfig"].as_array().into_iter().flatten();
    let is_named = |entry: &&serde_json::Value| {
        let mut names = entry["name"].as_array().into_iter().flatten();
        names.any(|name| name["method"] == method)
    };
    let policy = all.clone().find(is_named).map(|it| &it["retryPolicy"]);
    match policy.and_then(|it| it["retryableStatusCodes"].as_array()) {
        Some(names) if names.iter().any(|name| name == "UNAVAILABLE") => vec![Code::Unavailable],
        _ => Vec::new(),
    }
}

/// A view of the sessions, and the writer whose work it shows.
async fn watch(sms: Sms) -> Result<()> {
    let view = Arc::new(View::default());
    let follower = Arc::clone(&view);
    let watching = sms.clone();
    tokio::spawn(async move { follower.follow(watching).await });
    let give_up = Instant::now() + Duration::from_secs(120);
    let mut written = 0;
    while !view.keys().contains("rust-stop") {
        written += 1;
        let request = attach(&format!("rust-{written}"), "x");
        attach_repeating(sms.clone(), request, give_up).await?;
        sleep(Duration::from_millis(200)).await;
    }
    while !view.keys().contains(&format!("rust-{written}")) {
        if Instant::now() > give_up {
            return Err("the view does not show what was written".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    println!("written {written}");
    println!("view {}", Vec::from_iter(view.keys()).join(" "));
    Ok(())
}

/// Repeats under one request_id, so that it is done once however often it is called. That is what
/// makes repeating an attach safe, and why no service config does it: there would be no id.
async fn attach_repeating(
    mut sms: Sms,
    mut request: AttachUserDataRequest,
    give_up: Instant,
) -> Result<()> {
    request.request_id = Uuid::new_v4().to_string();
    for attempt in 0.. {
        let answer = sms
            .attach_user_data(within(DEADLINE, request.clone()))
            .await;
        let Err(error) = answer else { return Ok(()) };
        let wait = match pushback(&error) {
            Some(None) => return Err(error.into()),
            Some(Some(wait)) => wait,
            None => advised(&error) + backoff(attempt),
        };
        // CANCELLED is tonic's own word for a deadline that ends before an answer comes.
        let passing = matches!(
            error.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled
        );
        if !passing || Instant::now() > give_up {
            return Err(error.into());
        }
        // An answer about the vendor is kept under its id, and says that nothing was done: a fresh
        // id asks anew. Anything else leaves open what became of the first call: same id.
        if vendor(&error).is_some() {
            request.request_id = Uuid::new_v4().to_string();
        }
        println!("repeat in {} ms: {error}", wait.as_millis());
        sleep(wait).await;
    }
    Ok(())
}

#[derive(Default)]
struct View {
    sessions: Mutex<HashMap<String, SmsSession>>,
}

impl View {
    /// A stream ends when the gateway restarts, when the connection breaks, when the vendor's
    /// notifications cannot be had: open it again, always. It begins with the whole state.
    async fn follow(&self, mut sms: Sms) {
        let mut attempt = 0;
        loop {
            let end = match sms.watch_sessions(WatchSessionsRequest::default()).await {
                Ok(stream) => {
                    let mut stream = stream.into_inner();
                    loop {
                        match stream.message().await {
                            Ok(Some(event)) => {
                                attempt = 0;
                                event.event.into_iter().for_each(|event| self.apply(event));
                            }
                            Ok(None) => break None,
                            Err(error) => break Some(error),
                        }
                    }
                }
                Err(error) => Some(error),
            };
            println!("reopen {end:?}");
            // Jittered, so that not all clients come back to a restarted gateway at once.
            sleep(backoff(attempt)).await;
            attempt += 1;
        }
    }

    fn apply(&self, event: Event) {
        let mut sessions = self
            .sessions
            .lock()
            .expect("nobody panics while holding it");
        match event {
            Event::Snapshot(snapshot) => {
                println!("snapshot {}", snapshot.reason().as_str_name());
                // STARTED or GAP: what is not in it is not there any more.
                let told = snapshot.sessions.into_iter();
                *sessions = told.map(|session| (session.id.clone(), session)).collect();
            }
            Event::Notification(notification) => {
                let Some(mut told) = notification.session else {
                    return;
                };
                let (id, kind) = (told.id.clone(), notification.notification_type);
                // An Error tells that a write failed after all, so that nothing has changed.
                if kind != "Error" {
                    // Without user data it tells of something else, and says nothing about the data.
                    if told.user_data.is_none() {
                        let known = sessions.remove(&id);
                        told.user_data = known.and_then(|session| session.user_data);
                    }
                    sessions.insert(id.clone(), told);
                }
                let state = sessions.get(&id).map_or("", |session| &session.state);
                println!("notification {kind} {state}");
            }
        }
    }

    fn keys(&self) -> BTreeSet<String> {
        let sessions = self
            .sessions
            .lock()
            .expect("nobody panics while holding it");
        let data = sessions.get(SESSION).and_then(|it| it.user_data.as_ref());
        let keys = data.into_iter().flat_map(|data| data.fields.keys());
        keys.filter(|key| key.starts_with("rust-"))
            .cloned()
            .collect()
    }
}

/// Without a deadline the gateway's default would hold; the caller knows better how long it can
/// wait.
fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

/// Tells the gateway that somebody repeats already, so that it makes one attempt only.
fn repeat<T>(attempt: u32, message: T) -> Request<T> {
    let mut request = within(DEADLINE, message);
    if attempt > 0 {
        let metadata = request.metadata_mut();
        metadata.insert("grpc-previous-rpc-attempts", attempt.into());
    }
    request
}

fn attempts<T>(answer: &Response<T>) -> &str {
    let value = answer.metadata().get("x-switchboard-attempts");
    value.and_then(|it| it.to_str().ok()).unwrap_or_default()
}

fn reason(error: &Status) -> String {
    let info = error.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

fn vendor(error: &Status) -> Option<String> {
    let mut info = error.get_details_error_info()?;
    info.metadata.remove("vendor")
}

/// How long to wait; `Some(None)`: do not repeat; `None`: nothing was said.
fn pushback(error: &Status) -> Option<Option<Duration>> {
    let said = error.metadata().get("grpc-retry-pushback-ms")?;
    let milliseconds = said.to_str().ok().and_then(|it| it.parse().ok());
    Some(milliseconds.map(Duration::from_millis))
}

/// RetryInfo says when it is worth another call, such as when an open circuit lets one through.
fn advised(error: &Status) -> Duration {
    let retry = error.get_details_retry_info();
    retry.and_then(|it| it.retry_delay).unwrap_or_default()
}

fn attach(key: &str, value: &str) -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(Struct {
            fields: [(key.to_owned(), text(value))].into(),
        }),
        ..Default::default()
    }
}

fn text(value: &str) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.to_owned())),
    }
}

/// Full jitter: somewhere between nothing and a bound that doubles from 200 ms to 2 s.
fn backoff(attempt: u32) -> Duration {
    let bound = (200 << attempt.min(4)).min(2000);
    Duration::from_millis(rand::random_range(0..=bound))
}

fn expect<T: PartialEq + Debug>(what: impl Display, is: T, wanted: T) -> Result<()> {
    if is != wanted {
        return Err(format!("{what}: {is:?} instead of {wanted:?}").into());
    }
    println!("ok {what} {is:?}");
    Ok(())
}

/// Lets the simulated vendor fail; nothing that a client of a real gateway could do.
fn fault(rules: &str) -> Result<()> {
    let control = variable("CONTROL", "http://127.0.0.1:50052");
    let address = control.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address)?;
    let length = rules.len();
    write!(
        connection,
        "PUT /faults HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{rules}"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    expect("fault", answer.starts_with("HTTP/1.1 2"), true)
}

fn variable(name: &str, otherwise: &str) -> String {
    env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}
