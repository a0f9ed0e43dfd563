//! A task: one HTTP call that will be made, however long that takes.
//!
//! [`request`] is what a client wrote, and [`spec`] the same after validation. [`retry`] decides
//! what follows an attempt, [`cancel`] what follows a request to cancel, [`change_priority`] one to change the priority, [`retry_plan`] predicts when attempts may be made, [`status`] is what
//! clients see, [`row`] what read models store, and [`history`] what is remembered of a task's
//! past. [`success`] says which answers count as a success, [`pauses`] which pauses between
//! attempts a task may choose, [`ordering`] which tasks run one after the other, [`once`] which of
//! several run at all, and [`queue_defaults`] what a queue gives to tasks that leave it open.
//! [`pull`] is about tasks that workers claim, [`job`] about what the jobs API makes of them.
//!
//! The life of a task is in its events (`event::task`); the dispatcher decides which task runs
//! next.

pub mod bounds;
pub mod cancel;
pub mod cause;
pub mod change_priority;
pub mod history;
pub mod intervals;
pub mod job;
pub mod length;
pub mod method;
pub mod once;
pub mod ordering;
pub mod pauses;
pub mod priority;
pub mod pull;
pub mod queue_defaults;
pub mod rate_limited;
pub mod request;
pub mod retry;
pub mod retry_plan;
pub mod row;
pub mod run_now;
pub mod spec;
pub mod status;
pub mod steering;
pub mod success;
pub mod waits;

pub use bounds::{Jitter, JitterRequest, RetryBounds};
pub use change_priority::ChangedPriority;
pub use history::History;
pub use job::{JobStatus, JobTerms};
pub use length::Length;
pub use method::Method;
pub use once::{
    Debounce, DebounceMode, DebounceRequest, Dedup, DedupRequest, IfFailed, OnDuplicate, Once,
    Singleton, SingletonMode, SingletonRequest,
};
pub use ordering::{OnFailure, Ordering};
pub use pauses::{BackoffRequest, OwnPauses};
pub use priority::Priority;
pub use pull::{ClaimId, Claimed, LeaseStanding, Progress, Settled};
pub use queue_defaults::{QueueDefaults, QueueDefaultsRequest};
pub use rate_limited::OnRateLimited;
pub use request::{Invalid, Limits, TaskRequest};
pub use retry::{Backoff, RetryOn};
pub use row::{Damage, TaskRow};
pub use spec::{MAX_WEIGHT, TaskSpec};
pub use status::{EndReason, Status};
pub use success::Success;
