//! The worker against real sockets, a real nats-server, and a simulated world.

#![expect(clippy::expect_used, reason = "tests")]

mod callout;
mod captured;
mod delivery;
mod fork;
mod limits;
mod ownership;
mod poison;
mod purge;
mod queues;
mod retention;
mod rig;
mod simulation;
mod vault;
