//! The log as its users see it: one conformance suite over both implementations, then what only a real server can show.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod conformance;
mod fixture;
mod provisioning;
