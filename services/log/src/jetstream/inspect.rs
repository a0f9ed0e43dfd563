//! Inspects a server for `waybill doctor`: which streams it has and how they differ from the
//! expected ones. It changes nothing.

use serde_json::Value;
use waybill_domain::time::Timestamp;

use super::api::{ApiError, code};
use super::config::NatsConfig;
use super::connect::{ConnectError, open_api};
use super::provision::{Difference, Fields, compare, expected};
use super::sizes::Storage;

/// The result of inspecting a server.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Version of the nats-server that answered.
    pub version: String,
    /// The server's wall clock when it answered.
    pub clock: Option<Timestamp>,
    /// Bytes that JetStream stores in files, and their limit.
    pub storage: Storage,
    /// All streams that Waybill needs.
    pub streams: Vec<InspectedStream>,
}

/// A stream that Waybill needs.
#[derive(Debug, Clone)]
pub struct InspectedStream {
    pub name: String,
    pub state: StreamState,
}

/// Whether a stream has the expected configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamState {
    /// It has the expected configuration.
    Good {
        /// Bytes of its messages.
        bytes: u64,
        /// Limit of the bytes; `None`: only the server's limit applies.
        max_bytes: Option<u64>,
    },
    /// It does not exist. The next start of a role with the permission creates it.
    Missing,
    /// It has another configuration, with which no role starts.
    Differs(Vec<Difference>),
    /// The server did not answer, for this reason.
    Unknown(String),
}

/// Inspects a server and its streams.
///
/// # Errors
/// If no suitable server answers, or the configuration is impossible.
pub async fn inspect(config: &NatsConfig) -> Result<Inspection, ConnectError> {
    let api = open_api(config).await?;
    let version = api.client().server_info().version;
    let account = api.call("INFO", &Value::Null).await;
    let (mut clock, mut streams) = (None, Vec::new());
    for (name, fields) in expected(&config.streams)? {
        let info = api.call(&format!("STREAM.INFO.{name}"), &Value::Null).await;
        if let Ok(info) = &info {
            clock = info["ts"]
                .as_str()
                .and_then(Timestamp::parse_rfc3339)
                .or(clock);
        }
        let state = state(&name, &fields, info);
        streams.push(InspectedStream { name, state });
    }
    Ok(Inspection {
        version,
        clock,
        storage: Storage::of(&account.unwrap_or_default()),
        streams,
    })
}

fn state(name: &str, expected: &Fields, info: Result<Value, ApiError>) -> StreamState {
    let info = match info {
        Ok(info) => info,
        Err(error) if error.is(code::STREAM_NOT_FOUND) => return StreamState::Missing,
        Err(error) => return StreamState::Unknown(error.to_string()),
    };
    let found = info["config"].as_object().cloned().unwrap_or_default();
    let differences = compare(name, expected, &found);
    if !differences.is_empty() {
        return StreamState::Differs(differences);
    }
    StreamState::Good {
        bytes: info["state"]["bytes"].as_u64().unwrap_or(0),
        max_bytes: limit(&info["config"]["max_bytes"]),
    }
}

/// A limit of JetStream, where -1 means unlimited.
fn limit(value: &Value) -> Option<u64> {
    value.as_u64().filter(|&limit| limit > 0)
}
