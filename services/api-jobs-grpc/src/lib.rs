//! The jobs API over gRPC: `spooled.v1`, with health and reflection, on the port of HTTP.
//!
//! Each method is a route of its own, so that it passes the same edge as every other request. [`admit`] recognises the caller and reads the
//! message before tonic sees either; [`queue`] and [`worker`] turn messages into the calls that REST has too,
//! [`work`] is what calls and streams share, [`convert`] and [`status`] their
//! values and errors. [`stream_jobs`] and [`process_jobs`] are the two that stay open, [`open`] bounds what strangers may hold open.

mod admit;
mod convert;
mod health;
mod open;
mod process_jobs;
mod proto;
mod queue;
mod routes;
mod state;
mod status;
mod stream_jobs;
mod work;
mod worker;

pub use proto::{FILES, pb};
pub use routes::router;
