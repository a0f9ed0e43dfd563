//! The open tasks of a partition by their ids, side by side in memory.
//!
//! A hash map of the tasks themselves has room for up to twice as many, and copies all of them when
//! it grows. With a million tasks that is most of the time of a takeover, and a pause of the owner
//! meanwhile. So the map has only their places, and they lie in chunks that never move.

use std::collections::HashMap;

use super::open::Open;
use crate::id::TaskId;

/// Number of tasks in a chunk.
const CHUNK: usize = 256;

/// Index of a task: its chunk times [`CHUNK`], plus its place in it.
type Place = usize;

#[derive(Debug, Default)]
pub(super) struct OpenTasks {
    places: HashMap<TaskId, Place>,
    /// All are full, up to the last one.
    chunks: Vec<Vec<Option<(TaskId, Open)>>>,
    /// Places that are empty.
    free: Vec<Place>,
}

impl OpenTasks {
    /// With room for so many.
    pub(super) fn with_capacity(tasks: usize) -> Self {
        Self {
            places: HashMap::with_capacity(tasks),
            chunks: Vec::with_capacity(tasks.div_ceil(CHUNK)),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn contains_key(&self, id: &TaskId) -> bool {
        self.places.contains_key(id)
    }

    pub(super) fn get(&self, id: &TaskId) -> Option<&Open> {
        let place = *self.places.get(id)?;
        let entry = self.chunks.get(place / CHUNK)?.get(place % CHUNK)?;
        entry.as_ref().map(|(_, task)| task)
    }

    pub(super) fn get_mut(&mut self, id: &TaskId) -> Option<&mut Open> {
        let place = *self.places.get(id)?;
        self.at(place)?.as_mut().map(|(_, task)| task)
    }

    /// Returns the task that had this id.
    pub(super) fn insert(&mut self, id: TaskId, task: Open) -> Option<Open> {
        if let Some(before) = self.get_mut(&id) {
            return Some(std::mem::replace(before, task));
        }
        let entry = Some((id, task));
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(empty) = self.at(place) {
                    *empty = entry;
                }
                place
            }
            None => self.push(entry),
        };
        self.places.insert(id, place);
        None
    }

    pub(super) fn remove(&mut self, id: &TaskId) -> Option<Open> {
        let place = self.places.remove(id)?;
        let (_, task) = self.at(place)?.take()?;
        if self.places.is_empty() {
            // Gives back what a crowd took, but for a chunk: most partitions have a few tasks, which come and go.
            self.chunks.truncate(1);
            self.chunks.iter_mut().for_each(Vec::clear);
            self.free = Vec::new();
        } else {
            self.free.push(place);
        }
        Some(task)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TaskId, &Open)> {
        let entries = self.chunks.iter().flatten().flatten();
        entries.map(|(id, task)| (id, task))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&TaskId, &mut Open)> {
        let entries = self.chunks.iter_mut().flatten().flatten();
        entries.map(|(id, task)| (&*id, task))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Open> {
        self.iter().map(|(_, task)| task)
    }

    fn at(&mut self, place: Place) -> Option<&mut Option<(TaskId, Open)>> {
        self.chunks.get_mut(place / CHUNK)?.get_mut(place % CHUNK)
    }

    fn push(&mut self, entry: Option<(TaskId, Open)>) -> Place {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let number = self.chunks.len() - 1;
        let last = &mut self.chunks[number];
        last.push(entry);
        number * CHUNK + last.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::dispatcher::lanes::Lane;
    use crate::event::{TaskEvent, samples};
    use crate::partition::Partition;
    use crate::seq::StreamSeq;
    use crate::time::Timestamp;

    fn id(number: u16) -> TaskId {
        TaskId::new(Timestamp(0), number.into(), Partition::default())
    }

    fn task(seq: u64) -> Open {
        let created = samples::task_events()
            .into_iter()
            .find_map(|event| match event {
                TaskEvent::Created(created) => Some(created),
                _ => None,
            });
        Open::new(
            StreamSeq(seq),
            Lane::of(0),
            None,
            &created.expect("a creation among the samples"),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// More than two chunks, and often none at all.
        #[test]
        fn it_holds_what_a_map_would_hold(
            steps in prop::collection::vec((0_u16..600, 0_u8..4, any::<bool>()), 1..1500),
        ) {
            let (mut ours, mut model) = (OpenTasks::default(), HashMap::new());
            for (seq, (number, what, all)) in (1_u64..).zip(steps) {
                let key = id(number);
                if what == 0 && all && number < 6 {
                    for key in model.drain().map(|(key, _)| key).collect::<Vec<_>>() {
                        prop_assert!(ours.remove(&key).is_some());
                    }
                    prop_assert!(ours.chunks.len() <= 1);
                } else if what == 0 {
                    let gone = ours.remove(&key).map(|task| task.created.0);
                    prop_assert_eq!(gone, model.remove(&key));
                } else {
                    let before = ours.insert(key, task(seq)).map(|task| task.created.0);
                    prop_assert_eq!(before, model.insert(key, seq));
                }
                prop_assert_eq!(ours.len(), model.len());
                prop_assert_eq!(ours.contains_key(&key), model.contains_key(&key));
                prop_assert_eq!(ours.get(&key).map(|task| task.created.0), model.get(&key).copied());
            }
            let held: HashMap<_, _> = ours.iter().map(|(id, task)| (*id, task.created.0)).collect();
            prop_assert_eq!(held, model.clone());
            prop_assert_eq!(ours.values().count(), model.len());
            ours.iter_mut().for_each(|(_, task)| task.failures += 1);
            prop_assert!(ours.values().all(|task| task.failures == 1));
        }
    }
}
