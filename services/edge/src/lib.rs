//! What every API stands on: connections, the context of a request, who asks, limits, errors and answers.
//!
//! - [`server`] accepts connections; [`request`] is the layer that every request passes.
//! - [`auth`] attributes a request to a caller, a [`principal`](principal::Principal); [`limits`], [`refusals`], [`queue_names`] and [`usage`] count what callers do; [`fence`] says whether this
//!   gateway may decide at all.
//! - [`path`], [`body`] and [`query`] read what a client sends, [`filters`] the conditions of lists, [`lenient`] does so with [`warnings`] of what is unknown, [`idempotency`] tells a repeated request; [`error`] is what a client gets when it is
//!   refused, [`sse`] how an event stream is answered, [`iso`] and [`lengths`] how times and lengths of time are written, [`backoff`] and [`jitter`] how pauses are.
//! - [`owners`] asks the owners of all partitions. [`operation`] is how operations are found and answered, which one API begins and another steers. [`turns`] is how gateways do work of
//!   which one at a time is enough.
//! - [`vault`] seals secrets. [`acknowledged`] lets a client read its own writes.
//! - [`Edge`] is all of that in one value: APIs take it as their state, or within theirs.

pub mod acknowledged;
pub mod auth;
pub mod backoff;
pub mod body;
pub mod claims;
pub mod config;
pub mod error;
pub mod fence;
pub mod filters;
pub mod idempotency;
pub mod iso;
pub mod jitter;
pub mod lengths;
pub mod lenient;
pub mod limits;
pub mod operation;
pub mod owners;
pub mod path;
pub mod position;
pub mod principal;
pub mod query;
pub mod queue_names;
pub mod refusals;
pub mod request;
pub mod server;
pub mod sse;
pub mod standing;
pub mod state;
pub mod turns;
pub mod usage;
pub mod vault;
pub mod warnings;
pub mod workers;

pub use config::GatewayConfig;
pub use state::{Edge, EdgeParts};
