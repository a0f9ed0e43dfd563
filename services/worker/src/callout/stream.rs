//! A connection to a target, with or without TLS, and what is known of its use.
//!
//! A target may close a connection at the very moment at which a pool uses it again. HTTP/1.1 cannot say whether such a request was
//! seen; but a connection that was answered before, and of which not one byte has come since the request began, is closed for being
//! old far more often than for the request (RFC 9112, 9.3.1). [`Use`] tells that apart from a target that breaks off an answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// What a request over HTTP/1.1 can begin with.
const METHODS: [&[u8]; 7] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"PATCH ",
    b"DELETE ",
    b"HEAD ",
    b"OPTIONS ",
];

/// How far the exchanges on an HTTP/1.1 connection have come: 0 while nothing has come from the target. Shared between the connection and whoever handles its errors.
#[derive(Debug, Clone, Default)]
pub(super) struct Use(Arc<AtomicU8>);

impl Use {
    /// The last thing that happened is that the target sent something.
    const ANSWERED: u8 = 1;
    /// Another request began after that.
    const ASKED_AGAIN: u8 = 2;

    /// It has been answered before, and nothing has come since the current request began.
    pub(super) fn is_reused_without_answer(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::ASKED_AGAIN
    }

    fn has_read(&self) {
        self.0.store(Self::ANSWERED, Ordering::Release);
    }

    /// A target may answer while a body is still being written, so a write counts only when a request begins with it. hyper begins
    /// none before the last answer has ended, and begins each with a write of its own.
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
            // Many requests share the connection: what it read says nothing of one of them.
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
