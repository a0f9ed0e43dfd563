//! Failing engines, and how the store reacts.

use std::io;

use super::*;
use crate::{
    KeyRange, OpenOptions, OpenReason,
    engine::{RowIter, Snapshot},
};

const TASKS: Tree = Tree::new("tasks");

/// An engine that always fails in a given way.
#[derive(Clone, Copy)]
enum Failing {
    Panics,
    IsCorrupt,
    DiskIsFull,
}

impl Failing {
    fn fail<T>(self) -> Result<T, Fault> {
        match self {
            Self::Panics => panic!("a row of {} pages", 7),
            Self::IsCorrupt => Err(Fault::Corrupt("a checksum differs".to_owned())),
            Self::DiskIsFull => Err(Fault::from_io(io::ErrorKind::StorageFull.into())),
        }
    }
}

impl Storage for Failing {
    fn get(&self, _: TreeIndex, _: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.fail()
    }
    fn apply(&self, _: Vec<Change>) -> Result<(), Fault> {
        self.fail()
    }
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, Fault> {
        Ok(Box::new(*self))
    }
    fn sync(&self) -> Result<(), Fault> {
        self.fail()
    }
    fn verify(&self) -> Result<u64, Fault> {
        Ok(0)
    }
    fn disk_bytes(&self) -> u64 {
        0
    }
}

impl Snapshot for Failing {
    fn get(&self, _: TreeIndex, _: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.fail()
    }
    fn range(&self, _: TreeIndex, _: &KeyRange) -> RowIter<'_> {
        Box::new(std::iter::once_with(|| self.fail()))
    }
}

impl Drop for ClosesLoudly {
    fn drop(&mut self) {
        panic!("closing failed");
    }
}

struct ClosesLoudly;

impl Storage for ClosesLoudly {
    fn get(&self, _: TreeIndex, _: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        Ok(None)
    }
    fn apply(&self, _: Vec<Change>) -> Result<(), Fault> {
        Ok(())
    }
    fn snapshot(&self) -> Result<Box<dyn Snapshot + '_>, Fault> {
        Failing::IsCorrupt.fail()
    }
    fn sync(&self) -> Result<(), Fault> {
        Ok(())
    }
    fn verify(&self) -> Result<u64, Fault> {
        Ok(0)
    }
    fn disk_bytes(&self) -> u64 {
        0
    }
}

fn a_store_over(storage: impl Storage + 'static) -> Store {
    Store::new(Engine::Memory, vec![TASKS], Box::new(storage), None)
}

fn one_row() -> Batch {
    let mut batch = Batch::new();
    batch.put(TASKS, "a", "b");
    batch
}

#[test]
fn the_first_fault_or_panic_is_the_last_answer() {
    type Call = fn(&Store) -> Result<(), StoreError>;
    let calls: [Call; 6] = [
        |store| store.get(TASKS, b"a").map(drop),
        |store| store.apply(one_row()),
        Store::sync,
        |store| store.checkpoint("TASKS").map(drop),
        |store| store.digest(TASKS).map(drop),
        |store| store.view()?.get(TASKS, b"a").map(drop),
    ];
    for failing in [Failing::Panics, Failing::IsCorrupt, Failing::DiskIsFull] {
        for call in calls {
            let store = a_store_over(failing);
            assert_eq!(store.poisoned(), None);
            let first = call(&store);
            assert!(
                matches!(first, Err(StoreError::Poisoned { .. })),
                "{first:?}"
            );
            assert!(store.poisoned().is_some());
            assert_eq!(store.view().err(), first.clone().err());
            assert_eq!(store.get(TASKS, b"a").err(), first.err());
        }
    }
}

#[test]
fn the_message_of_a_panic_is_kept() {
    let store = a_store_over(Failing::Panics);
    let why = store.sync().expect_err("it panics").to_string();
    assert!(why.contains("a row of 7 pages"), "{why}");
}

#[test]
fn a_caller_s_mistake_does_not_end_the_store() {
    let store = a_store_over(Failing::Panics);
    let mut batch = one_row();
    batch.put(Tree::new("nowhere"), "a", "b");
    assert!(matches!(
        store.apply(batch),
        Err(StoreError::UnknownTree { .. })
    ));
    assert_eq!(store.poisoned(), None);
}

#[test]
fn a_panic_while_closing_stays_inside() {
    drop(a_store_over(ClosesLoudly));
}

#[test]
fn a_full_disk_ends_the_store_but_does_not_wipe_it_and_corruption_does() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = OpenOptions::new(Engine::Fjall, 1, &[TASKS]);
    let open = || options.open(dir.path()).expect("the store opens");
    for (fault, wipes) in [
        (Fault::from_io(io::ErrorKind::StorageFull.into()), false),
        (Fault::from_io(io::ErrorKind::UnexpectedEof.into()), true),
        (Fault::Corrupt("a checksum differs".to_owned()), true),
    ] {
        let store = open().store;
        store.apply(one_row()).expect("the batch applies");
        let answer: Result<(), _> = store.shared.with_engine(|_| Err(fault));
        assert!(matches!(answer, Err(StoreError::Poisoned { .. })));
        drop(store);
        let reopened = open();
        assert_eq!(matches!(reopened.reason, OpenReason::Wiped(_)), wipes);
        assert_eq!(
            reopened.store.get(TASKS, b"a").expect("a read").is_none(),
            wipes
        );
    }
}
