//! A gateway that is told to end lets nobody down: health turns first while calls are still
//! accepted, then calls in flight come to their ends, streams are told to go elsewhere, and
//! only what does not end in time is cut.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream;
use switchboard::app::{App, Listeners, RunError};
use switchboard::config::Config;
use switchboard::pb::{AttachUserDataRequest, UpdateUserDataRequest};
use switchboard::sandbox::faults::{Fault, Rule};
use switchboard::sandbox::{Options, Sandbox};
use switchboard::telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::audit::Audit;
use crate::support::frames::{self, END_HEADERS, END_STREAM, HEADERS, frame, head};
use crate::support::process::{Folder, Process};
use crate::support::unsent::is_unsent;
use crate::support::untimed;
use crate::support::verdict::pushback;
use crate::support::watch::{in_time, until};
use crate::support::watcher::request;
use crate::support::wire::Channel;
use crate::support::{self, SESSION, get, upstreams};
use switchboard::pb::sms_session_data_client::SmsSessionDataClient;

const EVER: Duration = Duration::from_secs(3600);

const NAMES: [&str; 3] = [
    "",
    "contactcenter.v1.SmsSessionData",
    "contactcenter.v1.AgentSettings",
];

/// A gateway that can be signalled more than once.
struct Mortal {
    sandbox: Sandbox,
    address: SocketAddr,
    admin: SocketAddr,
    metrics: Metrics,
    signal: UnboundedSender<()>,
    running: JoinHandle<Result<(), RunError>>,
}

impl Mortal {
    async fn start(shutdown_delay: Duration, drain_timeout: Duration) -> Mortal {
        Self::start_with(shutdown_delay, drain_timeout, |_| {}).await
    }

    /// The same with a changed configuration.
    async fn start_with(
        shutdown_delay: Duration,
        drain_timeout: Duration,
        change: impl FnOnce(&mut Config),
    ) -> Mortal {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let mut config = support::config(&sandbox);
        config.server.shutdown_delay = shutdown_delay;
        config.server.drain_timeout = drain_timeout;
        change(&mut config);
        let metrics = Metrics::new().unwrap();
        let app = App::new(&config, metrics.clone()).unwrap();
        let listeners = Listeners::bind(config.server.listen, config.server.admin_listen);
        let listeners = listeners.await.unwrap();
        let address = listeners.grpc.local_addr().unwrap();
        let admin = listeners.admin.local_addr().unwrap();
        let (signal, mut signals) = mpsc::unbounded_channel();
        let signals = stream::poll_fn(move |cx| signals.poll_recv(cx));
        let running = tokio::spawn(app.run(listeners, signals));
        Mortal {
            sandbox,
            address,
            admin,
            metrics,
            signal,
            running,
        }
    }

    /// A connection of its own each time.
    fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect_lazy()
            .into()
    }

    fn sms(&self) -> SmsSessionDataClient<Channel> {
        SmsSessionDataClient::new(self.channel())
    }

    async fn health(&self, name: &str) -> ServingStatus {
        let request = HealthCheckRequest {
            service: name.to_owned(),
        };
        let answer = HealthClient::new(self.channel()).check(request).await;
        answer.unwrap().into_inner().status()
    }

    async fn watch(&self, name: &str) -> Streaming<HealthCheckResponse> {
        let request = HealthCheckRequest {
            service: name.to_owned(),
        };
        let answer = HealthClient::new(self.channel()).watch(request).await;
        answer.unwrap().into_inner()
    }

    /// The status line's code.
    async fn admin(&self, path: &str) -> u16 {
        let mut socket = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer[9..12].parse().unwrap()
    }

    fn signal(&self) {
        self.signal.send(()).unwrap();
    }

    async fn ended(&mut self) -> Result<(), RunError> {
        in_time("the drain", &mut self.running).await.unwrap()
    }

    /// Begins a write; returns when the vendor has it.
    async fn begin_update(&self) -> JoinHandle<Result<(), Status>> {
        let journal = self.sandbox.journal().clone();
        let before = journal.count("genesys", "UpdateUserData");
        let mut sms = self.sms();
        let call = tokio::spawn(async move {
            let request = UpdateUserDataRequest {
                session_id: SESSION.into(),
                user_data: Some(support::data(&[("Colour", "green")])),
                ..Default::default()
            };
            sms.update_user_data(request).await.map(drop)
        });
        until("the vendor has the request", || {
            journal.count("genesys", "UpdateUserData") > before
        })
        .await;
        call
    }
}

async fn next(stream: &mut Streaming<HealthCheckResponse>) -> Result<ServingStatus, Status> {
    let message = in_time("a message of the stream", stream.message()).await?;
    Ok(message.expect("a stream ends with a status").status())
}

