//! One suite for all engines.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use waybill_store::{Batch, Checkpoint, Engine, KeyRange, Store, StoreError, Tree};

use crate::fixture::{BY_TEAM, ENGINES, STREAM, TASKS, a_store, at, fill, numbered_batch};

fn on_every_engine(test: impl Fn(&Store)) {
    for engine in ENGINES {
        let (_dir, store) = a_store(engine);
        test(&store);
    }
}

fn keys(store: &Store, tree: Tree, range: &KeyRange) -> Vec<String> {
    let view = store.view().expect("a view");
    view.range(tree, range)
        .expect("a range")
        .map(|row| String::from_utf8(row.expect("a row").0).expect("a text key"))
        .collect()
}

fn with_keys(store: &Store, tree: Tree, keys: &[&str]) {
    let mut batch = Batch::new();
    for key in keys {
        batch.put(tree, *key, *key);
    }
    store.apply(batch).expect("the batch applies");
}

#[test]
fn a_row_reads_back_until_it_is_deleted() {
    on_every_engine(|store| {
        assert_eq!(store.get(TASKS, b"a"), Ok(None));
        let mut batch = Batch::new();
        batch.put(TASKS, "a", "one").put(TASKS, "empty", []);
        store.apply(batch).expect("the batch applies");
        assert_eq!(store.get(TASKS, b"a"), Ok(Some(b"one".to_vec())));
        assert_eq!(store.get(TASKS, b"empty"), Ok(Some(Vec::new())));
        assert_eq!(store.get(BY_TEAM, b"a"), Ok(None), "trees are apart");
        let mut batch = Batch::new();
        batch.delete(TASKS, "a").delete(TASKS, "never there");
        store.apply(batch).expect("the batch applies");
        assert_eq!(store.get(TASKS, b"a"), Ok(None));
    });
}

#[test]
fn the_last_word_on_a_key_within_a_batch_wins() {
    on_every_engine(|store| {
        let mut batch = Batch::new();
        batch.put(TASKS, "a", "one").delete(TASKS, "a");
        batch.delete(TASKS, "b").put(TASKS, "b", "two");
        batch.put(TASKS, "c", "three").put(TASKS, "c", "four");
        assert_eq!(batch.rows(), 3);
        store.apply(batch).expect("the batch applies");
        assert_eq!(store.get(TASKS, b"a"), Ok(None));
        assert_eq!(store.get(TASKS, b"b"), Ok(Some(b"two".to_vec())));
        assert_eq!(store.get(TASKS, b"c"), Ok(Some(b"four".to_vec())));
    });
}

#[test]
fn ranges_are_ordered_bounded_and_go_both_ways() {
    on_every_engine(|store| {
        with_keys(store, TASKS, &["a", "b1", "b2", "b3", "c"]);
        with_keys(store, BY_TEAM, &["0", "b2", "z"]);
        let all = KeyRange::all();
        let b = KeyRange::prefix(b"b");
        assert_eq!(keys(store, TASKS, &all), ["a", "b1", "b2", "b3", "c"]);
        assert_eq!(keys(store, TASKS, &b), ["b1", "b2", "b3"]);
        assert_eq!(
            keys(store, TASKS, &b.clone().descending()),
            ["b3", "b2", "b1"]
        );
        assert_eq!(keys(store, TASKS, &b.clone().after(b"b1")), ["b2", "b3"]);
        assert_eq!(keys(store, TASKS, &b.clone().from(b"b2").to(b"b2")), ["b2"]);
        assert_eq!(
            keys(store, TASKS, &b.clone().before(b"b3").descending()),
            ["b2", "b1"]
        );
        assert_eq!(
            keys(store, TASKS, &all.clone().descending()),
            ["c", "b3", "b2", "b1", "a"]
        );
        assert!(keys(store, TASKS, &b.clone().after(b"b3")).is_empty());
        assert!(keys(store, TASKS, &b.from(b"c")).is_empty());
        assert!(keys(store, TASKS, &all.from(b"z").before(b"a")).is_empty());
    });
}

