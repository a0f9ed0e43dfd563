//! Read models of the log, and their query service.

pub mod client;
pub mod query;

pub use client::{Answered, QueryClient, QueryError};
