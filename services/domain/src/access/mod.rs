//! Who may do what: scopes, plans, API keys, teams.

pub mod key;
pub mod plan;
pub mod scope;
pub mod team;