#[test]
fn keys_at_the_edges_of_the_alphabet_stay_in_their_tree() {
    on_every_engine(|store| {
        let edges: [&[u8]; 5] = [&[0], &[0, 0], &[0x7f], &[0xff], &[0xff; 300]];
        for tree in [TASKS, BY_TEAM] {
            let mut batch = Batch::new();
            for key in edges {
                batch.put(tree, key, key);
            }
            store.apply(batch).expect("the batch applies");
        }
        let view = store.view().expect("a view");
        for tree in [TASKS, BY_TEAM] {
            for (range, expected) in [
                (KeyRange::all(), &edges[..]),
                (KeyRange::prefix(&[0xff]), &edges[3..]),
                (KeyRange::prefix(&[0]), &edges[..2]),
            ] {
                let found: Vec<_> = view
                    .range(tree, &range)
                    .expect("a range")
                    .map(|row| row.expect("a row").0)
                    .collect();
                assert_eq!(found, expected);
            }
        }
    });
}

#[test]
fn each_stream_has_its_own_checkpoint() {
    on_every_engine(|store| {
        assert_eq!(store.checkpoint(STREAM), Ok(None));
        let mut batch = Batch::new();
        batch.checkpoint(STREAM, at(7)).checkpoint("CONTROL", at(3));
        store.apply(batch).expect("the batch applies");
        let mut batch = Batch::new();
        batch.put(TASKS, "a", "b").checkpoint("CONTROL", at(4));
        store.apply(batch).expect("the batch applies");
        assert_eq!(store.checkpoint(STREAM), Ok(Some(at(7))));
        assert_eq!(store.checkpoint("CONTROL"), Ok(Some(at(4))));
        let all = store.checkpoints().expect("checkpoints");
        assert_eq!(all.len(), 2);
        assert_eq!(all.get(STREAM), Some(&at(7)));
        assert_eq!(store.view().expect("a view").checkpoints(), Ok(all));
    });
}

#[test]
fn a_checkpoint_cannot_go_back_within_one_life_of_its_stream() {
    on_every_engine(|store| {
        fill(store, 1..=5);
        let mut batch = Batch::new();
        batch.put(TASKS, "late", "x").checkpoint(STREAM, at(4));
        assert_eq!(
            store.apply(batch),
            Err(StoreError::CheckpointWentBack {
                stream: STREAM.to_owned(),
                at: Box::new(at(5)),
                asked: Box::new(at(4)),
            })
        );
        assert_eq!(store.get(TASKS, b"late"), Ok(None), "nothing was applied");
        let again = Checkpoint {
            seq: 1,
            incarnation: "second".to_owned(),
            fingerprint: None,
        };
        let mut batch = Batch::new();
        batch.checkpoint(STREAM, again.clone());
        store.apply(batch).expect("another life starts over");
        assert_eq!(store.checkpoint(STREAM), Ok(Some(again)));
    });
}

#[test]
fn a_batch_above_the_limit_is_refused_whole_and_the_store_stays_good() {
    on_every_engine(|store| {
        let limit = store.limits().rows;
        let rows = |count: usize| {
            let mut batch = Batch::new();
            for row in 1..count as u64 {
                batch.put(TASKS, row.to_be_bytes(), "x");
            }
            batch.checkpoint(STREAM, at(1));
            assert_eq!(batch.rows(), count);
            batch
        };
        let refused = StoreError::TooManyRows {
            rows: limit + 1,
            limit,
        };
        assert_eq!(store.apply(rows(limit + 1)), Err(refused));
        assert_eq!(store.checkpoint(STREAM), Ok(None));
        assert_eq!(store.get(TASKS, &1_u64.to_be_bytes()), Ok(None));
        store.apply(rows(limit)).expect("the limit itself is fine");
        assert_eq!(store.checkpoint(STREAM), Ok(Some(at(1))));
    });
    let (_dir, sled) = a_store(Engine::Sled);
    assert_eq!(sled.limits().rows, 128);
}

#[test]
fn rows_that_do_not_fit_are_refused_and_the_store_stays_good() {
    on_every_engine(|store| {
        let limits = store.limits();
        let one = |tree, key: usize, value: usize| {
            let mut batch = Batch::new();
            batch.put(tree, vec![b'k'; key], vec![b'v'; value]);
            store.apply(batch)
        };
        assert!(matches!(
            one(TASKS, 0, 1),
            Err(StoreError::KeyLength { len: 0, .. })
        ));
        assert!(matches!(
            one(TASKS, limits.key_len + 1, 1),
            Err(StoreError::KeyLength { .. })
        ));
        assert!(matches!(
            one(TASKS, 1, limits.value_len + 1),
            Err(StoreError::ValueLength { .. })
        ));
        let unknown = StoreError::UnknownTree { tree: "nowhere" };
        assert_eq!(one(Tree::new("nowhere"), 1, 1), Err(unknown.clone()));
        assert_eq!(store.get(Tree::new("nowhere"), b"a"), Err(unknown));
        assert_eq!(one(TASKS, limits.key_len, limits.value_len), Ok(()));
        assert_eq!(store.sync(), Ok(()));
        let value = store
            .get(TASKS, &vec![b'k'; limits.key_len])
            .expect("a read");
        assert_eq!(value.map(|v| v.len()), Some(limits.value_len));
        assert_eq!(store.poisoned(), None);
    });
}

