//! Event streams: what happens to tasks, sent to subscribers as it happens. Knows no HTTP.
//!
//! One tail of TASKS per gateway ([`hub`]) is fanned out in memory to the listeners on its [`roster`]. Each open stream is a
//! [`subscription`]: a cursor over the log that reads history until it has caught up, then follows the hub. The `id:` of an
//! event is its position in the log, so any gateway can resume what another one began. What subscribers see of an event is
//! decided in [`view`], completed from [`known_labels`] and written by [`frame`] ([`output`] is what goes out before it is written); which events they see, in [`filter`]; how many may listen, in
//! [`slots`]. [`watch`] waits for one task. [`described`] names the events for descriptions of the API.

mod described;
mod filter;
pub mod frame;
mod hub;
mod known_labels;
mod labels;
mod output;
mod roster;
mod slots;
mod subscription;
mod view;
mod watch;

#[cfg(test)]
mod tests;

pub use described::TaskEventType;
pub use filter::{BadParameter, EventFilter};
pub use frame::{End, Gap};
pub use hub::{Hub, HubLimits, JoinError, Live};
pub use labels::{LabelSource, Labels};
pub use output::Output;
pub use roster::Reads;
pub use slots::{NoRoom, Slot, Slots};
pub use subscription::{HEARTBEAT, Remainder, StillValid, Subscription};
pub use view::{Step, TaskEventView, short_type, stream_name};
pub use watch::TaskWatch;
