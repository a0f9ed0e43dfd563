//! Revocation that holds on every gateway from the moment it is answered: leases, marks and a
//! barrier (docs/design/access.md, "Leases, marks and the barrier").
//!
//! A gateway decides requests from its own copy of CONTROL, which may lag behind. Two rules make
//! that safe. A gateway decides only while it holds a lease, a record in the stream FENCE that it
//! renews continually. And whoever revokes a right publishes a mark in the same stream, which says
//! how far CONTROL must be applied, and answers only once every gateway has applied that much or
//! can no longer hold a lease. All records of FENCE are in one order, so a lease stands either
//! behind the mark, and is then usable only with the mark's effect applied, or before it, and then
//! the barrier waits for its gateway.
//!
//! - [`timing`] has the constants, and the clock that measures them.
//! - [`record`] defines what FENCE stores: leases and marks. A lease also acts as a mark: it says
//!   how far its own gateway has applied CONTROL. An event whose mark was never published because
//!   its revoker died is therefore covered within one renewal.
//! - [`position`] tracks how far a gateway has read FENCE and applied what the marks there require.
//!   A record that requires more than CONTROL holds was written in a history that was lost. What it
//!   requires is capped by an event that is appended to CONTROL after the record was read, since
//!   whatever an honest record requires was stored before the record.
//! - [`lease`] tracks until when a gateway may decide. A lease starts with an event of the
//!   gateway's own on CONTROL: a gateway that has applied that event has applied everything
//!   acknowledged before it, including what marks required that FENCE has already deleted.
//! - [`holders`] is the set of lease holders as a revoker knows it. [`barrier`] is one wait for all
//!   of them.
//!
//! Workers hold leases too: before they send a credential of the vault, they decide that it has not
//! been revoked. The barrier waits for them as it does for gateways, but they publish no marks, and
//! what their records say about CONTROL requires nothing of others.
//!
//! Nothing here reads a clock or sends anything. The simulation in this folder drives these state
//! machines through partitions, stalled readers, drifting clocks and crashes, and shows for each
//! rule that a revoked credential is accepted once the rule is switched off.

pub mod barrier;
pub mod holders;
pub mod lease;
pub mod position;
pub mod record;
pub mod timing;

#[cfg(test)]
mod simulation;

pub use barrier::{Barrier, BarrierState};
pub use holders::Holders;
pub use lease::GatewayLease;
pub use position::Position;
pub use record::{FenceRecord, GatewayId, HolderId, LeaseKind, LeaseRecord, MarkRecord};
pub use timing::{FenceTiming, ImpossibleTiming, Uptime};
