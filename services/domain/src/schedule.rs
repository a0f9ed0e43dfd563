//! Schedules: when tasks are made by themselves, and what becomes of every instant that is due.
//!
//! [`when`] reads the one field that says when, and tells the instants; [`cron`] is its calendar,
//! [`zone`] what a local time is. [`settle`](settle()) decides, from what the log knows and the time, which
//! instants fire and why others do not; [`course`] holds that for one schedule. [`template`] makes the request for a task of them.
//!
//! Whoever runs a schedule may repeat any of that: a run's name, and so the idempotency key of its
//! task, follows from the schedule, its version and the instant ([`RunId`](crate::recurring::RunId)).
//! What happens while earlier runs have not ended is decided by the owner of the queue's partition,
//! when it reads the task: the runs of a schedule are singletons of one key.

pub mod aggregate;
pub mod course;
pub mod cron;
pub mod settle;
pub mod template;
#[cfg(test)]
mod tests;
pub mod when;
pub mod zone;

pub use aggregate::{Pause, Schedule, ScheduleCommand, ScheduleRefusal};
pub use course::{Course, Step};
pub use settle::{Interval, Settled, Standing, settle};
pub use when::{Due, Oddity, When};
pub use zone::{Zone, zones_version};
