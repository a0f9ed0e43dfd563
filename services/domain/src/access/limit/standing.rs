//! Where a holder stands under its policies: what headers and errors are written from.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Window;
use crate::access::plan::Policy;
use crate::time::Timestamp;

/// Which holder a policy counts for, as clients see it: the first bytes of a hash, so that it tells partitions apart and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionKey(pub [u8; 8]);

impl PartitionKey {
    /// Of the holder's id.
    #[must_use]
    pub fn of(holder: &str) -> Self {
        let mut key = [0; 8];
        for (to, from) in key.iter_mut().zip(Sha256::digest(holder.as_bytes())) {
            *to = from;
        }
        Self(key)
    }
}

/// One policy and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    /// The policy.
    pub policy: Arc<Policy>,
    /// For whom.
    pub partition: PartitionKey,
    /// An estimate of the requests still admitted in this window, never above the quota: exact with one gateway.
    pub remaining: u64,
    /// The window.
    pub window: Window,
    /// Did it refuse the request?
    pub violated: bool,
}

/// What applies to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is counted.
    Unlimited,
    /// These policies.
    Metered(Vec<Meter>),
}

impl Standing {
    /// The policies; none when unlimited.
    #[must_use]
    pub fn meters(&self) -> &[Meter] {
        match self {
            Self::Unlimited => &[],
            Self::Metered(meters) => meters,
        }
    }
}

/// A request is over a limit. At least one meter is violated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// All policies that apply.
    pub meters: Vec<Meter>,
}

impl Limited {
    /// The policies that refuse.
    pub fn violated(&self) -> impl Iterator<Item = &Meter> {
        self.meters.iter().filter(|meter| meter.violated)
    }

    /// Seconds after which the request may be repeated: no violated policy begins a window later.
    #[must_use]
    pub fn retry_after_s(&self, now: Timestamp) -> u64 {
        self.violated()
            .map(|meter| super::headers::delta_s(meter.window, now))
            .max()
            .unwrap_or(1)
            .max(1)
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rate limit exceeded: ")?;
        for (index, meter) in self.violated().enumerate() {
            let policy = &meter.policy;
            let comma = if index > 0 { ", " } else { "" };
            let (name, q, w) = (&policy.name, policy.q(), policy.window_s);
            write!(f, "{comma}{name} admits {q} requests in {w} s")?;
        }
        Ok(())
    }
}

impl std::error::Error for Limited {}
