//! Who may do what: scopes, API keys, teams.

pub mod key;
pub mod scope;
pub mod team;