#[tokio::test]
async fn health_turns_first_and_nobody_is_let_down() {
    // Long enough for the few calls below on a slow machine; the call in flight is longer.
    let mut gateway = Mortal::start(Duration::from_secs(2), EVER).await;
    for name in NAMES {
        assert_eq!(gateway.health(name).await, ServingStatus::Serving, "{name}");
    }
    let mut watches = Vec::new();
    for name in NAMES {
        let mut watch = gateway.watch(name).await;
        assert_eq!(next(&mut watch).await.unwrap(), ServingStatus::Serving);
        watches.push(watch);
    }
    assert_eq!(gateway.admin("/readyz").await, 200);

    gateway.signal();
    for watch in &mut watches {
        assert_eq!(next(watch).await.unwrap(), ServingStatus::NotServing);
    }
    for name in NAMES {
        let health = gateway.health(name).await;
        assert_eq!(health, ServingStatus::NotServing, "{name}");
    }
    assert_eq!(gateway.admin("/readyz").await, 503);
    assert_eq!(gateway.admin("/livez").await, 200);

    // Still accepted, by a connection of its own.
    let request = get();
    gateway.sms().get_session(request).await.unwrap();
    let slow = Rule::new(Fault::Latency { ms: 3_000 });
    gateway.sandbox.faults().push(slow).unwrap();
    let call = gateway.begin_update().await;

    // The watches are open all the time, and do not keep the gateway.
    for watch in &mut watches {
        let status = next(watch).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert_eq!(support::reason(&status), "GATEWAY_DRAINING");
        let pushback = status.metadata().get("grpc-retry-pushback-ms").unwrap();
        assert_eq!(pushback, "1");
    }
    in_time("the call", call).await.unwrap().unwrap();
    gateway.ended().await.unwrap();
    assert_eq!(gateway.sandbox.genesys().writes().len(), 1);
    assert!(TcpStream::connect(gateway.address).await.is_err());
    assert!(TcpStream::connect(gateway.admin).await.is_err());
}

#[tokio::test]
async fn an_idle_gateway_ends_although_connections_are_open() {
    let mut gateway = Mortal::start(Duration::ZERO, EVER).await;
    let idle = gateway.channel();
    let request = HealthCheckRequest::default();
    let mut client = HealthClient::new(idle);
    client.check(request).await.unwrap();
    gateway.signal();
    gateway.ended().await.unwrap();
    // It stayed open until here.
    drop(client);
}

/// Nothing of theirs is cut, so it is no drain that was cut either; and a drain shorter than the patience with
/// such callers is one.
#[tokio::test]
async fn a_caller_who_takes_no_notice_does_not_spoil_the_end() {
    let mut gateway = Mortal::start(Duration::ZERO, Duration::from_millis(500)).await;
    // Its calls are answered, and no frame of the gateway's is looked at.
    let mut deaf = frames::greeted(gateway.address, b"").await;
    let call = head("/contactcenter.v1.SmsSessionData/GetSession");
    let begin = frame(HEADERS, END_HEADERS | END_STREAM, 1, &call);
    deaf.write_all(&begin).await.unwrap();
    frames::answered(&mut deaf, 1).await;
    gateway.signal();
    gateway.ended().await.unwrap();
    // It stayed open until here.
    drop(deaf);
}

/// Look-ups of names that hang take the threads for what blocks, all of them where many calls wait.
#[test]
fn names_that_cannot_be_looked_up_do_not_keep_it_from_ending() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.max_blocking_threads(1).enable_all().build();
    let runtime = runtime.unwrap();
    let (answer, answered) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        let mut gateway = Mortal::start(Duration::ZERO, EVER).await;
        tokio::task::spawn_blocking(move || answered.recv());
        gateway.signal();
        gateway.ended().await.unwrap();
    });
    drop(answer);
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut() {
    let mut gateway = Mortal::start(Duration::ZERO, Duration::from_millis(100)).await;
    let hang = Rule::new(Fault::Hang).operation("UpdateUserData");
    gateway.sandbox.faults().push(hang).unwrap();
    let call = gateway.begin_update().await;
    gateway.signal();
    assert!(matches!(gateway.ended().await, Err(RunError::Cut)));
    assert_told_to_call_again(call, 1).await;
}

/// Its caller may make the call again, and elsewhere.
async fn assert_told_to_call_again(call: JoinHandle<Result<(), Status>>, attempts: u32) {
    let status = in_time("the answer", call).await.unwrap().unwrap_err();
    assert_eq!(
        (status.code(), &*support::reason(&status), pushback(&status)),
        (Code::Unavailable, "GATEWAY_DRAINING", Some("1"))
    );
    assert_eq!(support::attempts(status.metadata()), attempts);
    assert!(status.metadata().contains_key("x-request-id"));
}

