//! Who is asking: credentials, checked in memory without a network call.
//!
//! - [`follow`] tails CONTROL and feeds what it reads to both copies.
//! - [`store`] is the copy on disk (sled), which makes a start fast. It is disposable.
//! - [`directory`] is the hot copy, complete, asked on every request.
//! - [`credential`] finds the credential in a request, [`principal`] is who it stands for, [`person`] somebody who is signed in;
//!   [`caller`] is the extractor that every route begins with, [`needs`] names what a route requires, [`named`] which team is meant.
//! - [`reporters`] are those who may report keys that were found in the open.

pub mod admin_key;
pub mod app;
pub mod caller;
pub mod credential;
pub mod directory;
pub mod follow;
mod grants;
pub mod holder;
pub mod key_session;
mod lost;
mod named;
pub mod needs;
mod operations;
mod operator;
mod people;
pub mod person;
pub mod reporters;
mod schedules;
pub mod store;
pub mod stream;
mod until;

pub use crate::principal::Principal;
pub use caller::{Caller, Member};
pub use directory::{Directory, Known, Recognition};
pub use follow::{Auth, NotAppliedYet};
pub use holder::Holder;
pub use operator::Operator;
pub use person::SignedIn;
