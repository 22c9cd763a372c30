//! Faults of the vendor's wire, each made by itself: whatever stage it strikes at, the caller
//! learns whether it may ask again, and a write that must not happen twice is sent once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::join_all;
use switchboard::sandbox::faults::{Fault, Rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls};
use tonic::{Code, Status};

use crate::support::calls::{ALL, Call};
use crate::support::verdict::{Verdict, pushback, retry_info};
use crate::support::watch::{in_time, until};
use crate::support::{self, Gateway, impatient, patient, relocate, upstreams};

/// What becomes of a connection once a call has been read from it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// It is closed in peace, as by a vendor that restarts.
    Close,
    /// Nothing more comes, but what is sent would still be read.
    HalfClose,
    /// It is reset, as by a vendor or a middlebox that has crashed.
    Reset,
    /// Nothing more is said, but it stays open.
    Silence,
    /// Bytes come one by one, for ever.
    Trickle,
}

/// A vendor that answers logins, and of every call's answer only this much.
struct Wire {
    url: String,
    /// Calls that were read whole.
    calls: Arc<AtomicUsize>,
    /// Bytes of answers that were taken off its hands.
    written: Arc<AtomicUsize>,
}

impl Wire {
    async fn start(answer: impl Into<Vec<u8>>, end: End) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (calls, written) = (Arc::default(), Arc::default());
        let wire = Wire {
            url,
            calls: Arc::clone(&calls),
            written: Arc::clone(&written),
        };
        let answer: Arc<[u8]> = Arc::from(answer.into());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, calls, written) = (answer.clone(), calls.clone(), written.clone());
                tokio::spawn(async move { serve(socket, &answer, end, &calls, &written).await });
            }
        });
        wire
    }

    fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }
}

async fn serve(
    mut socket: TcpStream,
    answer: &[u8],
    end: End,
    calls: &AtomicUsize,
    written: &AtomicUsize,
) -> io::Result<()> {
    let request = read(&mut socket).await?;
    if let Some(login) = login(&request) {
        return socket.write_all(login.as_bytes()).await;
    }
    calls.fetch_add(1, Relaxed);
    for part in answer.chunks(16 * 1024) {
        socket.write_all(part).await?;
        written.fetch_add(part.len(), Relaxed);
    }
    match end {
        End::Close => socket.shutdown().await,
        End::HalfClose => {
            socket.shutdown().await?;
            socket.read(&mut [0]).await.map(drop)
        }
        End::Reset => socket.set_zero_linger(),
        End::Silence => socket.read(&mut [0]).await.map(drop),
        End::Trickle => loop {
            socket.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        },
    }
}

/// A whole request, as text.
async fn read(socket: &mut TcpStream) -> io::Result<String> {
    let mut request = Vec::new();
    loop {
        if socket.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.split("content-length: ").nth(1);
        let length = length.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        if body.len() >= length {
            return Ok(text);
        }
    }
}

/// The answer to a login of either vendor; each call gets a connection of its own.
fn login(request: &str) -> Option<String> {
    let body = if request.starts_with("get /api/v2/me http") {
        r#"{"statusCode":0,"user":{}}"#
    } else if request.contains("/tokenbyaksk http") {
        r#"{"AccessToken":"by-hand","ApplyType":"Bearer","Expires":"600"}"#
    } else {
        return None;
    };
    let length = body.len();
    Some(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    ))
}

async fn in_front_of(wire: &Wire) -> Gateway {
    Gateway::start_with(|config| {
        relocate(config, &wire.url);
        upstreams(config).for_each(|it| it.timeout.attempt = Duration::from_millis(300));
    })
    .await
}

async fn fails(gateway: &Gateway, call: Call) -> Status {
    in_time("the call", call.send(gateway)).await.unwrap_err()
}

/// The outcome is in doubt: what may be repeated is, the rest never.
#[track_caller]
fn ambiguous(call: Call, error: &Status) -> usize {
    if call.once() {
        Verdict::new(Code::Unknown, "OUTCOME_UNKNOWN").check(call, error);
        assert_eq!(pushback(error), Some("-1"));
        return 1;
    }
    let verdict = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE").attempts(3);
    verdict.check(call, error);
    assert!(retry_info(error).is_some());
    3
}

