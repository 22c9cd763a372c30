//! HTTP/2 by hand, for callers and vendors that no library would be.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::watch::in_time;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame that arrived.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// What an RST_STREAM or a GOAWAY says.
    pub fn error_code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

/// The head of a call, compressed in no way.
pub fn head(path: &str) -> Vec<u8> {
    // POST and http of the static table.
    let mut head = vec![0x83, 0x86];
    head.extend(named(0x04, path));
    head.extend(named(0x01, "gateway"));
    head.extend(field("content-type", "application/grpc"));
    head.extend(field("te", "trailers"));
    head
}

/// A header with a name of its own; both at most 126 bytes.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, u8::try_from(name.len()).unwrap()];
    field.extend(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

/// A header whose name stands in the static table.
fn named(index: u8, value: &str) -> Vec<u8> {
    let mut field = vec![index, u8::try_from(value.len()).unwrap()];
    field.extend(value.as_bytes());
    field
}

/// A message as gRPC frames it.
pub fn message(message: &impl prost::Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &message].concat()
}

/// A connection that has said its greeting with these settings, and nothing more.
pub async fn greeted(address: SocketAddr, settings: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
    socket.write_all(&hello).await.unwrap();
    socket
}

/// The next frame, or none when the connection has ended, be it by a reset.
pub async fn next(socket: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    in_time("a frame", socket.read_exact(&mut head))
        .await
        .ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    in_time("its payload", socket.read_exact(&mut payload))
        .await
        .ok()?;
    Some(Frame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

/// Everything up to the end of the connection.
pub async fn rest(socket: &mut TcpStream) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = next(socket).await {
        frames.push(frame);
    }
    frames
}

/// Everything up to the head of an answer on this stream.
pub async fn answered(socket: &mut TcpStream, stream: u32) {
    loop {
        let frame = next(socket).await.expect("an answer");
        if frame.kind == HEADERS && frame.stream == stream {
            return;
        }
    }
}