/// What is told of it stays true: its turn at the vendor comes when the call before it is cut, and by
/// then its caller makes it elsewhere.
#[tokio::test]
async fn a_write_that_was_not_sent_when_it_was_cut_never_is() {
    for request_id in ["", "once"] {
        let narrow = |config: &mut Config| {
            upstreams(config).for_each(|upstream| upstream.limit.in_flight = 1);
        };
        let soon = Duration::from_millis(100);
        let mut gateway = Mortal::start_with(Duration::ZERO, soon, narrow).await;
        let hang = Rule::new(Fault::Hang).operation("GetSession");
        gateway.sandbox.faults().push(hang).unwrap();
        let journal = gateway.sandbox.journal().clone();
        let ahead = begin_reads(&gateway, 1).remove(0);
        until("the vendor's only place is taken", || {
            journal.count("genesys", "GetSession") == 1
        })
        .await;
        let mut sms = gateway.sms();
        let request = AttachUserDataRequest {
            session_id: SESSION.into(),
            user_data: Some(support::data(&[("Colour", "green")])),
            request_id: request_id.into(),
            ..Default::default()
        };
        let waiting = tokio::spawn(async move { sms.attach_user_data(request).await.map(drop) });
        until("both are under way", || {
            gateway.metrics.text().contains("switchboard_in_flight 2\n")
        })
        .await;
        gateway.signal();
        assert_told_to_call_again(ahead, 1).await;
        assert_told_to_call_again(waiting, 0).await;
        assert!(matches!(gateway.ended().await, Err(RunError::Cut)));
        assert_eq!(journal.count("genesys", "AttachUserData"), 0);
    }
}

/// Its caller must not take the end of the gateway for a leave to do it again; nor must one who waits for the
/// first caller's result.
#[tokio::test]
async fn a_write_that_was_sent_and_is_cut_is_of_unknown_outcome() {
    for request_id in ["", "once"] {
        let audit = Audit::listen();
        let mut gateway = Mortal::start(Duration::ZERO, Duration::from_millis(500)).await;
        let hang = Rule::new(Fault::Hang).operation("AttachUserData");
        gateway.sandbox.faults().push(hang).unwrap();
        let attach = || {
            let mut sms = gateway.sms();
            let request = AttachUserDataRequest {
                session_id: SESSION.into(),
                user_data: Some(support::data(&[("Colour", "green")])),
                request_id: request_id.into(),
                ..Default::default()
            };
            tokio::spawn(async move { sms.attach_user_data(request).await })
        };
        let mut calls = vec![attach()];
        let journal = gateway.sandbox.journal().clone();
        let sent = || journal.count("genesys", "AttachUserData");
        until("the vendor has it", || sent() == 1).await;
        if !request_id.is_empty() {
            calls.push(attach());
        }
        let under_way = format!("switchboard_in_flight {}\n", calls.len());
        until("all are under way", || {
            gateway.metrics.text().contains(&under_way)
        })
        .await;
        gateway.signal();
        for (waits, call) in calls.into_iter().enumerate() {
            let status = in_time("the answer", call).await.unwrap().unwrap_err();
            assert_eq!(
                (status.code(), &*support::reason(&status), pushback(&status)),
                (Code::Unknown, "OUTCOME_UNKNOWN", Some("-1"))
            );
            assert_eq!(support::fact(&status, "failure"), "shutdown");
            assert_eq!(support::attempts(status.metadata()), 1 - waits as u32);
        }
        assert!(matches!(gateway.ended().await, Err(RunError::Cut)));
        assert_eq!(sent(), 1);
        // As they were told, though nobody waits for them any more.
        let lines = audit.take();
        assert!(!lines.is_empty());
        for line in lines {
            assert_eq!(line["reason"], "OUTCOME_UNKNOWN", "{line:?}");
        }
    }
}

#[tokio::test]
async fn a_further_signal_cuts_what_is_waited_for() {
    let mut gateway = Mortal::start(EVER, EVER).await;
    let hang = Rule::new(Fault::Hang).operation("UpdateUserData");
    gateway.sandbox.faults().push(hang).unwrap();
    let call = gateway.begin_update().await;
    gateway.signal();
    gateway.signal();
    assert!(matches!(gateway.ended().await, Err(RunError::Cut)));
    assert_told_to_call_again(call, 1).await;
}

/// The calls of one caller, over one connection.
fn begin_reads(gateway: &Mortal, calls: usize) -> Vec<JoinHandle<Result<(), Status>>> {
    let sms = gateway.sms();
    let call = |_| {
        let mut sms = sms.clone();
        tokio::spawn(async move {
            let request = get();
            sms.get_session(request).await.map(drop)
        })
    };
    (0..calls).map(call).collect()
}

