//! Who is asking: API keys, checked in memory without a network call.
//!
//! - [`follow`] tails CONTROL and feeds what it reads to both copies.
//! - [`store`] is the copy on disk (sled), which makes a start fast. It is disposable.
//! - [`directory`] is the hot copy, complete, asked on every request.
//! - [`credential`] finds the key in a request, [`caller`] is the extractor that every route begins with, [`needs`] names what a
//!   route requires.

pub mod caller;
pub mod credential;
pub mod directory;
pub mod follow;
pub mod needs;
pub mod store;

pub use caller::Caller;
pub use directory::{Directory, KeyView};
pub use follow::{Auth, NotAppliedYet};
