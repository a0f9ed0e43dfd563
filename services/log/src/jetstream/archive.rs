//! Archives of streams: a backup takes them from a running server, and a restore puts them into a
//! server that lacks these streams.
//!
//! The server creates the archive itself (`$JS.API.STREAM.SNAPSHOT`), consistent as of one moment,
//! while the stream is being written to. Only the server can read it back
//! (`$JS.API.STREAM.RESTORE`), and then checks every message and keeps sequences and times. The
//! creation time of the stream, by which checkpoints and copies identify a log, is recorded in its
//! metadata. Two streams are archived at different moments, so their order matters: see
//! [`BACKED_UP`].

use std::io;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use async_nats::client::{Request, RequestErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use waybill_domain::time::Timestamp;

use super::api::Api;
use super::config::NatsConfig;
use super::connect::{ConnectError, open_api};
use super::read::born;

/// The streams that a backup contains, in the order in which it takes them: a stream that refers to
/// another one is taken first. A signed checkpoint vouches for events of CONTROL, a task belongs to
/// a team of CONTROL, and CONTROL and TASKS refer to keys of VKEYS. So a stream may know more than
/// those taken before it, which every reader tolerates, but never less.
pub const BACKED_UP: [&str; 5] = ["AUDITCP", "TASKS", "CONTROL", "USAGE", "VKEYS"];

/// Key of the metadata in which a restored stream records the creation time of the original.
pub(super) const BORN_KEY: &str = "waybill.born";
/// Bytes of a chunk, in both directions. Well below the largest message that the server accepts.
const CHUNK_BYTES: usize = 128 * 1024;
/// Time limit for the next chunk, before which the server reads and checks its own files.
const CHUNK_WAIT: Duration = Duration::from_secs(60);

/// Pause before repeating a chunk that had no receiver.
const NOT_YET_KNOWN: Duration = Duration::from_millis(20);

/// Why a stream was not archived or not restored.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The server refused, or did not answer.
    #[error("{what} of stream {stream}: {reason}")]
    Server {
        /// `archive`, `restore` or `state`.
        what: &'static str,
        /// Name of the stream.
        stream: String,
        /// The server's error text.
        reason: String,
    },
    /// A chunk could not be written.
    #[error("the archive of stream {stream} cannot be written")]
    Write {
        /// Name of the stream.
        stream: String,
        source: io::Error,
    },
}

/// The description of an archived stream: all that a restore needs besides the bytes of the
/// archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchivedStream {
    pub name: String,
    /// Its configuration, as JetStream has it.
    pub config: Map<String, Value>,
    /// Its state: first and last sequence, count of messages.
    pub state: Map<String, Value>,
    /// Creation time of the original stream, in RFC 3339.
    pub born: String,
}

/// Access to the streams of a server for backup and restore. It creates and checks no streams at
/// connecting.
#[derive(Debug, Clone)]
pub struct StreamArchives {
    api: Api,
}

impl StreamArchives {
    /// Connects without checking the streams.
    ///
    /// # Errors
    /// If no suitable server answers within `connect_timeout_ms`.
    pub async fn connect(config: &NatsConfig) -> Result<Self, ConnectError> {
        let api = open_api(config).await?;
        Ok(Self { api })
    }

    /// Configuration and state of a stream now; `None` when there is none of that name.
    pub async fn look(&self, stream: &str) -> Result<Option<ArchivedStream>, ArchiveError> {
        match self
            .api
            .call(&format!("STREAM.INFO.{stream}"), &Value::Null)
            .await
        {
            Ok(info) => Ok(Some(described(stream, &info, &info))),
            Err(error) if error.is(super::api::code::STREAM_NOT_FOUND) => Ok(None),
            Err(error) => Err(server("state", stream, &error)),
        }
    }

    /// Archives a stream as of one moment from now, and passes the archive to `keep` in chunks.
    pub async fn save(
        &self,
        stream: &str,
        mut keep: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<ArchivedStream, ArchiveError> {
        let info = self
            .api
            .call(&format!("STREAM.INFO.{stream}"), &Value::Null)
            .await
            .map_err(|error| server("archive", stream, &error))?;
        let client = self.api.client();
        let inbox = client.new_inbox();
        let mut chunks = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| server("archive", stream, &error))?;
        // Consumers are not needed, since readers create new ones at every start. `jsck` makes the
        // server check its blocks first.
        let request = json!({
            "deliver_subject": inbox,
            "no_consumers": true,
            "chunk_size": CHUNK_BYTES,
            "jsck": true,
        });
        let answer = self
            .api
            .call(&format!("STREAM.SNAPSHOT.{stream}"), &request)
            .await
            .map_err(|error| server("archive", stream, &error))?;
        while let Some(chunk) = self.next(stream, &mut chunks).await? {
            keep(&chunk).map_err(|source| ArchiveError::Write {
                stream: stream.to_owned(),
                source,
            })?;
        }
        Ok(described(stream, &answer, &info))
    }

