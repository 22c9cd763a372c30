//! One caller's byte stream, which has to begin in time and to go on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use super::calls::Calls;
use crate::grpc::turns::poll_round;

/// The first bytes of every HTTP/2 connection, "PRI * HTTP/2.0" and so on.
const GREETING: usize = 24;

/// A caller sends its greeting at once. Who has not by then never will.
const GREETING_TIME: Duration = Duration::from_secs(10);

/// A caller that has taken nothing for so long, not even what asks whether it is there, would
/// keep what waits for it for ever.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// Less than that waits for the answers of others; as much is worth a write of its own.
const SMALL: usize = 8 * 1024;

/// A stream that has said its greeting, whose small writes go out together, and fail when nobody reads
/// them.
#[derive(Debug)]
pub(super) struct Wire<T> {
    stream: T,
    greeting: [u8; GREETING],
    /// How much of the greeting has been read from here.
    read: usize,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
    /// Those of the connection.
    calls: Calls,
    /// What is to be written has waited for the answers of others.
    gathered: bool,
}

impl<T: AsyncRead + Unpin> Wire<T> {
    pub(super) async fn greeted(mut stream: T, calls: Calls) -> io::Result<Self> {
        let mut greeting = [0; GREETING];
        timeout(GREETING_TIME, stream.read_exact(&mut greeting)).await??;
        Ok(Wire {
            stream,
            greeting,
            read: 0,
            patience: None,
            calls,
            gathered: false,
        })
    }
}

impl<T> Wire<T> {
    /// Where other calls are in flight, waits once before each flush, until all tasks that are ready
    /// have been looked at: answers that come meanwhile go out by the same write, which costs more than
    /// all that HTTP/2 does for them.
    fn gather(&mut self, cx: &Context<'_>, length: usize) -> Poll<()> {
        self.gathered = self.gathered || length >= SMALL || !self.calls.any_unanswered();
        poll_round(&mut self.gathered, cx)
    }

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
        ready!(self.gather(cx, buf.len()));
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.in_time(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.gathered &= outcome.is_pending();
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
        ready!(self.gather(cx, bufs.iter().map(|buf| buf.len()).sum()));
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
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    const BEGUN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more";

    async fn wire(room: usize) -> (Wire<DuplexStream>, DuplexStream) {
        wire_of(Calls::default(), room).await
    }

    async fn wire_of(calls: Calls, room: usize) -> (Wire<DuplexStream>, DuplexStream) {
        let (ours, mut theirs) = duplex(room);
        theirs.write_all(BEGUN).await.unwrap();
        (Wire::greeted(ours, calls).await.unwrap(), theirs)
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
            let error = Wire::greeted(ours, Calls::default()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert_eq!(start.elapsed(), GREETING_TIME);
            drop(theirs);
        }
    }

    /// What the caller has by now.
    async fn told(theirs: &mut DuplexStream) -> Vec<u8> {
        let mut told = vec![0; 64 * 1024];
        let read = theirs.read(&mut told).now_or_never();
        told.truncate(read.map_or(0, Result::unwrap));
        told
    }

    #[tokio::test]
    async fn small_answers_wait_once_for_those_of_calls_in_flight() {
        let calls = Calls::default();
        let (mut wire, mut theirs) = wire_of(calls.clone(), 64 * 1024).await;
        let other = calls.count(std::future::pending::<()>());
        for _ in 0..3 {
            assert!(wire.write(b"one").now_or_never().is_none());
            assert!(told(&mut theirs).await.is_empty());
            // As HTTP/2 does, with what was put there meanwhile.
            wire.write_all(b"one, two").await.unwrap();
            wire.write_all(b", three").await.unwrap();
            wire.flush().await.unwrap();
            assert_eq!(told(&mut theirs).await, b"one, two, three");
        }
        assert!(wire.write(&[0; SMALL]).now_or_never().is_some(), "enough");
        wire.flush().await.unwrap();
        drop(other);
        assert!(wire.write(b"alone").now_or_never().is_some());
    }

    /// Nobody else wakes it.
    #[tokio::test]
    async fn what_waits_is_looked_at_again() {
        let calls = Calls::default();
        let (mut wire, mut theirs) = wire_of(calls.clone(), 64).await;
        let _other = calls.count(std::future::pending::<()>());
        wire.write_all(b"one").await.unwrap();
        assert_eq!(told(&mut theirs).await, b"one");
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
