//! Snapshots in the object store `snapshots`.

use async_nats::jetstream;
use async_nats::jetstream::object_store::{GetErrorKind, Object, ObjectStore};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::AsyncReadExt;

use super::api::Api;
use crate::ReadError;

/// The store.
const BUCKET: &str = "snapshots";
/// Storing or reading one may take so long; a large one takes seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// A part that does not come within this is missing.
const SILENCE: Duration = Duration::from_secs(5);
/// As the store cuts objects.
const PART: usize = 128 * 1024;

/// The snapshots.
#[derive(Clone)]
pub(super) struct SnapshotStore {
    context: jetstream::Context,
}

impl SnapshotStore {
    pub(super) fn new(api: &Api) -> Self {
        let context = jetstream::ContextBuilder::new()
            .timeout(api.timeout())
            .build(api.client().clone());
        Self { context }
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
        timed(put).await
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        let get = async {
            let store = self.store().await?;
            let mut object = match store.get(name).await {
                Ok(object) => object,
                Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(unavailable(error)),
            };
            Ok(read_whole(&mut object).await.unwrap_or_else(|damage| {
                tracing::warn!(name, %damage, "a snapshot is damaged");
                None
            }))
        };
        timed(get).await
    }
}

/// Its parts may be missing or not match its digest: a snapshot is only a shortcut.
async fn read_whole(object: &mut Object) -> Result<Option<Bytes>, String> {
    let mut value = Vec::with_capacity(object.info.size);
    let mut part = vec![0; PART];
    loop {
        // Not `read_to_end`: the object reports a wrong digest together with the last bytes, which that takes for a fault of its own.
        match tokio::time::timeout(SILENCE, object.read(&mut part)).await {
            Ok(Ok(0)) => break,
            Ok(Ok(read)) => value.extend_from_slice(&part[..read]),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no part of it for {SILENCE:?}")),
        }
    }
    if value.len() == object.info.size {
        Ok(Some(Bytes::from(value)))
    } else {
        Err(format!("{} bytes of {}", value.len(), object.info.size))
    }
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
