//! The gateway over real HTTP, a real nats-server and a real projector.

mod access;
mod activity;
mod audit;
mod bad_input;
mod drain;
mod edge;
mod fence;
mod forged;
mod hostile;
mod idempotency;
mod keys;
mod limited;
mod limits;
mod log_away;
mod log_full;
mod oauth;
mod owner;
mod people;
mod scopes;
mod signing;
mod streams;
mod tasks;
mod teams;
mod vault;
mod world;
