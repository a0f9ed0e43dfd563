//! A task: one HTTP call that will be made, however long that takes.
//!
//! [`spec`] says what a client may ask for, [`retry`] what happens after an attempt, [`status`] what a client is told, [`row`]
//! what read models hold, and [`history`] what is remembered of a task's past.
//! The life of a task is in the events (`event::task`); who runs next is the dispatcher's business.

pub mod history;
pub mod retry;
pub mod row;
pub mod spec;
pub mod status;

pub use history::History;
pub use retry::{Backoff, RetryOn};
pub use row::{Damage, TaskRow};
pub use spec::{Invalid, Limits, Method, Priority, TaskRequest, TaskSpec};
pub use status::Status;
