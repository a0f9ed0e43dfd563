//! Number and limit of another process's file descriptors.

use std::fs;

use anyhow::Result;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// Number of open descriptors of a process.
pub fn open_descriptors(of: Pid) -> Result<u64> {
    let open = fs::read_dir(format!("/proc/{}/fd", of.as_raw_nonzero()))?;
    Ok(open.count() as u64)
}

/// Sets a process's limit of open descriptors, and returns the previous one. The hard limit stays,
/// since only root could raise it again.
pub fn limit_descriptors(of: Pid, to: u64) -> Result<u64> {
    let limit = Rlimit {
        current: Some(to),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let before = prlimit(Some(of), Resource::Nofile, limit)?;
    Ok(before.current.unwrap_or(u64::MAX))
}
