//! Answers to bytes that are not a request: hyper answers a head that it cannot read by itself, with a status and nothing else. Here such an
//! answer gets what every other one has: a JSON body, a request id and the fields of rate limits.
//!
//! hyper has no hook for it, so the bytes are recognised on their way out. That is safe under three conditions: no answer of the gateway
//! is under way, everything before was written completely, and the head has no request id, which all of the gateway's answers have.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::open::OpenAnswers;

/// Makes the whole answer that goes out instead, head and body.
pub(super) type Explain = Arc<dyn Fn(StatusCode) -> Vec<u8> + Send + Sync>;

/// A connection whose bare answers are explained.
pub(super) struct Explained<S> {
    stream: S,
    open: OpenAnswers,
    explain: Explain,
    /// All that was handed over was written.
    at_boundary: bool,
    /// What is written instead, as far as it was not yet.
    pending: Vec<u8>,
    written: usize,
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    pub(super) fn new(stream: S, open: OpenAnswers, explain: Explain) -> Self {
        Self {
            stream,
            open,
            explain,
            at_boundary: true,
            pending: Vec::new(),
            written: 0,
        }
    }

    /// Writes what is pending.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.pending.len() {
            let rest = &self.pending[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a bare answer and says so.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        let status = bare_status(bytes).filter(|_| self.at_boundary && self.open.is_idle());
        let Some(status) = status else {
            return false;
        };
        self.pending = (self.explain)(status);
        self.written = 0;
        true
    }
}

/// The status of a head by which hyper refuses what it cannot read.
fn bare_status(bytes: &[u8]) -> Option<StatusCode> {
    let head = bytes.strip_suffix(b"\r\n\r\n")?;
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let (version, rest) = lines.next()?.split_once(' ')?;
    let status = rest.get(..3)?.parse().ok()?;
    let refuses = matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::URI_TOO_LONG
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    let is_plain = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        ["connection", "content-length", "date"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
    };
    (version.starts_with("HTTP/1.") && refuses && lines.all(is_plain)).then_some(status)
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.drain(cx))?;
        if self.takes(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.at_boundary = written == bytes.len();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.drain(cx))?;
        let mut filled = parts.iter().filter(|part| !part.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && self.takes(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?;
        self.at_boundary = written == parts.iter().map(|part| part.len()).sum::<usize>();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const BARE: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

    async fn written(open: &OpenAnswers, parts: &[&[u8]]) -> Vec<u8> {
        let explain: Explain = Arc::new(|status| format!("<{}>", status.as_u16()).into_bytes());
        let mut stream = Explained::new(Vec::<u8>::new(), open.clone(), explain);
        for part in parts {
            stream.write_all(part).await.expect("written");
        }
        stream.flush().await.expect("flushed");
        stream.stream
    }

    #[tokio::test]
    async fn only_a_bare_head_between_answers_is_explained() {
        let idle = OpenAnswers::new();
        assert_eq!(written(&idle, &[b"x", BARE]).await, b"x<400>");
        let busy = OpenAnswers::new();
        let _under_way = busy.begin();
        assert_eq!(written(&busy, &[BARE]).await, BARE, "it is part of a body");
        for ours in [
            &b"HTTP/1.1 400 Bad Request\r\nx-request-id: 1\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\n\r\nbody",
        ] {
            assert_eq!(written(&idle, &[ours]).await, ours);
        }
    }
}