    /// Receives a chunk and acknowledges it, after which the server sends the next one; `None`
    /// after the last.
    async fn next(
        &self,
        stream: &str,
        chunks: &mut Subscriber,
    ) -> Result<Option<Bytes>, ArchiveError> {
        let waited = tokio::time::timeout(CHUNK_WAIT, chunks.next()).await;
        let Ok(Some(message)) = waited else {
            return Err(server("archive", stream, &"the server stopped sending"));
        };
        if message.payload.is_empty() {
            // The empty message at the end has a status if the server could not read its own files.
            return match message.status {
                Some(status) if status.as_u16() >= 300 => {
                    let reason = message.description.clone();
                    let reason = reason.unwrap_or_else(|| status.to_string());
                    Err(server("archive", stream, &reason))
                }
                _ => Ok(None),
            };
        }
        if let Some(reply) = message.reply {
            self.api
                .client()
                .publish(reply, Bytes::new())
                .await
                .map_err(|error| server("archive", stream, &error))?;
        }
        Ok(Some(message.payload))
    }

    /// Starts to restore a stream. The server must not have one of that name.
    pub async fn restore(
        &self,
        archived: &ArchivedStream,
        replicas: u16,
    ) -> Result<Restoring, ArchiveError> {
        let stream = archived.name.clone();
        let mut config = archived.config.clone();
        config.insert("num_replicas".into(), replicas.into());
        let metadata = config.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert(BORN_KEY.into(), archived.born.clone().into());
        }
        let request = json!({ "config": config, "state": archived.state });
        let answer = self
            .api
            .call(&format!("STREAM.RESTORE.{stream}"), &request)
            .await
            .map_err(|error| server("restore", &stream, &error))?;
        let Some(subject) = answer["deliver_subject"].as_str().map(ToOwned::to_owned) else {
            return Err(server("restore", &stream, &"no subject to send to"));
        };
        Ok(Restoring {
            api: self.api.clone(),
            stream,
            subject,
        })
    }
}

/// A restore in progress. If it is abandoned, it leaves no stream behind.
#[derive(Debug)]
pub struct Restoring {
    api: Api,
    stream: String,
    subject: String,
}

impl Restoring {
    /// Sends the next bytes, in chunks that the server accepts.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), ArchiveError> {
        for piece in bytes.chunks(CHUNK_BYTES) {
            let piece = Bytes::copy_from_slice(piece);
            let answer = self.exchange(piece, self.api.timeout()).await?;
            // An empty answer asks for more; anything else is an error.
            if !answer.is_empty() {
                let error: Value = serde_json::from_slice(&answer).unwrap_or_default();
                let reason = error["error"]["description"].as_str();
                let reason = reason.map_or_else(
                    || String::from_utf8_lossy(&answer).into_owned(),
                    ToOwned::to_owned,
                );
                return Err(server("restore", &self.stream, &reason));
            }
        }
        Ok(())
    }

    /// Marks the end of the archive, and waits until the server has opened the stream.
    pub async fn finish(self) -> Result<ArchivedStream, ArchiveError> {
        let answer = self.exchange(Bytes::new(), CHUNK_WAIT * 10).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        match answer["error"]["description"].as_str() {
            Some(reason) => Err(server("restore", &self.stream, &reason)),
            None => Ok(described(&self.stream, &answer, &answer)),
        }
    }

    async fn exchange(&self, payload: Bytes, wait: Duration) -> Result<Bytes, ArchiveError> {
        let until = Instant::now() + self.api.timeout();
        loop {
            let request = Request::new().payload(payload.clone()).timeout(Some(wait));
            let client = self.api.client();
            match client.send_request(self.subject.clone(), request).await {
                Ok(answer) => return Ok(answer.payload),
                // In a cluster, the other servers learn of the subject for chunks a moment after
                // the answer that names it. Until then the chunk has reached nobody, so it can be
                // sent again.
                Err(error)
                    if error.kind() == RequestErrorKind::NoResponders && Instant::now() < until =>
                {
                    tokio::time::sleep(NOT_YET_KNOWN).await;
                }
                Err(error) => return Err(server("restore", &self.stream, &error)),
            }
        }
    }
}

/// Builds the description from an answer. The creation time comes from `info`, since the answer to
/// `STREAM.SNAPSHOT` lacks it.
fn described(name: &str, answer: &Value, info: &Value) -> ArchivedStream {
    let object = |field: &str| answer[field].as_object().cloned().unwrap_or_default();
    ArchivedStream {
        name: name.to_owned(),
        config: object("config"),
        state: object("state"),
        born: born(info).map_or_else(String::new, Timestamp::to_rfc3339),
    }
}

fn server(what: &'static str, stream: &str, reason: &dyn ToString) -> ArchiveError {
    ArchiveError::Server {
        what,
        stream: stream.to_owned(),
        reason: reason.to_string(),
    }
}