const HALF_A_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: appl";
const HALF_A_BODY: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 100\r\n\r\n{\"statusCode\":0,\"returnCode\":\"0\"";
const HALF_A_CHUNK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    transfer-encoding: chunked\r\n\r\n1f\r\n{\"statusCode\":0,";

#[tokio::test]
async fn a_connection_that_ends_at_any_stage_of_the_answer() {
    for end in [End::Close, End::HalfClose, End::Reset, End::Silence] {
        for answer in ["", HALF_A_HEAD, HALF_A_BODY, HALF_A_CHUNK] {
            let wire = Wire::start(answer, end).await;
            let gateway = in_front_of(&wire).await;
            // All at once: each waits for its own attempts.
            let errors = join_all(ALL.map(|call| fails(&gateway, call))).await;
            let sent: usize = ALL
                .into_iter()
                .zip(&errors)
                .map(|(call, error)| ambiguous(call, error))
                .sum();
            assert_eq!(wire.calls(), sent, "{end:?} after {answer:?}");
        }
    }
}

/// Nobody asked for another protocol: what became of the request is not said.
#[tokio::test]
async fn an_answer_that_leaves_http_is_no_answer() {
    let away = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: odd\r\n\r\n";
    let wire = Wire::start(away, End::Close).await;
    let gateway = in_front_of(&wire).await;
    for (before, call) in ALL.into_iter().enumerate() {
        let verdict = match call.once() {
            true => Verdict::new(Code::Unknown, "OUTCOME_UNKNOWN"),
            false => Verdict::new(Code::Internal, "VENDOR_PROTOCOL"),
        };
        verdict
            .status("101")
            .check(call, &fails(&gateway, call).await);
        assert_eq!(wire.calls(), before + 1, "{call:?}");
    }
}

#[tokio::test]
async fn an_answer_that_trickles_is_not_waited_for() {
    for answer in [HALF_A_HEAD, HALF_A_BODY] {
        let answer = answer.replace("content-length: 100", "content-length: 1000000");
        let wire = Wire::start(answer, End::Trickle).await;
        let gateway = in_front_of(&wire).await;
        for call in [Call::Attach, Call::GetSession, Call::CreateSettings] {
            let before = wire.calls();
            let sent = ambiguous(call, &fails(&gateway, call).await);
            assert_eq!(wire.calls() - before, sent, "{call:?}");
        }
    }
}

/// Once a connection was made the vendor may have read what it never got round to answer.
#[tokio::test]
async fn a_vendor_that_resets_without_reading() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_zero_linger().unwrap();
        }
    });
    let gateway = Gateway::start_with(|config| {
        impatient(config);
        // The token is had as always.
        config.aicc.as_mut().unwrap().base_url = url.parse().unwrap();
    })
    .await;
    for call in [Call::CreateSettings, Call::QuerySettings] {
        let error = fails(&gateway, call).await;
        let known = (error.code(), support::reason(&error));
        let unavailable = (Code::Unavailable, "VENDOR_UNAVAILABLE".to_owned());
        let unknown = (Code::Unknown, "OUTCOME_UNKNOWN".to_owned());
        // Which of the two depends on how far the write came before the reset did.
        assert!(
            known == unavailable || call.once() && known == unknown,
            "{error:?}"
        );
        assert!(support::attempts(error.metadata()) <= if call.once() { 1 } else { 3 });
    }
}

#[tokio::test]
async fn what_cannot_be_reached_was_never_sent() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = deaf.local_addr().unwrap().port();
    tokio::spawn(async move {
        // Takes a TLS greeting for a request, and answers in clear.
        while let Ok((mut socket, _)) = deaf.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for url in [
        "http://no-such-host.invalid".to_owned(),
        format!("https://127.0.0.1:{port}"),
        format!("https://localhost:{port}"),
    ] {
        let gateway = Gateway::start_with(|config| {
            impatient(config);
            config.aicc.as_mut().unwrap().base_url = url.parse().unwrap();
        })
        .await;
        for call in [Call::CreateSettings, Call::UpdateSettings] {
            let error = fails(&gateway, call).await;
            let verdict = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE").attempts(0);
            verdict.check(call, &error);
            assert!(retry_info(&error).is_some());
        }
        let read = fails(&gateway, Call::QuerySettings).await;
        assert_eq!(support::reason(&read), "VENDOR_UNAVAILABLE", "{url}");
    }
}

/// 64 MiB, with their length said before, and without.
#[tokio::test]
async fn of_an_endless_answer_no_more_is_read_than_may_be() {
    const BYTES: usize = 64 << 20;
    /// What the kernel takes in for both sides, at the very most.
    const UNDERWAY: usize = 16 << 20;
    let sized = format!("content-length: {BYTES}");
    for how in [sized.as_str(), "connection: close"] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{how}\r\n\r\n");
        let wire = Wire::start([head.as_bytes(), &vec![b' '; BYTES]].concat(), End::Close).await;
        let gateway = Gateway::start_with(|config| relocate(config, &wire.url)).await;
        let cap = switchboard::upstream::settings::Settings::default().max_answer as usize;
        for call in [Call::GetSession, Call::Attach] {
            let (calls, written) = (wire.calls(), wire.written.load(Relaxed));
            let error = fails(&gateway, call).await;
            let verdict = match call.once() {
                true => Verdict::new(Code::Unknown, "OUTCOME_UNKNOWN"),
                false => Verdict::new(Code::Internal, "VENDOR_PROTOCOL"),
            };
            verdict.status("200").check(call, &error);
            assert_eq!(wire.calls() - calls, 1);
            let read = wire.written.load(Relaxed) - written;
            assert!(read < cap + UNDERWAY, "{read} bytes of {how}");
        }
    }
}

