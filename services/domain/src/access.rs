//! Who may do what: scopes, roles, plans, API keys and other secrets, teams and people.

use crate::event::ControlEvent;
use crate::time::Timestamp;

pub mod email;
pub mod fence;
pub mod grant;
pub mod key;
pub mod limit;
pub mod local_owner;
pub mod name;
pub mod pkce;
pub mod plan;
pub mod proof;
pub mod redirect;
pub mod role;
pub mod scope;
pub mod secret;
pub mod session;
pub mod team;
pub mod token;
pub mod user;

/// A unit of consistency of CONTROL: its commands are decided from its own events, one after the other.
///
/// `evolve` must come to the same state from the latest event of each type on each subject as from all of them, in order: that is
/// what a gateway keeps on disk. So nothing is counted, and what a later event of a type says replaces what an earlier one said.
pub trait Aggregate: Default {
    /// Requests for a change, each decided against the current state.
    type Command: Clone;
    /// What decisions depend on besides the aggregate's own state, such as the plans of the
    /// installation.
    type Rules;
    /// Why a command is refused.
    type Refusal: std::error::Error;

    /// Accepts or refuses a command, and returns the events that follow from it. An empty list
    /// means that the state is already as requested.
    fn decide(
        &self,
        command: Self::Command,
        by: &crate::actor::Actor,
        rules: &Self::Rules,
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, Self::Refusal>;

    /// Applies an event. Never fails: whether it may happen was decided before it was stored.
    fn evolve(&mut self, event: &ControlEvent);
}
