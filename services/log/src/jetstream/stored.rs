//! Reads stored messages whose headers the client library cannot parse.
//!
//! The server stores the headers of a message unchanged, and checks only those that it uses itself.
//! The client library closes the whole connection when a message with malformed headers or a
//! malformed subject arrives, before any other code sees a byte of it. So anyone who may publish to
//! a stream could break every connection that reads it, again and again. Therefore:
//!
//! - Stored messages are read on a separate connection ([`ReadConnection`]). If it breaks, only
//!   reads are lost; leases, appends and all other requests go on.
//! - After its connection was reopened, a reader reads at least the next message by
//!   `STREAM.MSG.GET`. The answer is JSON with the headers in base64, which arrives whatever they
//!   are. They are parsed here ([`headers`]) by the rules of the client library, so that both ways
//!   give the same result.
//! - A message with malformed headers becomes a record without headers ([`super::wire::damaged`]),
//!   and is treated like any record that no reader can use.

use std::pin::pin;

use async_nats::Client;
use async_nats::header::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::api::Api;
use super::config::Reads;
use super::tail::hints::Hints;
use super::wire;
use crate::{Record, StreamSeq};

/// The connection on which stored messages arrive.
#[derive(Clone)]
pub(super) struct ReadConnection {
    pub(super) client: Client,
    /// Counts how often it was opened. Requests from before the last time are lost.
    pub(super) made: watch::Receiver<u64>,
    /// Whether streams have copies, of which the one that answers may lag.
    pub(super) is_replicated: bool,
    reads: Reads,
    pub(super) hints: Hints,
}

impl ReadConnection {
    pub(super) fn new(
        client: Client,
        made: watch::Receiver<u64>,
        is_replicated: bool,
        reads: Reads,
    ) -> Self {
        Self {
            hints: Hints::new(client.clone()),
            client,
            made,
            is_replicated,
            reads,
        }
    }

    /// Whether tails have consumers.
    pub(super) fn tails_have_consumers(&self) -> bool {
        self.reads == Reads::Consumers
    }

    /// Whether this process may create consumers.
    pub(super) fn may_create_consumers(&self) -> bool {
        self.reads != Reads::Accounts
    }

    /// The subject for direct gets that have several answers.
    pub(super) fn batches(&self, stream: &str) -> String {
        match self.reads {
            Reads::Consumers | Reads::Direct => Api::subject(&format!("DIRECT.GET.{stream}")),
            Reads::Accounts => format!("wb.read.{stream}"),
        }
    }

    /// Waits for `answer`. Returns `None` as soon as the connection has been reopened, since the
    /// answer is lost then.
    pub(super) async fn unless_lost<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut made = self.made.clone();
        made.mark_unchanged();
        let mut answer = pin!(answer);
        // Both branches are cancellation safe: the caller repeats a request whose answer was
        // dropped. Biased, since an answer that has arrived counts.
        tokio::select! {
            biased;
            answer = &mut answer => Some(answer),
            _ = made.changed() => None,
        }
    }
}

/// A message as `STREAM.MSG.GET` returns it.
pub(super) struct StoredMessage {
    pub(super) seq: StreamSeq,
    time_ns: i64,
    pub(super) subject: String,
    /// `None` if they are malformed.
    pub(super) headers: Option<HeaderMap>,
    pub(super) payload: Bytes,
}

impl StoredMessage {
    /// Parses the answer. `None` if it contains no message.
    pub(super) fn parse(answer: &Value) -> Option<Self> {
        let message = &answer["message"];
        let decoded = |field: &str| match &message[field] {
            Value::Null => Some(Vec::new()),
            text => STANDARD.decode(text.as_str()?).ok(),
        };
        Some(Self {
            seq: StreamSeq(message["seq"].as_u64()?),
            time_ns: wire::nanoseconds(message["time"].as_str()?)?,
            subject: message["subject"].as_str()?.to_owned(),
            headers: headers(&decoded("hdrs")?),
            payload: decoded("data")?.into(),
        })
    }

    pub(super) fn into_record(self, stream: &'static str) -> Record {
        let (seq, time_ns, subject) = (self.seq, self.time_ns, &self.subject);
        match &self.headers {
            Some(headers) => wire::record(stream, seq, time_ns, subject, headers, self.payload),
            None => wire::damaged(stream, seq, time_ns, subject, self.payload),
        }
    }
}

/// Parses headers as the client library does. `None` where that would close the connection, and for
/// headers with a status, which only the server's own answers have.
fn headers(block: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    if block.is_empty() {
        return Some(headers);
    }
    let mut lines = std::str::from_utf8(block).ok()?.lines().peekable();
    let status = lines.next()?.strip_prefix("NATS/1.0")?.trim();
    if !status.is_empty() {
        return None;
    }
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.parse().ok()?;
        let mut value = value.trim_start().to_owned();
        // A value may continue on the following lines.
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        headers.append(name, HeaderValue::from(value.trim_end()));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_block_reads_as_the_client_library_reads_it() {
        let read = |block: &[u8], name: &str| {
            let headers = headers(block)?;
            headers
                .get_last(name)
                .map(|value| value.as_str().to_owned())
        };
        let block = b"NATS/1.0\r\nWb-Event: a.b.v1\r\nLong: one\r\n  two \r\nWb-Event:last\r\n\r\n";
        assert_eq!(read(block, "Wb-Event").as_deref(), Some("last"));
        assert_eq!(read(block, "Long").as_deref(), Some("one  two"));
        assert_eq!(headers(b"").map(|headers| headers.len()), Some(0));
    }

    #[test]
    fn a_block_that_would_end_a_connection_has_no_headers() {
        for block in [
            &b"NATS/1.0\r\nWb-Event: \xff\xfe\r\n\r\n"[..],
            b"NATS/1.0\r\nno colon\r\n\r\n",
            b"NATS/1.0\r\nna me: x\r\n\r\n",
            b"NATS/1.0 9x9\r\nWb-Event: a.b.v1\r\n\r\n",
            b"NATS/1.0 404\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
        ] {
            assert!(headers(block).is_none(), "{}", block.escape_ascii());
        }
    }

    #[test]
    fn an_answer_that_is_none_is_no_record() {
        let message = |data: &str| {
            json!({ "message": {
                "subject": "tasks.1.x", "seq": 7, "data": data, "time": "2026-01-02T03:04:05.678901234Z",
            }})
        };
        let read = StoredMessage::parse(&message("eA==")).map(|read| (read.seq, read.payload));
        assert_eq!(read, Some((StreamSeq(7), "x".into())));
        assert!(StoredMessage::parse(&message("no base64")).is_none());
        assert!(StoredMessage::parse(&json!({})).is_none());
    }
}
