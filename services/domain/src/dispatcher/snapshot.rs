//! Serialised dispatchers: they shorten a replay, and are discarded whenever they cannot be read.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::Dispatcher;
use super::action::Compartment;
use super::dedup::{Past, Remembered};
use super::epochs::Epochs;
use super::host_record::HostRecord;
use super::hosts::Hosts;
use super::keyed::Sharing;
use super::keys::{Keys, Learned};
use super::lanes::{Lane, Lanes};
use super::members::Followers;
use super::open::Open;
use super::open_tasks::OpenTasks;
use super::orders::Orders;
use super::packed::{Packer, Unpacker};
use crate::id::TaskId;
use crate::limit::LimitId;
use crate::seq::StreamSeq;
use crate::time::Elapsed;

/// Of the snapshots that are written. Those of other versions than this one and [`WHOLE`] are not
/// read: the log has everything.
const VERSION: u32 = 4;
/// Of earlier snapshots, which are not packed.
const WHOLE: u32 = 3;

/// Number of tasks in a block.
const TASKS_IN_BLOCK: usize = 1_000;

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

/// Everything but the tasks, which follow in further blocks.
#[derive(Serialize)]
struct Written<'a> {
    position: StreamSeq,
    lanes: &'a Lanes,
    tasks: usize,
    hosts: Vec<(Compartment, HostRecord)>,
    remembered: Vec<&'a Past>,
    pauses: Vec<&'a Learned>,
}

/// Of a packed snapshot the number of its tasks, of an earlier one these themselves.
#[derive(Deserialize)]
struct Stored<Tasks> {
    position: StreamSeq,
    lanes: Lanes,
    tasks: Tasks,
    /// Missing in older snapshots.
    #[serde(default)]
    hosts: Vec<(Compartment, HostRecord)>,
    /// Missing in older snapshots.
    #[serde(default)]
    remembered: Vec<Past>,
    /// Missing in older snapshots.
    #[serde(default)]
    pauses: Vec<Learned>,
}

/// Room for tasks that is made before the first of them is read: a damaged snapshot may claim any
/// number.
const MOST_AT_ONCE: usize = 1 << 20;

/// The tasks, read straight into their place, and what is worked out of each while it is at hand:
/// going through a million of them again takes longer than it seems, since none is in a cache by
/// then. Through a list that grows, a takeover of a million tasks would spend most of its time on
/// getting and clearing memory for copies.
#[derive(Default)]
struct Tasks {
    by_id: OpenTasks,
    orders: Orders,
    sharing: Sharing,
    followers: Followers,
    epochs: Epochs,
    owed_bytes: u64,
    /// Of each task, in no particular order.
    lanes: Vec<Lane>,
}

impl Tasks {
    fn with_capacity(claimed: usize) -> Self {
        let at_once = claimed.min(MOST_AT_ONCE);
        Self {
            by_id: OpenTasks::with_capacity(at_once),
            lanes: Vec::with_capacity(at_once),
            ..Self::default()
        }
    }

    /// Whether its id is new.
    fn enter(&mut self, id: TaskId, task: Open) -> bool {
        self.orders.enter(id, &task);
        self.sharing.enter(id, &task);
        self.followers.enter(id, &task);
        self.epochs.enter(&task);
        self.owed_bytes = self.owed_bytes.saturating_add(u64::from(task.bytes));
        self.lanes.push(task.lane);
        self.by_id.insert(id, task).is_none()
    }
}

impl<'de> Deserialize<'de> for Tasks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tasks = Self::default();
        Block(&mut tasks).deserialize(deserializer)?;
        Ok(tasks)
    }
}

/// Reads a list of tasks into their place.
struct Block<'a>(&'a mut Tasks);

impl<'de> DeserializeSeed<'de> for Block<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Block<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tasks")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some((id, task)) = list.next_element()? {
            if !self.0.enter(id, task) {
                return Err(A::Error::custom(format_args!("{id} is there twice")));
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "so that it can be given to map_err"
)]
fn damaged(why: impl ToString) -> SnapshotError {
    SnapshotError::Damaged(why.to_string())
}

