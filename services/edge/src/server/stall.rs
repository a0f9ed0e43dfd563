//! A connection whose peer does not read: writing to it gives up after a while, so that it cannot be held for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A stream that fails when nothing could be written for `patience`. Reading is watched by the HTTP layer, which knows what it waits for.
pub(super) struct Stallable {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Stallable {
    pub(super) fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            stalled: None,
        }
    }

    /// Ends the stall when there was progress, and fails when it lasts too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer does not read",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Stallable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stallable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair(patience: Duration) -> (Stallable, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _) = accepted.expect("accepted");
        (Stallable::new(stream, patience), client.expect("connected"))
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_given_up() {
        let (mut ours, _theirs) = pair(Duration::from_millis(100)).await;
        let endless = async { while ours.write_all(&[0; 65_536]).await.is_ok() {} };
        let ended = tokio::time::timeout(Duration::from_secs(10), endless).await;
        assert!(ended.is_ok(), "it would wait for ever");
    }

    #[tokio::test]
    async fn a_peer_that_reads_slowly_but_reads_is_not() {
        let (mut ours, mut theirs) = pair(Duration::from_millis(400)).await;
        let writing = tokio::spawn(async move { ours.write_all(&vec![7; 8 << 20]).await });
        let mut buffer = vec![0; 1 << 20];
        let mut left: usize = 8 << 20;
        while left > 0 {
            // As long as a peer takes that is slow, and far from what would be too slow.
            tokio::time::sleep(Duration::from_millis(20)).await;
            left -= theirs.read(&mut buffer).await.expect("more to read");
        }
        writing.await.expect("no panic").expect("all was written");
    }
}
