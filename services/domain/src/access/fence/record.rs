//! The records of the stream FENCE.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::events;
use crate::seq::StreamSeq;

/// Identifies one run of a gateway or worker. Every start makes another, so that a lease of a
/// former run is never attributed to this one.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct GatewayId(String);

/// The text is not the id of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a gateway's id is 16 lower-case hexadecimal digits")]
pub struct NotAGatewayId;

impl GatewayId {
    /// The id made from 64 random bits.
    #[must_use]
    pub fn new(random: u64) -> Self {
        Self(format!("{random:016x}"))
    }

    /// As text, fit to be a token of a subject.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for GatewayId {
    type Error = NotAGatewayId;

    fn try_from(text: String) -> Result<Self, NotAGatewayId> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 16 && text.bytes().all(is_digit) {
            Ok(Self(text))
        } else {
            Err(NotAGatewayId)
        }
    }
}

impl From<GatewayId> for String {
    fn from(id: GatewayId) -> Self {
        id.0
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What its holder decides under a lease.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LeaseKind {
    /// Requests. A record without a kind belongs to a gateway.
    #[default]
    Gateway,
    /// Whether to send a credential of the vault.
    Worker,
}

impl LeaseKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
        }
    }
}

/// The holder of a lease. A worker that uses a gateway's id is a different holder all the same, so
/// it cannot speak for that gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HolderId {
    pub kind: LeaseKind,
    pub id: GatewayId,
}

/// A gateway or worker takes or renews its lease, or releases it for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseRecord {
    /// Id of the holder, whatever its kind; named so for stored records.
    pub gateway: GatewayId,
    /// Whether the holder is a gateway or a worker.
    #[serde(default)]
    pub kind: LeaseKind,
    /// How far the holder has applied FENCE: an acknowledgement of every mark up to there.
    pub applied: StreamSeq,
    /// How far the holder has applied CONTROL. Other gateways must have applied as much before they
    /// use a lease behind this record.
    pub control: StreamSeq,
    /// The holder no longer decides anything and never will again.
    pub released: bool,
}

/// A right was revoked, and the publisher waits until every holder has applied that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MarkRecord {
    /// The gateway that waits for the barrier.
    pub gateway: GatewayId,
    /// CONTROL must be applied up to this sequence before a lease behind this record is used.
    pub control: StreamSeq,
}

impl HolderId {
    #[must_use]
    pub fn new(kind: LeaseKind, id: GatewayId) -> Self {
        Self { kind, id }
    }
}

impl LeaseRecord {
    #[must_use]
    pub fn holder(&self) -> HolderId {
        HolderId::new(self.kind, self.gateway.clone())
    }
}

events! {
    /// A record of FENCE.
    FenceRecord {
        Lease(LeaseRecord) = "fence.lease.v1",
        Mark(MarkRecord) = "fence.mark.v1",
    }
}

impl FenceRecord {
    /// How far CONTROL must be applied before a lease behind this record is used.
    ///
    /// A worker revokes nothing, so its lease requires nothing: a compromised worker cannot keep
    /// gateways from serving.
    #[must_use]
    pub fn demands(&self) -> StreamSeq {
        match self {
            Self::Lease(lease) => match lease.kind {
                LeaseKind::Gateway => lease.control,
                LeaseKind::Worker => StreamSeq(0),
            },
            Self::Mark(mark) => mark.control,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_their_encoding() {
        let gateway = GatewayId::new(7);
        for record in [
            FenceRecord::Lease(LeaseRecord {
                gateway: gateway.clone(),
                kind: LeaseKind::Gateway,
                applied: StreamSeq(3),
                control: StreamSeq(4),
                released: true,
            }),
            FenceRecord::Mark(MarkRecord {
                gateway,
                control: StreamSeq(4),
            }),
        ] {
            let read = FenceRecord::decode(record.name(), &record.encode());
            assert_eq!(read, Ok(record.clone()));
            assert_eq!(record.demands(), StreamSeq(4));
        }
    }

    #[test]
    fn a_lease_without_a_kind_is_of_a_gateway() {
        #[derive(Serialize)]
        struct Before {
            gateway: GatewayId,
            applied: StreamSeq,
            control: StreamSeq,
            released: bool,
        }
        let before = Before {
            gateway: GatewayId::new(7),
            applied: StreamSeq(3),
            control: StreamSeq(4),
            released: false,
        };
        let stored = rmp_serde::to_vec_named(&before).expect("a plain struct");
        let read = FenceRecord::decode("fence.lease.v1", &stored).expect("a lease");
        assert_eq!(read.demands(), StreamSeq(4));
        assert!(matches!(read, FenceRecord::Lease(lease) if lease.kind == LeaseKind::Gateway));
    }

    #[test]
    fn the_lease_of_a_worker_asks_nothing_of_others() {
        let lease = LeaseRecord {
            gateway: GatewayId::new(7),
            kind: LeaseKind::Worker,
            applied: StreamSeq(3),
            control: StreamSeq(u64::MAX),
            released: false,
        };
        assert_eq!(FenceRecord::Lease(lease).demands(), StreamSeq(0));
    }

    #[test]
    fn what_is_no_id_of_a_gateway_is_refused() {
        for text in [
            "",
            "0",
            "000000000000000G",
            "00000000.0000000",
            "00000000000000000",
        ] {
            assert!(GatewayId::try_from(text.to_owned()).is_err(), "{text}");
        }
        assert_eq!(GatewayId::new(255).as_str(), "00000000000000ff");
    }
}
