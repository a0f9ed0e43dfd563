//! Snapshots in the object store `snapshots`.

use async_nats::jetstream;
use async_nats::jetstream::object_store::{GetErrorKind, ObjectStore};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::AsyncReadExt;

use super::api::Api;
use crate::ReadError;

/// The store.
const BUCKET: &str = "snapshots";
/// Storing or reading one may take so long; a large one takes seconds.
const DEADLINE: Duration = Duration::from_secs(60);

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
            let mut value = Vec::new();
            match object.read_to_end(&mut value).await {
                Ok(_) => Ok(Some(Bytes::from(value))),
                Err(error) => {
                    // Its parts are missing or do not match its digest. A snapshot is only a shortcut.
                    tracing::warn!(name, %error, "a snapshot is damaged");
                    Ok(None)
                }
            }
        };
        timed(get).await
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
