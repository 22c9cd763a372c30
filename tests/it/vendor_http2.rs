//! The connection that calls to a vendor share over HTTP/2: what it does to one of them is told of
//! that one as it is, and a connection that is of no more use keeps no call from its answer.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use switchboard::config::Config;
use switchboard::pb::AttachUserDataRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::support::authority::Authority;
use crate::support::calls::Call;
use crate::support::dir::Mounted;
use crate::support::frames::{
    self, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, REFUSED_STREAM, RST_STREAM,
    SETTINGS, frame,
};
use crate::support::untimed::{self, within};
use crate::support::watch::in_time;
use crate::support::{self, Gateway, SESSION, attempts, reason, relocate, upstreams};

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;

const ACK: u8 = 1;

/// Good for a login, a read and an attach.
const YES: &[u8] =
    br#"{"statusCode":0,"user":{},"smssession":{"id":"0071023821aec011","state":"Chatting"}}"#;

/// A vendor over TLS, whose every frame the test says; and the gateway in front of it.
struct Site {
    listener: TcpListener,
    tls: TlsAcceptor,
    gateway: Gateway,
    _mounted: Mounted,
}

impl Site {
    /// With its first connection, over which the gateway has logged in and made a call.
    async fn start(streams: u32, change: impl FnOnce(&mut Config)) -> (Site, Connection) {
        let authority = Authority::new("vendor");
        let own = authority.server();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let cert = CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        tls.alpn_protocols = vec!["h2".into()];
        let tls = TlsAcceptor::from(Arc::new(tls));
        let mounted = Mounted::new(&[("ca.crt", &authority.pem())]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let ca = mounted.path("ca.crt");
        let gateway = Gateway::start_with(|config| {
            relocate(config, &url);
            config.aicc = None;
            upstreams(config).for_each(|upstream| upstream.tls.ca_file = Some(ca.clone()));
            change(config);
        })
        .await;
        let site = Site {
            listener,
            tls,
            gateway,
            _mounted: mounted,
        };
        let call = site.begin(Call::GetSession);
        let mut first = Connection::accept(&site.listener, &site.tls, streams).await;
        for _login_and_read in 0..2 {
            let stream = first.head().await;
            first.answer(stream).await;
        }
        in_time("the answer", call).await.unwrap().unwrap();
        (site, first)
    }

    async fn accept(&self) -> Connection {
        Connection::accept(&self.listener, &self.tls, 100).await
    }

    fn begin(&self, call: Call) -> JoinHandle<Result<MetadataMap, Status>> {
        let channel = self.gateway.channel.clone();
        tokio::spawn(async move { call.send_over(channel, "", None).await })
    }
}

struct Connection(TlsStream<TcpStream>);

impl Connection {
    /// Allows so many streams at a time.
    async fn accept(listener: &TcpListener, tls: &TlsAcceptor, streams: u32) -> Connection {
        let (socket, _) = in_time("a connection", listener.accept()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut stream = tls.accept(socket).await.unwrap();
        let mut preface = [0; frames::PREFACE.len()];
        stream.read_exact(&mut preface).await.unwrap();
        let mut connection = Connection(stream);
        let at_a_time = [&[0, 3][..], &streams.to_be_bytes()].concat();
        connection.say(&frame(SETTINGS, 0, 0, &at_a_time)).await;
        connection
    }

    async fn say(&mut self, frames: &[u8]) {
        self.0.write_all(frames).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next frame that is about a request.
    async fn next(&mut self) -> Frame {
        loop {
            let arrived = frames::next(&mut self.0).await.expect("a connection");
            match arrived.kind {
                SETTINGS if arrived.flags & ACK == 0 => {
                    self.say(&frame(SETTINGS, ACK, 0, b"")).await;
                }
                PING if arrived.flags & ACK == 0 => {
                    self.say(&frame(PING, ACK, 0, &arrived.payload)).await;
                }
                HEADERS | DATA | RST_STREAM => return arrived,
                _ => {}
            }
        }
    }

    /// The stream of the next request, which has no body.
    async fn head(&mut self) -> u32 {
        let head = self.next().await;
        assert_eq!(head.kind, HEADERS, "{head:?}");
        assert_ne!(head.flags & END_STREAM, 0, "{head:?}");
        head.stream
    }

    /// The stream of the next request, when its body has come.
    async fn write(&mut self) -> u32 {
        let head = self.next().await;
        assert_eq!(head.kind, HEADERS, "{head:?}");
        let mut body = self.next().await;
        while body.flags & END_STREAM == 0 {
            assert_eq!(body.kind, DATA, "{body:?}");
            body = self.next().await;
        }
        head.stream
    }

    async fn answer(&mut self, stream: u32) {
        // 200 of the static table.
        let head = frame(HEADERS, END_HEADERS, stream, &[0x88]);
        let answer = [head, frame(DATA, END_STREAM, stream, YES)].concat();
        self.say(&answer).await;
    }

    /// Streams after the last one were not looked at.
    async fn go_away(&mut self, last: u32, code: u32) {
        let words = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.say(&frame(GOAWAY, 0, 0, &words)).await;
    }
}

fn attach() -> AttachUserDataRequest {
    AttachUserDataRequest {
        session_id: SESSION.into(),
        user_data: Some(support::data(&[("Topic", "billing")])),
        ..Default::default()
    }
}

/// It waits for a stream of the connection when its caller's time is over; the stream comes after
/// that, and the caller may have repeated the write by then.
#[tokio::test]
async fn a_write_that_was_given_up_before_it_had_a_stream_is_never_sent() {
    let (site, mut vendor) = Site::start(1, support::patient).await;
    let ahead = site.begin(Call::GetSession);
    let held = vendor.head().await;
    let mut sms = untimed::sms(site.gateway.address).await;
    let call = sms.attach_user_data(within(Duration::from_millis(300), attach()));
    let status = in_time("the answer", call).await.unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::DeadlineExceeded, "DEADLINE")
    );
    assert_eq!(attempts(status.metadata()), 0);

