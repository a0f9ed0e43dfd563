//! How full each stream is, and what it may take: for metrics, alerts, and for whoever gives out the room of a server.

use serde_json::{Value, json};

use super::{JetStreamLog, provision};
use crate::{ReadError, Stream};

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSize {
    /// Its name.
    pub stream: String,
    /// Bytes stored.
    pub bytes: u64,
    /// Bytes that it may store; `None`: no limit.
    pub max_bytes: Option<u64>,
}

impl JetStreamLog {
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
            "the stream has another share of the disk"
        );
        Ok(())
    }
}
