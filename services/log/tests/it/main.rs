//! The log as its users see it: one conformance suite over both implementations, then what only a real server can show.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod attacks;
mod cluster;
mod conformance;
mod counters;
mod erasure;
mod faults;
mod fixture;
mod frames;
mod hints;
mod leader_kill;
mod lost_answers;
mod mail;
mod malformed;
mod overtaken;
mod parted_copy;
mod permissions;
mod provisioning;
mod rogue_server;
mod server;
mod snapshots;
mod tallies;
mod transport;
mod trust;
mod vault_keys;
mod vault_permissions;
