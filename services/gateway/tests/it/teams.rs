//! Teams and their people over HTTP: who may do what, from where, and what is told of those who may not.

mod foreign;
mod invitations;
mod joining;
mod life;
mod names;
mod payloads;
pub(crate) mod people;
mod plan;
mod refusals;
mod removed;
mod roles;
mod routes;
mod spelling;
mod task_defaults;
