//! Records, as they are appended and as they are stored.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use waybill_domain::actor::Origin;
use waybill_domain::audit::Stored;
pub use waybill_domain::seq::StreamSeq;
use waybill_domain::time::Timestamp;
use waybill_domain::trust::Void;

/// The two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Stream {
    /// Teams, keys and everything else that is kept for ever.
    Control,
    /// Tasks, of which old events are purged by age and by bytes.
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
    /// `Wb-Request`, `Wb-Source`, `Wb-Agent`: the request that caused it, when one did.
    pub origin: Option<Origin>,
    /// MessagePack with named fields.
    pub payload: Bytes,
}

/// A record as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position in its stream ([`crate::Positions`]).
    pub seq: StreamSeq,
    /// The position of the record right before it. A reader whose last position is lower has missed
    /// a record.
    pub follows: StreamSeq,
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
    /// The request that caused it, when one did.
    pub origin: Option<Origin>,
    /// `Nats-Msg-Id`, when there is one.
    pub msg_id: Option<String>,
    /// The exact stored form, which signatures and the audit tree need; only for CONTROL and FENCE.
    pub exact: Option<Arc<Exact>>,
    /// MessagePack with named fields.
    pub payload: Bytes,
}

/// Stands for `Wb-Event` in a record whose headers cannot be read.
pub(crate) const DAMAGED_HEADERS: &str = "(unreadable headers)";
/// The same for a frame that cannot be read.
pub(crate) const DAMAGED_FRAME: &str = "(unreadable frame)";
/// The same for an event of a frame.
pub(crate) const DAMAGED_EVENT: &str = "(unreadable event)";

/// The parts of a stored message that [`Record`] does not keep, but its leaf in the audit tree
/// needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exact {
    /// When the server stored it, in nanoseconds since the epoch.
    pub time_ns: i64,
    /// The headers that belong to the leaf, sorted by name.
    pub headers: Vec<(String, String)>,
    /// Why the record does not count, according to the check of its signature when it was read.
    pub void: Option<Void>,
}

impl Record {
    /// Why the record does not count: it lacks a valid signature by a key that may write it there.
    #[must_use]
    pub fn void(&self) -> Option<&Void> {
        self.exact.as_ref()?.void.as_ref()
    }

    /// The record in the form that is hashed into its leaf of the audit tree.
    #[must_use]
    pub fn stored(&self) -> Stored {
        let (time_ns, headers) = match &self.exact {
            Some(exact) => (exact.time_ns, exact.headers.clone()),
            None => (self.time.0.saturating_mul(1_000_000), self.own_headers()),
        };
        Stored {
            seq: self.seq,
            time_ns,
            subject: self.subject.clone(),
            headers,
            payload: self.payload.clone(),
        }
    }

    /// The headers from which the fields were read, sorted by name.
    fn own_headers(&self) -> Vec<(String, String)> {
        let origin = self.origin.as_ref();
        let all = [
            ("Wb-Actor", Some(&*self.actor)),
            (
                "Wb-Agent",
                origin.and_then(|origin| origin.agent.as_deref()),
            ),
            ("Wb-Event", Some(&*self.event)),
            ("Wb-Request", origin.map(|origin| &*origin.request_id)),
            ("Wb-Source", origin.map(|origin| &*origin.source)),
            ("traceparent", self.traceparent.as_deref()),
        ];
        let given = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        given
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}
