//! Revocation that holds on every gateway from the moment it is answered: leases, marks and a barrier (design/access.md 2.6).
//!
//! A gateway decides requests from its own copy of CONTROL, which may lag. Two things make that safe. It decides only while it holds
//! a lease, a record of its own in the stream FENCE that it renews all the time; and who takes a right away publishes a mark in the
//! same stream, which says how far CONTROL must be applied, and answers only once every gateway has come so far or can no longer hold
//! a lease. All records of FENCE stand in one order, so a lease is either behind the mark, and then usable only with the mark's effect,
//! or before it, and then its gateway is waited for.
//!
//! - [`timing`] has the constants, and the reading of a clock that they are measured by.
//! - [`record`] is what stands in FENCE: leases and marks. A lease is a mark too: it says how far its own gateway has applied CONTROL.
//!   So an event whose mark was never published, because its revoker died, is behind a mark within one renewal.
//! - [`position`] is how far a gateway has come: read in FENCE, with all that the marks there ask for applied.
//! - [`lease`] is what a gateway may decide until. It begins with an event of its own on CONTROL: whoever has applied that one has
//!   applied everything acknowledged before it, also what marks that FENCE has forgotten asked for.
//! - [`holders`] is who may hold a lease now, as a revoker knows it. [`barrier`] is one wait for all of them.
//!
//! Workers hold leases too: before they send a credential of the vault they decide that nobody has taken it away. They are waited for
//! like gateways, but raise no marks, and what their records say of CONTROL asks nothing of others.
//!
//! Nothing here reads a clock or sends anything. The simulation beside it drives these very machines through partitions, stalled
//! readers, drifting clocks and crashes, and shows for each rule that without it a revoked credential is accepted.

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
