//! Who shares the slots of a call.

use sha2::{Digest, Sha256};

use crate::health::TargetHost;
use crate::id::TeamId;
use crate::task::cause;

/// Who shares the slots of a call: one part belongs to the team, one to the called host. Hashes
/// stand for both, so that nothing has to be stored for hosts that are no longer called.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct Compartment {
    /// Hash of the team.
    pub team: u64,
    /// Hash of the called host and port.
    pub host: u64,
}

impl Compartment {
    /// A host of a team in its environment.
    #[must_use]
    pub fn of(team: &TeamId, host: &TargetHost) -> Self {
        Self {
            team: Self::team(team),
            host: number("host", host.as_str()),
        }
    }

    #[must_use]
    pub fn team(team: &TeamId) -> u64 {
        number("team", team.as_str())
    }

    /// Hash of a URL's host and port. The URL must be valid. A different spelling of a host has a
    /// different hash, which only gives it a share of its own within that of its team.
    #[must_use]
    pub fn host(url: &str) -> u64 {
        number("host", &cause::host(url))
    }
}

/// A collision-resistant hash, since clients choose the hosts.
pub(crate) fn number(kind: &str, name: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(kind)
        .chain_update([0])
        .chain_update(name)
        .finalize();
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}
