//! The text of server-sent events (WHATWG HTML, 9.2): what goes over the wire to a subscriber.

use std::fmt::Display;

use bytes::Bytes;
use serde::Serialize;
use waybill_domain::seq::StreamSeq;

/// How long a client waits before it connects again, in milliseconds.
const RETRY_MS: u32 = 2000;

/// An event with its position. JSON has no line break of its own, so `data:` is one line.
pub fn event(id: impl Display, name: &str, data: &impl Serialize) -> Bytes {
    // Writing plain structs of texts and numbers to memory has no way to fail.
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("id: {id}\nevent: {name}\ndata: {data}\n\n"))
}

/// The first thing on every stream: how long to wait before connecting again, and from where.
pub fn opening(position: impl Display) -> Bytes {
    Bytes::from(format!(
        ": after={position}\nretry: {RETRY_MS}\nid: {position}\n\n"
    ))
}

/// Tells a silent stream from a dead one. Its `id:` moves the place to resume from without being an event: a reader whose filter
/// matches rarely comes back near the end of the log, not where its last event was.
pub fn heartbeat(position: impl Display) -> Bytes {
    Bytes::from(format!(": heartbeat\nid: {position}\n\n"))
}

/// The last frame of a stream that the gateway ends early.
pub fn closing(why: &str, position: impl Display) -> Bytes {
    Bytes::from(format!(
        ": {why}\n: resume after={position}\nid: {position}\n\n"
    ))
}

/// Data of the event `gap`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The position that was asked for.
    pub after: u64,
    /// The first position still in the log: what lies between is gone by retention.
    pub first_available: u64,
}

/// Says that events between the two positions are gone by retention.
pub fn gap(after: StreamSeq, first_available: StreamSeq) -> Bytes {
    let data = Gap {
        after: after.0,
        first_available: first_available.0,
    };
    event(StreamSeq(first_available.0.saturating_sub(1)), "gap", &data)
}

/// Data of the event `end`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// The task of which nothing more will come.
    pub task_id: String,
}

/// Says that nothing more will come, so that a client does not connect again.
pub fn end(position: StreamSeq, task_id: String) -> Bytes {
    event(position, "end", &End { task_id })
}
