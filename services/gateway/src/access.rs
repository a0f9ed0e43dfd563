//! Teams and keys: what changes them.
//!
//! Reading is `auth`'s business, which follows the log. Here a command is decided from the team's own history and appended on the
//! condition that nobody was faster: the team is the unit of consistency, so a rule such as 'one key' holds on any number of gateways.

pub mod bootstrap;
pub mod control;
pub mod pepper;
mod refusal;

pub use bootstrap::{Bootstrap, BootstrapError, bootstrap_team};
pub use control::{
    By, ChangedKey, CommandError, ControlError, ControlWriter, KeyWish, LoadError, Loaded, NewKey,
};
pub use pepper::{BadPepper, Pepper};
