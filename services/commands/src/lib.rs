//! Commands: the only way in which gateways and the command line change CONTROL.
//!
//! A command is decided from the history of its own aggregate, and appended on the condition that
//! no other writer was faster. The team is the unit of consistency, so a rule such as 'one key on
//! the free plan' holds with any number of gateways. This crate does not answer who may do what:
//! gateways keep a copy of CONTROL for that.
//!
//! - [`ControlWriter`] loads, decides and appends, and starts over if another writer was faster.
//! - `keys` has its commands about API keys; `bootstrap` creates the first team and its first key.
//! - [`Pepper`] is the secret under which credentials are hashed; [`entropy`] supplies the time and
//!   the randomness that the pure core takes as arguments.

mod bootstrap;
pub mod entropy;
mod error;
mod keys;
mod organizations;
mod pepper;
mod sign_in_link;
mod writer;

pub use bootstrap::{Bootstrap, BootstrapError, bootstrap_team};
pub use error::{CommandError, ControlError, LoadError};
pub use keys::{ChangedKey, KeyWish, NewKey};
pub use organizations::{JOBS_BRAND, OrganizationWish};
pub use pepper::{BadPepper, Pepper};
pub use sign_in_link::{NoLink, SignInLink};
pub use writer::{Author, ControlWriter, Loaded};
