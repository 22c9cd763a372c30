//! One accepted connection, with a switch that turns its close into a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The HTTP server owns the stream and drops it unseen, so whoever wants a reset leaves word here.
#[derive(Debug, Clone, Default)]
pub(in crate::sandbox) struct Abort(Arc<AtomicBool>);

impl Abort {
    pub(super) fn engage(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[derive(Debug)]
pub(in crate::sandbox) struct Wire {
    stream: TcpStream,
    abort: Abort,
    id: u64,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            stream,
            abort: Abort::default(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(super) fn abort(&self) -> Abort {
        self.abort.clone()
    }

    /// Unique among all connections of the process.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.abort.0.load(Ordering::Acquire) {
            // Closing with a linger of zero sends RST. If that cannot be set, a plain close must do.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
