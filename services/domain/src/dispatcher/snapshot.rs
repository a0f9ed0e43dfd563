//! Serialised dispatchers: they shorten a replay, and are discarded whenever they cannot be read.

use std::collections::HashMap;
use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Dispatcher;
use super::action::Compartment;
use super::dedup::{Past, Remembered};
use super::epochs::Epochs;
use super::host_record::HostRecord;
use super::hosts::Hosts;
use super::keyed::Sharing;
use super::lanes::Lanes;
use super::open::Open;
use super::orders::Orders;
use crate::id::TaskId;
use crate::seq::StreamSeq;

/// Snapshots of other versions are not read: the log has everything.
const VERSION: u32 = 3;

/// Why a snapshot was not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The snapshot was written by another version of the dispatcher.
    #[error("the snapshot has version {found}, not {VERSION}")]
    Version {
        /// Version of the snapshot.
        found: u32,
    },
    /// The snapshot is damaged.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
}

#[derive(Serialize)]
struct Written<'a> {
    position: StreamSeq,
    lanes: &'a Lanes,
    tasks: Vec<(&'a TaskId, &'a Open)>,
    hosts: Vec<(Compartment, HostRecord)>,
    remembered: Vec<&'a Past>,
}

#[derive(Deserialize)]
struct Stored {
    position: StreamSeq,
    lanes: Lanes,
    tasks: Tasks,
    /// Missing in older snapshots.
    #[serde(default)]
    hosts: Vec<(Compartment, HostRecord)>,
    /// Missing in older snapshots.
    #[serde(default)]
    remembered: Vec<Past>,
}

/// Room for tasks that is made before the first of them is read: a damaged snapshot may claim any
/// number.
const MOST_AT_ONCE: usize = 1 << 20;

/// The tasks, read straight into their place. Through a list that grows, a takeover of a million
/// tasks spends most of its time on getting and clearing memory for copies.
struct Tasks(HashMap<TaskId, Open>);

impl<'de> Deserialize<'de> for Tasks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReadTasks)
    }
}

struct ReadTasks;

impl<'de> Visitor<'de> for ReadTasks {
    type Value = Tasks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tasks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tasks, A::Error> {
        let claimed = list.size_hint().unwrap_or(0);
        let mut tasks = HashMap::with_capacity(claimed.min(MOST_AT_ONCE));
        while let Some((id, task)) = list.next_element()? {
            tasks.insert(id, task);
        }
        Ok(Tasks(tasks))
    }
}

impl Dispatcher {
    /// The sequence after which a replay on top of a snapshot made now begins. The state may be
    /// further ahead, but applying events again changes nothing.
    #[must_use]
    pub fn snapshot_position(&self) -> StreamSeq {
        if self.active {
            self.position.min(self.certain)
        } else {
            self.position
        }
    }

    /// The serialised state as of [`Dispatcher::snapshot_position`]. `None` while an append is in
    /// flight: its events may stand before that position without being part of the state.
    #[must_use]
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        if self.is_appending() {
            return None;
        }
        let mut tasks: Vec<_> = self.tasks.iter().collect();
        tasks.sort_unstable_by_key(|(_, task)| task.created);
        let state = Written {
            position: self.snapshot_position(),
            lanes: &self.lanes,
            tasks,
            hosts: self.hosts.records(),
            remembered: self.remembered.all().collect(),
        };
        let mut bytes = VERSION.to_be_bytes().to_vec();
        rmp_serde::encode::write(&mut bytes, &state).ok()?;
        Some(bytes)
    }

    /// Reads what [`Dispatcher::snapshot`] wrote; replay continues after its position.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let Some((version, state)) = bytes.split_first_chunk::<4>() else {
            return Err(SnapshotError::Damaged("it is too short".into()));
        };
        let found = u32::from_be_bytes(*version);
        if found != VERSION {
            return Err(SnapshotError::Version { found });
        }
        let stored: Stored = rmp_serde::from_slice(state)
            .map_err(|error| SnapshotError::Damaged(error.to_string()))?;
        let Tasks(tasks) = stored.tasks;
        let astray = tasks
            .iter()
            .find(|(_, task)| !stored.lanes.holds(task.lane));
        if let Some((id, _)) = astray {
            return Err(SnapshotError::Damaged(format!("{id} is in no queue")));
        }
        let mut orders = Orders::default();
        let mut sharing = Sharing::default();
        let mut epochs = Epochs::default();
        for (id, task) in &tasks {
            orders.enter(*id, task);
            sharing.enter(*id, task);
            epochs.enter(task);
        }
        let mut remembered = Remembered::default();
        for past in stored.remembered {
            remembered.insert(past, None);
        }
        Ok(Self {
            remembered,
            orders,
            sharing,
            epochs,
            owed_bytes: tasks.values().map(|task| u64::from(task.bytes)).sum(),
            lanes: stored.lanes.indexed(tasks.values().map(|task| task.lane)),
            tasks,
            position: stored.position,
            hosts: Hosts::restore(stored.hosts),
            ..Self::new()
        })
    }
}
