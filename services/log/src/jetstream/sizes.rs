//! Sizes and limits of the streams: for metrics and alerts, and for dividing the space of a server
//! among them.

use serde_json::{Value, json};

use super::{JetStreamLog, provision};
use crate::{ReadError, Stream};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSize {
    pub stream: String,
    /// Bytes stored.
    pub bytes: u64,
    /// Limit of the bytes; `None`: no limit of its own.
    pub max_bytes: Option<u64>,
}

/// The file storage of all streams together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// Bytes stored now.
    pub used: u64,
    /// Limit of the bytes; `None`: the server sets no limit for this account.
    pub limit: Option<u64>,
}

impl Storage {
    /// Reads the server's description of an account.
    pub(super) fn of(account: &Value) -> Self {
        // With one tier for each number of replicas, the disk holds their sum.
        let tiers = account["tiers"].as_object().into_iter().flatten();
        let tiered: u64 = tiers.filter_map(|(_, tier)| tier["storage"].as_u64()).sum();
        Self {
            used: account["storage"].as_u64().unwrap_or(0).max(tiered),
            // Unlimited is -1, which `as_u64` does not return.
            limit: account["limits"]["max_storage"]
                .as_u64()
                .filter(|&limit| limit > 0),
        }
    }
}

impl JetStreamLog {
    /// The file storage of all streams together, and its limit.
    pub async fn storage(&self) -> Result<Storage, ReadError> {
        let account = self.shared.api.call("INFO", &Value::Null).await?;
        Ok(Storage::of(&account))
    }

    /// The size and the limit of each stream.
    pub async fn sizes(&self) -> Result<Vec<StreamSize>, ReadError> {
        let mut sizes = Vec::new();
        for stream in provision::names() {
            let info = self.info(&stream).await?;
            sizes.push(StreamSize {
                bytes: info["state"]["bytes"].as_u64().unwrap_or(0),
                // Unlimited is -1, which `as_u64` does not return.
                max_bytes: info["config"]["max_bytes"]
                    .as_u64()
                    .filter(|&bytes| bytes > 0),
                stream,
            });
        }
        Ok(sizes)
    }

    /// Raises the limit of a stream. A stream that already has that limit, or stores more than it,
    /// is left as it is: the server would remove the excess, whatever it is.
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

    /// Lowers the limit of TASKS. Nothing is lost, since a full TASKS refuses new messages and
    /// keeps old ones.
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
