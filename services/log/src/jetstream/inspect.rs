//! A look at a server from outside, for `waybill doctor`: what there is, how it differs from what is needed, and nothing changed.

use serde_json::Value;
use waybill_domain::time::Timestamp;

use super::api::{ApiError, code};
use super::config::NatsConfig;
use super::connect::{ConnectError, open_api};
use super::provision::{Difference, Fields, compare, expected};
use super::sizes::Storage;

/// What a server says of itself.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Version of the nats-server that answered.
    pub version: String,
    /// The server's wall clock when it answered.
    pub clock: Option<Timestamp>,
    /// Bytes that JetStream has stored in files, and how many it may.
    pub storage: Storage,
    /// Each stream that Waybill needs.
    pub streams: Vec<InspectedStream>,
}

/// A stream that Waybill needs.
#[derive(Debug, Clone)]
pub struct InspectedStream {
    pub name: String,
    /// Whether it is as it must be.
    pub state: StreamState,
}

/// Whether a stream is as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamState {
    /// It is as it must be.
    Good {
        /// Bytes of its messages.
        bytes: u64,
        /// Bytes that it may hold; `None`: as many as the server.
        max_bytes: Option<u64>,
    },
    /// It will be made by the next start of a role that may.
    Missing,
    /// A start refuses it.
    Differs(Vec<Difference>),
    /// The server did not say.
    Unknown(String),
}

/// Looks at the server and at its streams.
///
/// # Errors
/// When no fit server is there, or the configuration asks for what cannot be.
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

/// A limit of JetStream: -1 says that there is none.
fn limit(value: &Value) -> Option<u64> {
    value.as_u64().filter(|&limit| limit > 0)
}