    vendor.answer(held).await;
    in_time("the read", ahead).await.unwrap().unwrap();
    let behind = site.begin(Call::GetSession);
    loop {
        let arrived = vendor.next().await;
        assert_ne!(arrived.kind, DATA, "{arrived:?}");
        if arrived.kind == HEADERS && arrived.flags & END_STREAM != 0 {
            vendor.answer(arrived.stream).await;
            break;
        }
    }
    in_time("the read", behind).await.unwrap().unwrap();
}

/// It waits for a stream when the connection is lost, and nothing of it has gone out; of the one whose
/// stream it waits for, all has.
#[tokio::test]
async fn a_write_that_waits_for_a_stream_outlives_the_connection() {
    let (site, mut vendor) = Site::start(1, support::patient).await;
    let ahead = site.begin(Call::Attach);
    vendor.write().await;
    let waiting = site.begin(Call::Attach);
    // Nothing tells when it waits there. One that came later would go over the next connection, too.
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(vendor);
    let mut next = site.accept().await;
    let stream = next.write().await;
    next.answer(stream).await;
    let answered = in_time("the answer", waiting).await.unwrap().unwrap();
    assert_eq!(attempts(&answered), 1);
    let status = in_time("the answer", ahead).await.unwrap().unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::Unknown, "OUTCOME_UNKNOWN")
    );
    assert_eq!(attempts(status.metadata()), 1);
}

/// A proxy that changes its connections says which requests it did not pass on.
#[tokio::test]
async fn a_write_beyond_the_last_stream_of_a_connection_is_sent_over_another() {
    for closes in [false, true] {
        let (site, mut vendor) = Site::start(100, |_| {}).await;
        let call = site.begin(Call::Attach);
        let stream = vendor.write().await;
        vendor.go_away(stream - 2, NO_ERROR).await;
        let open = (!closes).then_some(vendor);
        let mut next = site.accept().await;
        let again = next.write().await;
        next.answer(again).await;
        let answered = in_time("the answer", call).await.unwrap().unwrap();
        assert_eq!(attempts(&answered), 1);
        drop(open);
    }
}

/// By its stream, and with the connection as good as before.
#[tokio::test]
async fn a_write_whose_stream_is_refused_is_sent_again() {
    let (site, mut vendor) = Site::start(100, |_| {}).await;
    for (error, again) in [(REFUSED_STREAM, true), (INTERNAL_ERROR, false)] {
        let call = site.begin(Call::Attach);
        let stream = vendor.write().await;
        let reset = frame(RST_STREAM, 0, stream, &error.to_be_bytes());
        vendor.say(&reset).await;
        if again {
            let stream = vendor.write().await;
            vendor.answer(stream).await;
        }
        let told = in_time("the answer", call).await.unwrap();
        let (sent, outcome) = match &told {
            Ok(metadata) => (attempts(metadata), "OK".to_owned()),
            Err(status) => (attempts(status.metadata()), reason(status)),
        };
        let expected = if again { "OK" } else { "OUTCOME_UNKNOWN" };
        assert_eq!((sent, &*outcome), (1, expected));
    }
}

/// It was looked at, or the vendor is in no state to know.
#[tokio::test]
async fn a_write_that_a_connection_ended_with_is_of_unknown_outcome() {
    for (behind, code) in [(0, NO_ERROR), (2, INTERNAL_ERROR)] {
        let (site, mut vendor) = Site::start(100, |_| {}).await;
        let call = site.begin(Call::Attach);
        let stream = vendor.write().await;
        vendor.go_away(stream - behind, code).await;
        drop(vendor);
        let status = in_time("the answer", call).await.unwrap().unwrap_err();
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::Unknown, "OUTCOME_UNKNOWN")
        );
        assert_eq!(attempts(status.metadata()), 1);
    }
}

/// Nothing comes back over it, not even an end: what is repeated goes over another one.
#[tokio::test]
async fn a_connection_that_has_died_in_silence_is_left() {
    let (site, mut vendor) = Site::start(100, |_| {}).await;
    let call = site.begin(Call::GetSession);
    vendor.head().await;
    let mut next = site.accept().await;
    let again = next.head().await;
    next.answer(again).await;
    in_time("the answer", call).await.unwrap().unwrap();
    drop(vendor);
}
