//! A vendor that costs as little as one can: it reads up to the end of a request and answers from
//! a constant.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LOGIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    set-cookie: JSESSIONID=4d2b0c1f9a; Path=/\r\nset-cookie: ROUTE=n1; Path=/\r\n\
    x-csrf-header: X-CSRF-TOKEN\r\nx-csrf-token: 9f1c7e52\r\ncontent-length: 16\r\n\r\n\
    {\"statusCode\":0}";
const ACCEPTED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 16\r\n\r\n{\"statusCode\":0}";

pub(crate) struct Vendor {
    pub(crate) address: SocketAddr,
    connections: Arc<Connections>,
}

#[derive(Default)]
struct Connections {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Vendor {
    /// Answers each request after so long.
    pub(crate) async fn start(delay: Duration) -> Vendor {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let vendor = Vendor {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&vendor.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connections = Arc::clone(&connections);
                let now = connections.now.fetch_add(1, Ordering::Relaxed) + 1;
                connections.most.fetch_max(now, Ordering::Relaxed);
                tokio::spawn(async move {
                    let _ = serve(stream, delay).await;
                    connections.now.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        vendor
    }

    /// As many were open at one time.
    pub(crate) fn most_connections(&self) -> usize {
        self.connections.most.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, delay: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 8192];
    let mut held = 0;
    loop {
        let read = stream.read(&mut buffer[held..]).await?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let Some(length) = whole(&buffer[..held]) else {
            continue;
        };
        // Nobody sends a second request before the answer to the first.
        assert_eq!(length, held);
        held = 0;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let answer = if buffer.starts_with(b"GET") {
            LOGIN
        } else {
            ACCEPTED
        };
        stream.write_all(answer).await?;
    }
}

/// The length of the request, once all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim())
    });
    let length = head + length.map_or(0, |length| length.parse().unwrap());
    (bytes.len() >= length).then_some(length)
}
