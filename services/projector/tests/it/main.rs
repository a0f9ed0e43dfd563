//! The promises of a projector, tested with the in-memory log and with a real nats-server.

mod activity;
mod history;
mod lists;
mod models;
mod notary;
mod poison;
mod running;
mod stats;