/// Killed with its listener and all connections while calls are with it.
#[tokio::test]
async fn a_vendor_that_is_killed_with_calls_in_flight() {
    let gateway = Gateway::start_with(|config| {
        impatient(config);
        patient(config);
    })
    .await;
    for call in [Call::GetSession, Call::QuerySettings] {
        call.send(&gateway).await.unwrap();
    }
    let hang = Rule::new(Fault::Hang).vendor("genesys");
    gateway.sandbox.faults().push(hang).unwrap();
    gateway.sandbox.journal().clear();
    let journal = gateway.sandbox.journal();
    let once = join_all((0..20).map(|_| fails(&gateway, Call::Attach)));
    let reads = join_all((0..20).map(|_| fails(&gateway, Call::GetSession)));
    let kill = async {
        let at = |operation| journal.count("genesys", operation);
        until("all are at the vendor", || {
            at("AttachUserData") + at("GetSession") == 40
        })
        .await;
        gateway.sandbox.genesys_listener().stop().await;
    };
    let (once, reads, ()) = tokio::join!(once, reads, kill);
    for error in &once {
        Verdict::new(Code::Unknown, "OUTCOME_UNKNOWN").check(Call::Attach, error);
    }
    for error in &reads {
        // Tried again, and then there was nobody.
        assert_eq!(support::reason(error), "VENDOR_UNAVAILABLE", "{error:?}");
    }
    assert_eq!(journal.count("genesys", "AttachUserData"), 20);
    // The other vendor has not noticed, and the dead one is back at once.
    Call::QuerySettings.send(&gateway).await.unwrap();
    gateway.sandbox.faults().clear();
    gateway.sandbox.genesys_listener().start().unwrap();
    Call::GetSession.send(&gateway).await.unwrap();
}

/// A certificate for localhost and 127.0.0.1 that nobody has signed but itself.
const UNKNOWN: &str = "MIIBmjCCAUGgAwIBAgIUZ1ql255M5REQl/u/tBcrAYUn3GwwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJdW50\
    cnVzdGVkMCAXDTI2MTEyNDA0NTcwMFoYDzIxMjYxMDMxMDQ1NzAwWjAUMRIwEAYDVQQDDAl1bnRydXN0ZWQw\
    WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT0qheigC+/Bd1tSCZqjqFVzHs8o35xVxQLxl8Cs4e/CsroNlrY\
    BOpmdggjnC1eNe0N+Ce/wWI53hSu416Cat06o28wbTAdBgNVHQ4EFgQUO7kwisz7KVOVLHEzLxWuOAgl1H8w\
    HwYDVR0jBBgwFoAUO7kwisz7KVOVLHEzLxWuOAgl1H8wDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzARggls\
    b2NhbGhvc3SHBH8AAAEwCgYIKoZIzj0EAwIDRwAwRAIgWmSAXlzUJ5UPMbr++dlSeamnXJwYzT3TJr0BqNqn\
    ZrECIDJaFR6mJe9jt9VnwH5jQ3DhrRJz1qQhwUvQVarLTnUP";

/// Its key, which opens nothing.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgaqoKHcZGdIjquB4m9VchCU58Dd3my8TBtGWj\
    IjpPZUyhRANCAAT0qheigC+/Bd1tSCZqjqFVzHs8o35xVxQLxl8Cs4e/CsroNlrYBOpmdggjnC1eNe0N+Ce/\
    wWI53hSu416Cat06";

/// A TLS server of that certificate; tells how many handshakes it has brought to their end.
async fn unknown_authority() -> (String, Arc<AtomicUsize>) {
    let der = |text| BASE64_STANDARD.decode(text).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der(UNKNOWN).into()], der(KEY).try_into().unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let trusted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&trusted);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(mut socket) = acceptor.accept(socket).await {
                // With TLS 1.3 the server is done first; only data would be trust.
                let read = socket.read(&mut [0]).await;
                count.fetch_add(read.unwrap_or_default(), Relaxed);
            }
        }
    });
    (url, trusted)
}

#[tokio::test]
async fn a_vendor_with_a_certificate_of_an_unknown_authority_is_told_nothing() {
    let (url, trusted) = unknown_authority().await;
    let gateway = Gateway::start_with(|config| {
        impatient(config);
        config.aicc.as_mut().unwrap().base_url = url.parse().unwrap();
        config.genesys.as_mut().unwrap().base_url = url.parse().unwrap();
    })
    .await;
    for call in [Call::CreateSettings, Call::UpdateSettings, Call::Attach] {
        let error = fails(&gateway, call).await;
        let verdict = Verdict::new(Code::Unavailable, "VENDOR_UNAVAILABLE").attempts(0);
        verdict.check(call, &error);
    }
    // Neither a call nor a login, whose password is the first thing that it would say.
    assert_eq!(trusted.load(Relaxed), 0);
}
