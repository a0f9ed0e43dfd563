//! Credentials of the vault through a whole worker: what targets receive, what the log contains,
//! and what a revocation stops.

mod answers;
mod resolving;
mod revocation;
pub(crate) mod rig;
mod sealed;
