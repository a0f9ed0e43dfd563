//! Health of targets: by which rule a team lets a failing host rest.
//!
//! [`HealthRule`] is what a team sets, [`HostRecord`](crate::dispatcher::HostRecord) what the events
//! of a partition say about a host, and a host is ill if the record breaks the rule. Nothing else is
//! stored: whoever reads the same events by the same rule finds the same hosts ill.

mod host;
mod rule;

pub use host::{InvalidHost, TargetHost};
pub use rule::{
    FailureShare, HealthRule, MAX_DISABLE_MS, MAX_IN_A_ROW, MAX_PAUSE_MS, MIN_DISABLE_MS,
    MIN_PAUSE_MS, WINDOW,
};