#[tokio::test]
async fn five_hundred_calls_in_flight_come_to_their_ends() {
    let mut gateway = Mortal::start(Duration::ZERO, EVER).await;
    let slow = Rule::new(Fault::Latency { ms: 1_000 }).operation("GetSession");
    gateway.sandbox.faults().push(slow).unwrap();
    let mut calls = Vec::new();
    for _ in 0..10 {
        calls.extend(begin_reads(&gateway, 50));
    }
    let journal = gateway.sandbox.journal().clone();
    until("all are at the vendor", || {
        journal.count("genesys", "GetSession") == 500
    })
    .await;
    gateway.signal();
    for call in calls {
        in_time("the call", call).await.unwrap().unwrap();
    }
    gateway.ended().await.unwrap();
    assert_eq!(journal.count("genesys", "GetSession"), 500);
}

/// Whoever keeps calling meets a closed door at last, and never one that shuts on a call: what
/// failed was never begun with.
#[tokio::test]
async fn no_call_is_lost_between_the_signal_and_the_end() {
    let mut gateway = Mortal::start(Duration::from_millis(50), EVER).await;
    let slow = Rule::new(Fault::Latency { ms: 10 }).operation("GetSession");
    gateway.sandbox.faults().push(slow).unwrap();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let mut sms = gateway.sms();
            tokio::spawn(async move {
                let mut served = 0;
                let request = get;
                while sms.get_session(request()).await.is_ok() {
                    served += 1;
                }
                served
            })
        })
        .collect();
    let journal = gateway.sandbox.journal().clone();
    let asked = || journal.count("genesys", "GetSession");
    until("all are calling", || asked() >= 200).await;
    gateway.signal();
    let mut served = 0;
    for caller in callers {
        served += in_time("the caller", caller).await.unwrap();
    }
    gateway.ended().await.unwrap();
    assert_eq!(asked(), served);
}

/// In front of the sandbox, with its first agent.
fn sections(sandbox: &Sandbox, folder: &Folder) -> String {
    format!(
        "genesys:\n  base_url: {}\n  timeout: {{ attempt: 1m }}\n  accounts:\n    \
         default: {{ username: agent1, password_file: {}/password }}\n",
        sandbox.genesys_url(),
        folder.path().display(),
    )
}

/// As operators see it: a process with calls in flight, open streams, and callers who go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_under_load_ends_well_and_lets_nobody_down() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let folder = Folder::new("drain");
    let server = "  shutdown_delay: 0s\n  max_deadline: 1m\n  default_deadline: 1m\n";
    let sections = sections(&sandbox, &folder);
    let mut gateway = Process::spawn(&folder, "gateway", server, &sections);
    in_time("a gateway that listens", gateway.listening()).await;

    let mut streams = Vec::new();
    for _ in 0..5 {
        let sms = untimed::sms(gateway.address).await;
        for _ in 0..20 {
            let stream = sms.clone().watch_sessions(request("", &[])).await;
            let mut stream = stream.unwrap().into_inner();
            in_time("a snapshot", stream.message()).await.unwrap();
            streams.push(stream);
        }
    }
    let slow = Rule::new(Fault::Latency { ms: 2_000 }).operation("GetSession");
    sandbox.faults().push(slow.times(500)).unwrap();
    let mut calls = Vec::new();
    for _ in 0..10 {
        let sms = untimed::sms(gateway.address).await;
        calls.extend((0..50).map(|_| {
            let mut sms = sms.clone();
            tokio::spawn(async move { sms.get_session(get()).await.map(drop) })
        }));
    }
    let asked = || sandbox.journal().count("genesys", "GetSession");
    until("all are at the vendor", || asked() == 500).await;
    let mut going_on = Vec::new();
    for _ in 0..20 {
        let mut sms = untimed::sms(gateway.address).await;
        going_on.push(tokio::spawn(async move {
            let mut served = 0;
            loop {
                match sms.get_session(get()).await {
                    Ok(_) => served += 1,
                    Err(status) => return (served, status),
                }
            }
        }));
    }
    until("they go on", || asked() >= 600).await;

    gateway.terminate();
    let mut served = 500;
    for caller in going_on {
        let (its, status) = in_time("the caller", caller).await.unwrap();
        assert!(is_unsent(&status), "{status:?}");
        served += its;
    }
    for call in calls {
        in_time("the call", call).await.unwrap().unwrap();
    }
    for mut stream in streams {
        let status = in_time("the end of the stream", stream.message()).await;
        let status = status.unwrap_err();
        assert_eq!(support::reason(&status), "GATEWAY_DRAINING");
    }
    // Not within the drain's bound means 1.
    let status = in_time("the end of the process", gateway.ended()).await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(asked(), served);
}
