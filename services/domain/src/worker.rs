//! Workers that pull: what they are called, what they say about themselves, and how they stand.
//!
//! Nothing of a worker is stored for being alive. What it holds follows from the leases of its tasks;
//! when it was last heard of, and how it described itself, is in the memory of owners and comes back
//! with its next sign of life. Only that somebody drains it is an event
//! ([`crate::access::team::workers`]).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{QueueName, TaskId, TeamId};
use crate::time::Timestamp;

/// Limit of a worker's name, in characters.
pub const MAX_WORKER_CHARS: usize = 100;
/// Bounds of the time between the beats of a worker.
pub const SHORTEST_BEAT: Duration = Duration::from_secs(5);
pub const LONGEST_BEAT: Duration = Duration::from_secs(300);
/// The same of a worker that names none, or never registered: twice the longest wait of a claim.
pub const USUAL_BEAT: Duration = Duration::from_secs(60);
/// After so many beats that did not come a worker counts as lost.
pub const MISSED_BEATS: u32 = 3;
/// How long a worker of which nothing is heard is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(3_600);
/// Limit of workers of a team that each owner remembers, by environment.
pub const MAX_REMEMBERED: usize = 1_000;
/// Longest name of a host, in characters.
pub const MAX_HOST_CHARS: usize = 255;
/// Longest version of a worker, in characters.
pub const MAX_VERSION_CHARS: usize = 50;
/// Most tasks that a worker says it takes at a time.
pub const MAX_TAKEN: u32 = 10_000;
/// How many of the claims of a worker are told.
pub const MAX_TOLD_CLAIMS: usize = 100;

/// Whether a text about a worker has 1 to `most` characters, none of them a control character.
#[must_use]
pub fn is_plain(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// The name of a worker, as it calls itself: 1 to 100 characters without control characters.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct WorkerName(String);

/// The text is no name of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {MAX_WORKER_CHARS} characters without control characters")]
pub struct NoWorkerName;

impl WorkerName {
    /// Checks a name.
    pub fn parse(text: &str) -> Result<Self, NoWorkerName> {
        let fits = is_plain(text, MAX_WORKER_CHARS);
        fits.then(|| Self(text.to_owned())).ok_or(NoWorkerName)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for WorkerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a worker says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The queues whose tasks it takes; empty if it did not say.
    pub queues: Vec<QueueName>,
    /// The machine that it runs on.
    pub host: Option<String>,
    /// What it runs.
    pub version: Option<String>,
    /// How many tasks it takes at a time.
    pub concurrency: Option<u32>,
    /// How often it gives a sign of life, in milliseconds.
    pub beat_ms: u32,
    /// The credential that registered it, in the form of the header `Wb-Actor`.
    pub by: String,
    /// What kind of worker it is, in its words.
    #[serde(default)]
    pub kind: Option<String>,
    /// What else it says about itself, as JSON.
    #[serde(default)]
    pub metadata: Option<String>,
    /// How it does, in its words.
    #[serde(default)]
    pub status: Option<String>,
    /// It has said goodbye, and is shown for a while.
    #[serde(default)]
    pub left: bool,
}

/// A request about workers to the owner of a partition. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkersRequest {
    /// A worker is alive, and describes itself. Only to its home ([`crate::partition::Partition::of_worker`]).
    Beat {
        team: TeamId,
        worker: WorkerName,
        registration: Registration,
    },
    /// A worker is gone.
    Forget { team: TeamId, worker: WorkerName },
    /// How the workers of a team stand in this partition.
    Tell {
        team: TeamId,
        /// Only this one, with its claims; `None`: all, without.
        worker: Option<WorkerName>,
    },
}

/// How workers stand in a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersTold {
    pub workers: Vec<WorkerStanding>,
    /// Whether there are more than fit into a reply.
    pub truncated: bool,
}

/// How a worker stands in a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStanding {
    pub name: String,
    /// When it last claimed, reported or gave a sign of life here; `None`: not lately.
    pub seen: Option<Timestamp>,
    /// As it described itself, if this partition is its home.
    pub registered: Option<Registered>,
    /// Claims that wait for tasks.
    pub waiting: u32,
    /// Tasks that it holds.
    pub held: u32,
    /// The tasks that it holds, by id; at most [`MAX_TOLD_CLAIMS`].
    pub claims: Vec<HeldClaim>,
}

/// A registration, and since when it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// When it was registered; after a takeover of its home, its first beat since.
    pub since: Timestamp,
    pub registration: Registration,
}

/// A task that a worker holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeldClaim {
    pub task: TaskId,
    pub attempt: u32,
    pub queue: QueueName,
    /// When its lease is over without another heartbeat.
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_line_of_text_can_hold() {
        assert!(WorkerName::parse("resizer 1/α").is_ok());
        assert!(WorkerName::parse(&"x".repeat(MAX_WORKER_CHARS)).is_ok());
        for bad in ["", "a\nb", &"x".repeat(MAX_WORKER_CHARS + 1)] {
            assert_eq!(WorkerName::parse(bad), Err(NoWorkerName), "{bad:?}");
        }
    }
}