/// Reads a packed snapshot.
fn unpack(state: &[u8]) -> Result<Stored<Tasks>, SnapshotError> {
    let mut blocks = Unpacker::new(state);
    let head = blocks.block().map_err(damaged)?;
    let head = head.ok_or_else(|| damaged("it is empty"))?;
    let head: Stored<usize> = rmp_serde::from_slice(head).map_err(damaged)?;
    let mut tasks = Tasks::with_capacity(head.tasks);
    while let Some(block) = blocks.block().map_err(damaged)? {
        let mut block = rmp_serde::Deserializer::from_read_ref(block);
        Block(&mut tasks).deserialize(&mut block).map_err(damaged)?;
    }
    if tasks.by_id.len() != head.tasks {
        let found = tasks.by_id.len();
        return Err(damaged(format_args!("{found} of {} tasks", head.tasks)));
    }
    Ok(Stored {
        position: head.position,
        lanes: head.lanes,
        tasks,
        hosts: head.hosts,
        remembered: head.remembered,
        pauses: head.pauses,
    })
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
        let mut blocks = Packer::new(VERSION.to_be_bytes().to_vec());
        blocks.push(&Written {
            position: self.snapshot_position(),
            lanes: &self.lanes,
            tasks: tasks.len(),
            hosts: self.hosts.records(),
            remembered: self.remembered.all().collect(),
            pauses: self.keys.own_pauses().collect(),
        })?;
        for block in tasks.chunks(TASKS_IN_BLOCK) {
            blocks.push(&block)?;
        }
        Some(blocks.finish())
    }

    /// Reads what [`Dispatcher::snapshot`] wrote; replay continues after its position.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let Some((version, state)) = bytes.split_first_chunk::<4>() else {
            return Err(damaged("it is too short"));
        };
        let stored = match u32::from_be_bytes(*version) {
            VERSION => unpack(state)?,
            WHOLE => rmp_serde::from_slice(state).map_err(damaged)?,
            found => return Err(SnapshotError::Version { found }),
        };
        let Tasks {
            by_id: tasks,
            orders,
            sharing,
            followers,
            epochs,
            owed_bytes,
            lanes,
        } = stored.tasks;
        if lanes.iter().any(|lane| !stored.lanes.holds(*lane)) {
            return Err(damaged("a task is in no queue"));
        }
        let mut remembered = Remembered::default();
        for past in stored.remembered {
            remembered.insert(past, None);
        }
        let mut keys = Keys::default();
        for pause in stored.pauses {
            let limit = LimitId::of(&pause.team, &pause.key);
            keys.learn(limit, pause, true, Elapsed::default());
        }
        Ok(Self {
            keys,
            remembered,
            orders,
            sharing,
            followers,
            epochs,
            owed_bytes,
            lanes: stored.lanes.indexed(lanes.into_iter()),
            tasks,
            position: stored.position,
            hosts: Hosts::restore(stored.hosts),
            ..Self::new()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{TaskCreated, TaskEvent, samples};
    use crate::partition::Partition;
    use crate::time::Timestamp;

    /// Enough tasks for three blocks, some of them gone again.
    fn dispatcher() -> Dispatcher {
        let sample = samples::task_events()
            .into_iter()
            .find_map(|event| match event {
                TaskEvent::Created(created) => Some(*created),
                _ => None,
            })
            .expect("a creation among the samples");
        let mut dispatcher = Dispatcher::new();
        for number in 1..=2_500_u64 {
            let created = TaskCreated {
                id: TaskId::new(Timestamp(0), number.into(), Partition::default()),
                ..sample.clone()
            };
            let event = TaskEvent::Created(Box::new(created));
            dispatcher.apply(StreamSeq(number), None, &event);
        }
        dispatcher
    }

    fn tasks(dispatcher: &Dispatcher) -> Vec<(TaskId, Open)> {
        let tasks = dispatcher.tasks.iter();
        let mut tasks: Vec<_> = tasks.map(|(id, task)| (*id, task.clone())).collect();
        tasks.sort_unstable_by_key(|(_, task)| task.created);
        tasks
    }

    #[test]
    fn tasks_come_back_from_all_blocks_and_take_little_room() {
        let before = dispatcher();
        let snapshot = before.snapshot().expect("nothing is in flight");
        let each = snapshot.len() / 2_500;
        assert!(each < 120, "{each} bytes for each task");
        let after = Dispatcher::restore(&snapshot).expect("it is whole");
        assert_eq!(tasks(&after), tasks(&before));
        assert_eq!(after.position(), before.position());
        assert_eq!(after.owed(), before.owed());
    }

    #[test]
    fn a_snapshot_of_before_they_were_packed_is_read() {
        let before = dispatcher();
        let stored = tasks(&before);
        let earlier = (
            before.snapshot_position(),
            &before.lanes,
            stored
                .iter()
                .map(|(id, task)| (id, task))
                .collect::<Vec<_>>(),
        );
        let mut snapshot = WHOLE.to_be_bytes().to_vec();
        rmp_serde::encode::write(&mut snapshot, &earlier).expect("encoded");
        let after = Dispatcher::restore(&snapshot).expect("it is whole");
        assert_eq!(tasks(&after), stored);
        assert_eq!(after.position(), before.position());
    }

    #[test]
    fn a_snapshot_that_lacks_or_repeats_a_block_is_damaged() {
        let snapshot = dispatcher().snapshot().expect("nothing is in flight");
        let mut ends = Vec::new();
        let mut blocks = Unpacker::new(&snapshot[4..]);
        while blocks.block().expect("it is whole").is_some() {
            ends.push(snapshot.len() - blocks.left());
        }
        assert_eq!(ends.len(), 4, "everything else, and three blocks of tasks");
        let damaged = |bytes: &[u8]| {
            let found = Dispatcher::restore(bytes).err();
            assert!(
                matches!(found, Some(SnapshotError::Damaged(_))),
                "{found:?}"
            );
        };
        damaged(&snapshot[..4]);
        ends[..3].iter().for_each(|end| damaged(&snapshot[..*end]));
        damaged(&[&snapshot[..], &snapshot[ends[2]..]].concat());
        damaged(&snapshot[..snapshot.len() - 1]);
    }
}
