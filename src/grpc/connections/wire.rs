//! One caller's byte stream, which has to begin in time and to go on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

/// The first bytes of every HTTP/2 connection, "PRI * HTTP/2.0" and so on.
const GREETING: usize = 24;

/// A caller sends its greeting at once. Who has not by then never will.
const GREETING_TIME: Duration = Duration::from_secs(10);

/// A caller that has taken nothing for so long, not even what asks whether it is there, would
/// keep what waits for it for ever.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// A stream that has said its greeting, and whose writes fail when nobody reads them.
#[derive(Debug)]
pub(super) struct Wire<T> {
    stream: T,
    greeting: [u8; GREETING],
    /// How much of the greeting has been read from here.
    read: usize,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<T: AsyncRead + Unpin> Wire<T> {
    pub(super) async fn greeted(mut stream: T) -> io::Result<Self> {
        let mut greeting = [0; GREETING];
        timeout(GREETING_TIME, stream.read_exact(&mut greeting)).await??;
        Ok(Wire {
            stream,
            greeting,
            read: 0,
            patience: None,
        })
    }
}

impl<T> Wire<T> {
    /// The outcome of a write, or that it waited for too long.
    fn in_time<R>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.patience = None;
            return outcome;
        }
        let patience = &mut self.patience;
        let patience = patience.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME)));
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read == GREETING {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let rest = &self.greeting[self.read..];
        let part = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..part]);
        self.read += part;
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.in_time(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};
    use tokio::time::Instant;

    const BEGUN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more";

    async fn wire(room: usize) -> (Wire<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, mut theirs) = duplex(room);
        theirs.write_all(BEGUN).await.unwrap();
        (Wire::greeted(ours).await.unwrap(), theirs)
    }

    #[tokio::test]
    async fn the_greeting_is_read_again_by_whoever_reads_it_in_whatever_parts() {
        for part in [1, 7, 24, 100] {
            let (mut wire, theirs) = wire(64).await;
            drop(theirs);
            let (mut all, mut buf) = (Vec::new(), vec![0; part]);
            while let Ok(n @ 1..) = wire.read(&mut buf).await {
                all.extend_from_slice(&buf[..n]);
            }
            assert_eq!(all, BEGUN);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_greeting_that_does_not_come_or_not_whole_is_not_waited_for() {
        for said in ["", "PRI * HTTP/2.0\r\n"] {
            let (ours, mut theirs) = duplex(64);
            theirs.write_all(said.as_bytes()).await.unwrap();
            let start = Instant::now();
            let error = Wire::greeted(ours).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(start.elapsed(), GREETING_TIME);
            drop(theirs);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_when_nothing_of_it_is_taken_and_not_while_some_is() {
        let (mut wire, mut theirs) = wire(64).await;
        let reading = async {
            for _ in 0..10 {
                sleep(WRITE_TIME / 2).await;
                theirs.read_exact(&mut [0; 8]).await.unwrap();
            }
        };
        let start = Instant::now();
        let (written, ()) = tokio::join!(wire.write_all(&[0; 200]), reading);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed(), WRITE_TIME * 6);
    }
}
