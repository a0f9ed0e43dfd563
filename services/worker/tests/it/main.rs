//! The worker against real sockets and a real nats-server.

#![expect(clippy::expect_used, reason = "tests")]

mod callout;
mod delivery;
mod ownership;
mod rig;
mod simulation;
