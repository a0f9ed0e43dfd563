//! How full each stream is, and what it may take: for metrics, alerts, and for whoever gives out the room of a server.

use serde_json::{Value, json};

use super::{JetStreamLog, provision};
use crate::{ReadError, Stream};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSize {
    pub stream: String,
    /// Bytes stored.
    pub bytes: u64,
    /// Bytes that it may store; `None`: no limit.
    pub max_bytes: Option<u64>,
}

/// What all streams together take in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Bytes stored now.
    pub used: u64,
    /// Bytes that may be stored; `None`: the server names no limit to this account.
    pub limit: Option<u64>,
}

impl Storage {
    /// As the server tells of an account.
    pub(super) fn of(account: &Value) -> Self {
        // With tiers (replicas), the sum is what matters to a disk.
        let tiers = account["tiers"].as_object().into_iter().flatten();
        let tiered: u64 = tiers.filter_map(|(_, tier)| tier["storage"].as_u64()).sum();
        Self {
            used: account["storage"].as_u64().unwrap_or(0).max(tiered),
            // Unlimited is -1, which is no `u64`.
            limit: account["limits"]["max_storage"]
                .as_u64()
                .filter(|&limit| limit > 0),
        }
    }
}

impl JetStreamLog {
    /// What all streams together take in files, and may take.
    pub async fn storage(&self) -> Result<Storage, ReadError> {
        let account = self.shared.api.call("INFO", &Value::Null).await?;
        Ok(Storage::of(&account))
    }

    /// How full all streams are.
    pub async fn sizes(&self) -> Result<Vec<StreamSize>, ReadError> {
        let mut sizes = Vec::new();
        for stream in provision::names() {
            let info = self.info(&stream).await?;
            sizes.push(StreamSize {
                bytes: info["state"]["bytes"].as_u64().unwrap_or(0),
                // Unlimited is -1, which is no `u64`.
                max_bytes: info["config"]["max_bytes"]
                    .as_u64()
                    .filter(|&bytes| bytes > 0),
                stream,
            });
        }
        Ok(sizes)
    }

    /// Lets a stream take more. What may take that much already, or has no room in it, stays as it is: the server would remove what is
    /// over, whatever it is.
    pub async fn raise(&self, stream: &str, max_bytes: u64) -> Result<(), ReadError> {
        let info = self.info(stream).await?;
        let limit = info["config"]["max_bytes"].as_i64().unwrap_or(-1);
        let used = info["state"]["bytes"].as_u64().unwrap_or(0);
        let has_enough = u64::try_from(limit).is_ok_and(|limit| limit >= max_bytes);
        if has_enough || used > max_bytes {
            return Ok(());
        }
        self.limit(stream, max_bytes, &info).await
    }

    /// Lets TASKS take less. It loses nothing by that, since it refuses what is new when it is full.
    pub async fn lower_tasks(&self, max_bytes: u64) -> Result<(), ReadError> {
        let stream = Stream::Tasks.name();
        let info = self.info(stream).await?;
        self.limit(stream, max_bytes, &info).await
    }

    async fn info(&self, stream: &str) -> Result<Value, ReadError> {
        let verb = format!("STREAM.INFO.{stream}");
        Ok(self.shared.api.call(&verb, &Value::Null).await?)
    }

    async fn limit(&self, stream: &str, max_bytes: u64, info: &Value) -> Result<(), ReadError> {
        let mut config = info["config"].clone();
        config["max_bytes"] = json!(max_bytes);
        let verb = format!("STREAM.UPDATE.{stream}");
        self.shared.api.call(&verb, &config).await?;
        tracing::info!(
            stream,
            max_bytes,
            "the limit of the stream was changed to its share of the disk"
        );
        Ok(())
    }
}
