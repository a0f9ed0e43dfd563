//! What a projector promises, against the in-memory log and against a real nats-server.

mod activity;
mod history;
mod lists;
mod models;
mod notary;
mod poison;
mod running;
