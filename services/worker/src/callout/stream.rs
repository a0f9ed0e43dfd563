//! A connection to a target, with or without TLS, and its state of use.
//!
//! A target may close a connection at the very moment when the pool reuses it. HTTP/1.1 cannot tell
//! whether such a request was seen. But a connection that was answered before, and that has
//! received nothing since the request began, was closed because of its age far more often than
//! because of the request (RFC 9112, 9.3.1). [`Use`] distinguishes this from a target that aborts
//! an answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Beginnings of a request over HTTP/1.1.
const METHODS: [&[u8]; 7] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"PATCH ",
    b"DELETE ",
    b"HEAD ",
    b"OPTIONS ",
];

/// Progress of the exchanges on an HTTP/1.1 connection; 0 while nothing was received. Shared
/// between the connection and the code that handles its errors.
#[derive(Debug, Clone, Default)]
pub(super) struct Use(Arc<AtomicU8>);

impl Use {
    /// The last thing that happened is that the target sent something.
    const ANSWERED: u8 = 1;
    /// Another request began after that.
    const ASKED_AGAIN: u8 = 2;

    /// Whether the connection was answered before, and has received nothing since the current
    /// request began.
    pub(super) fn is_reused_without_answer(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::ASKED_AGAIN
    }

    fn has_read(&self) {
        self.0.store(Self::ANSWERED, Ordering::Release);
    }

    /// Records a write. A target may answer while a body is still being written, so a write counts
    /// only if a request begins with it. hyper begins no request before the last answer has ended,
    /// and begins each with a separate write.
    fn writes(&self, bytes: &[u8]) {
        if self.0.load(Ordering::Acquire) == Self::ANSWERED
            && METHODS.iter().any(|method| bytes.starts_with(method))
        {
            self.0.store(Self::ASKED_AGAIN, Ordering::Release);
        }
    }
}

/// A connection to a target.
pub(super) struct Stream {
    io: Io,
    used: Use,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream) -> Self {
        Self::over(Io::Plain(tcp))
    }

    pub(super) fn tls(tls: TlsStream<TcpStream>) -> Self {
        Self::over(Io::Tls(Box::new(tls)))
    }

    fn over(io: Io) -> Self {
        Self {
            io,
            used: Use::default(),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match &self.io {
            // Many requests share the connection, so what it has read says nothing about one of
            // them.
            Io::Tls(tls) if tls.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            Io::Plain(_) | Io::Tls(_) => Connected::new().extra(self.used.clone()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = match &mut this.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Io::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            this.used.has_read();
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.used.writes(buf);
        match &mut this.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Io::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(first) = bufs.iter().find(|buf| !buf.is_empty()) {
            this.used.writes(first);
        }
        match &mut this.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Io::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(tcp) => tcp.is_write_vectored(),
            Io::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_after_an_answer_and_before_the_next_one_is_without_answer() {
        let used = Use::default();
        used.writes(b"POST / HTTP/1.1\r\n");
        assert!(!used.is_reused_without_answer(), "the connection is fresh");
        used.has_read();
        used.writes(b"more of a body while the answer comes");
        assert!(!used.is_reused_without_answer(), "the answer has begun");
        used.writes(b"GET / HTTP/1.1\r\n");
        assert!(used.is_reused_without_answer());
        used.writes(b"GET is a word of this body, too");
        assert!(used.is_reused_without_answer());
        used.has_read();
        assert!(!used.is_reused_without_answer());
    }
}
