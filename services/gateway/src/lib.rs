//! The gateway: HTTP in, events out.
//!
//! A request passes the [`edge`], is attributed to a team by [`auth`], and is served by one of the [`faces`], which turns it into an
//! event on the log, a query to a projector or a request to the owner of a partition. [`streams`] follow the log live. The gateway
//! keeps nothing that cannot be rebuilt from the log, so any number of them run side by side.

pub mod access;
pub mod acknowledged;
pub mod asyncapi;
pub mod auth;
pub mod body;
pub mod config;
mod docs;
pub mod edge;
mod entropy;
pub mod error;
pub mod faces;
pub mod fence;
pub mod gateway;
pub mod health;
pub mod limits;
pub mod people;
pub mod query;
pub mod queues;
pub mod refusals;
pub mod replay;
mod router;
mod server;
pub mod state;
pub mod streams;
pub mod usage;
pub mod vault;

pub use access::{
    Bootstrap, BootstrapError, By, ChangedKey, CommandError, ControlError, ControlWriter, KeyWish,
    LoadError, Loaded, NewKey, Pepper, bootstrap_team,
};
pub use config::GatewayConfig;
pub use docs::openapi;
pub use gateway::{Gateway, GatewayParts, StartError};
pub use server::Drained;
pub use state::{AppState, Shared};
