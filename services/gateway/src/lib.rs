//! The gateway: HTTP in, events out. It assembles the APIs, which are crates of their own, and runs what they stand on.
//!
//! A request passes the layer of `waybill_edge`, is attributed to a team, and is served by one of the APIs, which turns it into an event on
//! the log, a query to a projector or a request to the owner of a partition. The gateway keeps nothing that cannot be rebuilt from the log,
//! so any number of them run side by side.

pub mod asyncapi;
mod docs;
pub mod gateway;
pub mod health;
mod router;
pub mod state;

pub use docs::{openapi, openapi_by_api};
pub use gateway::{Gateway, GatewayParts, StartError};
pub use state::{AppState, Shared};
pub use waybill_edge::GatewayConfig;
pub use waybill_edge::server::Drained;
