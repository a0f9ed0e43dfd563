//! What is stored: records, their sequences and their headers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
pub use waybill_domain::seq::StreamSeq;
use waybill_domain::time::Timestamp;

/// The two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Teams, keys and everything else that is for ever.
    Control,
    /// Tasks, kept by age and bytes.
    Tasks,
}

impl Stream {
    /// The stream's name on the server.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "CONTROL",
            Self::Tasks => "TASKS",
        }
    }
}

/// The value of `Nats-Msg-Id`: the server stores a message with a given id only once within its duplicate window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MsgId(pub String);

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Built by [`crate::subject`], nowhere else.
    pub subject: String,
    /// `Wb-Event`: type and version, such as `task.created.v1`.
    pub event: &'static str,
    /// `Wb-Actor`: who caused it, such as `key:key_4fG7...` or `system:worker`.
    pub actor: String,
    /// `traceparent` (W3C Trace Context) of the cause, when there is one.
    pub traceparent: Option<String>,
    /// MessagePack with named fields.
    pub payload: Bytes,
}

/// A record as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position in its stream.
    pub seq: StreamSeq,
    /// When the server stored it, in milliseconds.
    pub time: Timestamp,
    /// The subject it was stored under.
    pub subject: String,
    /// `Wb-Event`.
    pub event: String,
    /// `Wb-Actor`.
    pub actor: String,
    /// `traceparent`, when there is one.
    pub traceparent: Option<String>,
    /// `Nats-Msg-Id`, when there is one.
    pub msg_id: Option<String>,
    /// MessagePack with named fields.
    pub payload: Bytes,
}
