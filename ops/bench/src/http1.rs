//! A keep-alive HTTP/1.1 connection that sends prepared requests and reads answers of known length.
//!
//! A general-purpose client needs more CPU time per task than the gateway does; on two cores shared
//! by everything that would distort the figures. The gateway's answers always have a
//! `Content-Length`; anything else is an error here.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer counts as a failure of the system.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Limits of an answer, in bytes: its head, and its body.
const MAX_HEAD: usize = 16 * 1024;
const MAX_BODY: usize = 8 * 1024 * 1024;

/// One connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The answer, without its body, which stays in the connection until the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body_from: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(MAX_HEAD),
        })
    }

    /// Sends a complete request and reads the complete answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        timeout(ANSWER_DEADLINE, self.exchange_in_time(request))
            .await
            .context("no answer within 30 s")?
    }

    /// Body of the last answer.
    pub(crate) fn body(&self, answer: Answer) -> &[u8] {
        &self.buffer[answer.body_from..]
    }

    async fn exchange_in_time(&mut self, request: &[u8]) -> Result<Answer> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
            ensure!(
                self.buffer.len() < MAX_HEAD,
                "the head of an answer is too long"
            );
            self.read_more().await?;
        };
        ensure!(
            head.content_length <= MAX_BODY,
            "the body of an answer is too long"
        );
        let end = head.length + head.content_length;
        while self.buffer.len() < end {
            self.read_more().await?;
        }
        ensure!(self.buffer.len() == end, "more came than was announced");
        Ok(Answer {
            status: head.status,
            body_from: head.length,
        })
    }

    async fn read_more(&mut self) -> Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the connection was closed");
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Length of the head, including the empty line.
    length: usize,
    content_length: usize,
}

impl Head {
    /// Parses the head of an answer. `None` while it is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text =
            std::str::from_utf8(&bytes[..end]).context("the head of an answer is no text")?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .context("the answer is no HTTP/1.1")?;
        let mut content_length = None;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                bail!("a header of the answer has no colon");
            };
            if name.eq_ignore_ascii_case("content-length") {
                content_length = Some(value.trim().parse().context("Content-Length")?);
            }
        }
        Ok(Some(Self {
            status,
            length: end + 4,
            content_length: content_length.context("an answer without Content-Length")?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_sink::{Sink, SinkOptions};

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let whole = b"HTTP/1.1 201 Created\r\nX: y\r\ncontent-LENGTH: 12\r\n\r\n{";
        assert_eq!(Head::parse(&whole[..20]).expect("a part"), None);
        let head = Head::parse(whole).expect("fine").expect("complete");
        assert_eq!(
            (head.status, head.content_length, head.length),
            (201, 12, whole.len() - 1)
        );
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        for bad in [
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert!(Head::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_used_again_and_again() {
        let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default())
            .await
            .expect("a sink");
        let mut connection = Connection::open(sink.addr).await.expect("connected");
        for status in [200, 503, 404] {
            let request =
                format!("POST /status/{status} HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\n\r\nhi");
            let answer = connection
                .exchange(request.as_bytes())
                .await
                .expect("answered");
            assert_eq!(answer.status, status);
            assert!(connection.body(answer).starts_with(b"{\"ok\""));
        }
        assert_eq!((sink.count(), sink.connections()), (3, 1));
    }
}
