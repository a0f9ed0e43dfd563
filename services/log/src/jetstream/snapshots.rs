//! Snapshots in the object store `snapshots`.
//!
//! An object is stored as its parts, followed by a message that names them; then the parts of the
//! previous version are removed. If the process or the server fails in between, parts are left that
//! no message names. No reader finds those, so every process that writes snapshots looks for them
//! periodically.

use async_nats::jetstream;
use async_nats::jetstream::object_store::{InfoErrorKind, ObjectInfo, ObjectStore};
use async_nats::jetstream::stream::Stream;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::api::Api;
use super::read::Reader;
use super::stored::ReadConnection;
use crate::{ReadError, StreamSeq};

const BUCKET: &str = "snapshots";
/// The stream of the object store.
const STREAM: &str = "OBJ_snapshots";
/// Time limit of storing or reading a snapshot; a large one takes seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// Interval at which a process that writes snapshots looks for parts that no message names.
const SWEEP_PAUSE: Duration = Duration::from_secs(300);
/// Age at which unnamed parts are removed. An object that is still being stored cannot be older
/// than [`DEADLINE`].
const LEFT_OVER_AFTER: Duration = Duration::from_secs(600);
/// Prefixes of the subjects of parts, and of the messages that name them.
const PARTS: &str = "$O.snapshots.C.";
const NAMES: &str = "$O.snapshots.M.";

#[derive(Clone)]
pub(super) struct SnapshotStore {
    context: jetstream::Context,
    /// Of the parts: the client library would read them by a consumer.
    reader: Reader,
    /// Locked briefly, never across an await.
    left_over: Arc<Mutex<LeftOver>>,
}

/// Parts that no message named at the last sweep.
#[derive(Default)]
struct LeftOver {
    swept: Option<Instant>,
    /// When each was first seen unnamed, by subject.
    seen: HashMap<String, Instant>,
}

/// The field that is needed of the message that names an object's parts.
#[derive(serde::Deserialize)]
struct Named {
    nuid: String,
}

impl SnapshotStore {
    pub(super) fn new(api: &Api, readers: &ReadConnection) -> Self {
        let context = jetstream::ContextBuilder::new()
            .timeout(api.timeout())
            .build(readers.client.clone());
        Self {
            context,
            reader: Reader::new(api, readers, STREAM),
            left_over: Arc::default(),
        }
    }

    /// Removes the parts that no message names now, nor did `older_than` ago. Returns the number of
    /// objects they belonged to.
    pub(super) async fn sweep(&self, older_than: Duration) -> Result<usize, ReadError> {
        let stream = self.context.get_stream(STREAM).await.map_err(unavailable)?;
        // Parts are listed before names, so that parts of an object that is completed in between
        // count as named.
        let parts = subjects(&stream, PARTS).await?;
        let mut named = HashSet::new();
        for name in subjects(&stream, NAMES).await? {
            let message = stream
                .get_last_raw_message_by_subject(&name)
                .await
                .map_err(unavailable)?;
            // If any name cannot be read, nothing is removed.
            let found: Named = serde_json::from_slice(&message.payload).map_err(unavailable)?;
            named.insert(format!("{PARTS}{}", found.nuid));
        }
        let mut removed = 0;
        for subject in self.left_over(&parts, &named, older_than) {
            stream.purge().filter(&subject).await.map_err(unavailable)?;
            removed += 1;
        }
        if removed > 0 {
            tracing::info!(
                removed,
                "parts of snapshots that were never completed are removed"
            );
        }
        Ok(removed)
    }

    /// Remembers unnamed parts, and returns those that were already unnamed `older_than` ago.
    fn left_over(
        &self,
        parts: &[String],
        named: &HashSet<String>,
        older_than: Duration,
    ) -> Vec<String> {
        let now = Instant::now();
        let mut left_over = self.lock();
        left_over.swept = Some(now);
        let before = std::mem::take(&mut left_over.seen);
        let mut old = Vec::new();
        for part in parts.iter().filter(|part| !named.contains(*part)) {
            let since = before.get(part).copied();
            if since.is_some_and(|since| now.duration_since(since) >= older_than) {
                old.push(part.clone());
            }
            left_over.seen.insert(part.clone(), since.unwrap_or(now));
        }
        old
    }

    fn lock(&self) -> MutexGuard<'_, LeftOver> {
        self.left_over.lock()
    }

    async fn sweep_now_and_then(&self) {
        let is_due = self
            .lock()
            .swept
            .is_none_or(|swept| swept.elapsed() >= SWEEP_PAUSE);
        if is_due && let Err(error) = timed(self.sweep(LEFT_OVER_AFTER)).await {
            tracing::debug!(%error, "looking for left-over parts of snapshots failed; trying again later");
        }
    }

    async fn store(&self) -> Result<ObjectStore, ReadError> {
        self.context
            .get_object_store(BUCKET)
            .await
            .map_err(unavailable)
    }

    pub(super) async fn put(&self, name: &str, value: Bytes) -> Result<(), ReadError> {
        let put = async {
            let store = self.store().await?;
            let mut value = value.as_ref();
            store.put(name, &mut value).await.map_err(unavailable)?;
            Ok(())
        };
        timed(put).await?;
        self.sweep_now_and_then().await;
        Ok(())
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        let get = async {
            let store = self.store().await?;
            let object = match store.info(name).await {
                Ok(object) => object,
                Err(error) if error.kind() == InfoErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(unavailable(error)),
            };
            let read = self.read_whole(&object).await;
            if let Err(damage) = &read {
                tracing::warn!(name, %damage, "a snapshot is damaged; replaying without it");
            }
            Ok(read.ok())
        };
        timed(get).await
    }

    /// Reads all parts. An error means that parts are missing or do not match the digest, which is
    /// tolerable since a snapshot is only a shortcut.
    async fn read_whole(&self, object: &ObjectInfo) -> Result<Bytes, String> {
        let parts = [format!("{PARTS}{}", object.nuid)];
        let all = StreamSeq(u64::MAX);
        let parts = self.reader.range(&parts, StreamSeq(1), all, object.chunks);
        let parts = parts.await.map_err(|error| error.to_string())?;
        let mut value = Vec::with_capacity(object.size);
        for part in &parts {
            value.extend_from_slice(&part.payload);
        }
        if value.len() != object.size {
            return Err(format!("{} bytes of {}", value.len(), object.size));
        }
        let digest = format!("SHA-256={}", URL_SAFE.encode(Sha256::digest(&value)));
        if object.digest.as_ref().is_some_and(|of| *of != digest) {
            return Err("its digest is another one".to_owned());
        }
        Ok(Bytes::from(value))
    }
}

/// The subjects of the object store that have messages and begin with `prefix`.
async fn subjects(stream: &Stream, prefix: &str) -> Result<Vec<String>, ReadError> {
    let found = stream
        .info_with_subjects(format!("{prefix}>"))
        .await
        .map_err(unavailable)?;
    found
        .map_ok(|(subject, _)| subject)
        .try_collect()
        .await
        .map_err(unavailable)
}

async fn timed<T>(future: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| Err(unavailable("a snapshot takes too long")))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "as it is, it maps errors: `map_err(unavailable)`"
)]
fn unavailable(reason: impl ToString) -> ReadError {
    ReadError::Unavailable {
        reason: reason.to_string(),
    }
}