#[test]
fn one_thread_holds_one_view_and_does_not_write_beside_it() {
    on_every_engine(|store| {
        fill(store, 1..=1);
        let view = store.view().expect("a view");
        assert_eq!(store.view().err(), Some(StoreError::ViewOpen));
        assert_eq!(store.apply(numbered_batch(2)), Err(StoreError::ViewOpen));
        assert_eq!(store.digest(TASKS), Err(StoreError::ViewOpen));
        assert_eq!(
            store.checkpoint(STREAM),
            Ok(Some(at(1))),
            "single reads are free"
        );
        let (_dir, other) = a_store(store.engine());
        other
            .apply(numbered_batch(1))
            .expect("another store is another matter");
        drop(view);
        store
            .apply(numbered_batch(2))
            .expect("the thread is free again");
    });
}

#[test]
fn a_view_stays_as_it_was_while_others_write() {
    on_every_engine(|store| {
        fill(store, 1..=10);
        let view = store.view().expect("a view");
        thread::scope(|scope| {
            let writer = scope.spawn(|| fill(store, 11..=20));
            // On sled the writer must wait for the view; on other engines it finishes before the
            // view is read.
            if store.engine() != Engine::Sled {
                writer.join().expect("the writer is done");
            }
            assert_eq!(view.checkpoint(STREAM), Ok(Some(at(10))));
            assert_eq!(
                view.get(TASKS, b"latest"),
                Ok(Some(10_u64.to_be_bytes().to_vec()))
            );
            let rows = view
                .range(BY_TEAM, &KeyRange::all())
                .expect("a range")
                .count();
            assert_eq!(rows, 10);
            drop(view);
        });
        assert_eq!(store.checkpoint(STREAM), Ok(Some(at(20))));
    });
}

#[test]
fn a_view_never_sees_half_a_batch() {
    const BATCHES: u64 = 400;
    on_every_engine(|store| {
        fill(store, 1..=1);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                fill(store, 2..=BATCHES);
                done.store(true, Ordering::Release);
            });
            let mut views = 0;
            loop {
                let last = done.load(Ordering::Acquire);
                crate::fixture::checkpoint_equals_rows(store).expect("the store is good");
                views += 1;
                if last {
                    break;
                }
            }
            assert!(views > 0);
        });
        assert_eq!(store.checkpoint(STREAM), Ok(Some(at(BATCHES))));
    });
}

#[test]
fn equal_rows_have_equal_digests_on_every_engine_and_other_rows_others() {
    let digests: Vec<_> = ENGINES
        .iter()
        .map(|engine| {
            let (_dir, store) = a_store(*engine);
            fill(&store, 1..=300);
            [TASKS, BY_TEAM].map(|tree| store.digest(tree).expect("a digest"))
        })
        .collect();
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
    assert_ne!(digests[0][0], digests[0][1]);

    let (_dir, store) = a_store(Engine::Memory);
    with_keys(&store, TASKS, &["ab"]);
    let before = store.digest(TASKS);
    let mut batch = Batch::new();
    batch.delete(TASKS, "ab").put(TASKS, "a", "bab");
    store.apply(batch).expect("the batch applies");
    assert_ne!(
        store.digest(TASKS),
        before,
        "where a key ends is part of the digest"
    );
}

#[test]
fn clones_are_one_store() {
    on_every_engine(|store| {
        let clone = store.clone();
        fill(&clone, 1..=3);
        assert_eq!(store.checkpoint(STREAM), Ok(Some(at(3))));
        clone.condemn("the clone found a row it cannot decode");
        let poisoned = store.get(TASKS, b"latest");
        assert!(
            matches!(&poisoned, Err(StoreError::Poisoned { why }) if why.contains("cannot decode")),
            "{poisoned:?}"
        );
        assert!(store.poisoned().is_some());
        assert!(store.apply(numbered_batch(4)).is_err());
        assert!(store.sync().is_err());
    });
}
