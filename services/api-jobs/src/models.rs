//! What clients get: jobs as they are read, and as they stand in lists.

pub mod job;
pub mod status;
pub mod summary;
