//! The faces of the API: each with its own paths and shapes, none with logic of its own.

pub mod activity;
pub mod keys;
pub mod oauth;
pub mod people;
pub mod signing;
pub mod tasks;
pub mod teams;
pub mod tokens;
