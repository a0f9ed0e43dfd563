//! The calls without HTTP: what REST and gRPC share. Each checks its values, asks for what it needs and tells what came of it.

pub use crate::find::{Standing, standing};
pub use crate::held::until_over;
pub use crate::permission::named as needs_queue;
pub use crate::rest::jobs::claim::{HeldJob, JobsClaim, claim};
pub use crate::rest::jobs::complete::{JobsComplete, complete};
pub use crate::rest::jobs::create::{JobsCreateJob, JobsCreated, create};
pub use crate::rest::jobs::fail::{JobsFail, JobsFailed, fail};
pub use crate::rest::jobs::get::read as get;
pub use crate::rest::jobs::heartbeat::{JobsExtended, JobsHeartbeat, LEASES, extend};
pub use crate::rest::jobs::settle::release;
pub use crate::rest::jobs::stats::{JobsStats, count};
pub use crate::rest::queues::stats::count_queue;
pub use crate::rest::workers::deregister::deregister;
pub use crate::rest::workers::heartbeat::{JobsBeatHeard, JobsWorkerBeat, hear};
pub use crate::rest::workers::register::{JobsRegisterWorker, JobsRegistered, register};
pub use crate::rules::queue as queue_name;
