//! Usage of a holder under each of its policies: the source of rate-limit headers and errors.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Window;
use crate::access::plan::Policy;
use crate::time::Timestamp;

/// Which holder a policy counts for, as clients see it: the first bytes of a hash, which tells
/// partitions apart and reveals nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionKey(pub [u8; 8]);

impl PartitionKey {
    /// The partition key of a holder's id.
    #[must_use]
    pub fn of(holder: &str) -> Self {
        let mut key = [0; 8];
        for (to, from) in key.iter_mut().zip(Sha256::digest(holder.as_bytes())) {
            *to = from;
        }
        Self(key)
    }
}

/// One policy and the requests left under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meter {
    pub policy: Arc<Policy>,
    /// The holder that the policy counts for.
    pub partition: PartitionKey,
    /// Estimate of the requests that are still admitted in this window, at most the quota. Exact
    /// with one gateway.
    pub remaining: u64,
    pub window: Window,
    /// Whether this policy refused the request.
    pub violated: bool,
}

/// The policies that apply to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Requests are not counted.
    Unlimited,
    /// Every policy that applies, with its usage.
    Metered(Vec<Meter>),
}

impl Standing {
    /// The policies; empty if unlimited.
    #[must_use]
    pub fn meters(&self) -> &[Meter] {
        match self {
            Self::Unlimited => &[],
            Self::Metered(meters) => meters,
        }
    }
}

/// A request exceeds a limit. At least one meter is violated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// Every policy that applies.
    pub meters: Vec<Meter>,
}

impl Limited {
    /// The policies that refuse the request.
    pub fn violated(&self) -> impl Iterator<Item = &Meter> {
        self.meters.iter().filter(|meter| meter.violated)
    }

    /// Seconds until the request may be repeated: by then every violated policy has begun another
    /// window.
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
