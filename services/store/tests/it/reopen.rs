//! Opening: what is resumed, what is waited for, and what is wiped.

use std::{fs, thread, time::Duration};

use waybill_store::{
    Engine, OpenError, OpenOptions, OpenReason, StoreError, Tree, Verify, WipeReason,
};

use crate::fixture::{
    BY_TEAM, ON_DISK, STREAM, TASKS, a_store, at, checkpoint_equals_rows, fill, open, options,
};

#[test]
fn a_closed_store_resumes_where_its_checkpoint_is() {
    for engine in ON_DISK {
        let (dir, store) = a_store(engine);
        fill(&store, 1..=200);
        store.sync().expect("the store syncs");
        fill(&store, 201..=250);
        assert!(store.disk_bytes() > 0);
        drop(store);
        let opened = open(engine, dir.path());
        assert_eq!(opened.reason, OpenReason::Resumed);
        assert_eq!(checkpoint_equals_rows(&opened.store), Ok(250));
    }
}

fn opens_as_wiped(options: &OpenOptions, expected: &WipeReason) {
    for engine in ON_DISK {
        let (dir, store) = a_store(engine);
        fill(&store, 1..=20);
        drop(store);
        // The options include the engine, so only one iteration of the loop is a change of the
        // schema alone.
        let opened = options.open(dir.path()).expect("the store opens");
        match &opened.reason {
            OpenReason::Wiped(WipeReason::EngineChanged { found, .. }) => {
                assert_eq!(*found, engine.to_string());
                assert_ne!(opened.store.engine(), engine);
            }
            reason => assert_eq!(*reason, OpenReason::Wiped(expected.clone())),
        }
        assert_eq!(opened.store.checkpoint(STREAM), Ok(None));
        drop(opened);
        let again = options.open(dir.path()).expect("the store opens");
        assert_eq!(again.reason, OpenReason::Resumed);
    }
}

#[test]
fn another_schema_version_or_engine_is_a_wipe() {
    for engine in ON_DISK {
        opens_as_wiped(
            &OpenOptions::new(engine, 2, &[TASKS, BY_TEAM]),
            &WipeReason::SchemaChanged {
                found: 1,
                expected: 2,
            },
        );
    }
}

#[test]
fn another_list_of_trees_is_a_wipe() {
    for engine in ON_DISK {
        let trees = [TASKS, BY_TEAM, Tree::new("by_queue")];
        opens_as_wiped(
            &OpenOptions::new(engine, 1, &trees),
            &WipeReason::TreesChanged,
        );
    }
}

#[test]
fn rows_without_a_whole_manifest_are_wiped() {
    for engine in ON_DISK {
        for harm in ["missing", "cut", "garbage"] {
            let (dir, store) = a_store(engine);
            fill(&store, 1..=20);
            drop(store);
            let manifest = dir.path().join("MANIFEST");
            match harm {
                "missing" => fs::remove_file(&manifest).expect("removed"),
                "cut" => fs::write(&manifest, "waybill-store 1\nengine").expect("written"),
                _ => fs::write(&manifest, [0xff; 99]).expect("written"),
            }
            let opened = open(engine, dir.path());
            assert!(
                matches!(
                    opened.reason,
                    OpenReason::Wiped(WipeReason::ManifestUnreadable(_))
                ),
                "{harm}: {:?}",
                opened.reason
            );
            assert_eq!(checkpoint_equals_rows(&opened.store), Ok(0));
        }
    }
}

#[test]
fn a_condemned_store_is_wiped_by_the_next_open_and_only_by_that() {
    for engine in ON_DISK {
        let (dir, store) = a_store(engine);
        fill(&store, 1..=20);
        store.condemn("verify found a row that differs");
        assert!(matches!(
            store.checkpoint(STREAM),
            Err(StoreError::Poisoned { .. })
        ));
        drop(store);
        let opened = open(engine, dir.path());
        assert_eq!(
            opened.reason,
            OpenReason::Wiped(WipeReason::Requested(
                "verify found a row that differs".to_owned()
            ))
        );
        fill(&opened.store, 1..=5);
        drop(opened);
        let again = open(engine, dir.path());
        assert_eq!(again.reason, OpenReason::Resumed);
        assert_eq!(checkpoint_equals_rows(&again.store), Ok(5));
    }
}

#[test]
fn a_wipe_touches_nothing_but_the_store() {
    let (dir, store) = a_store(Engine::Fjall);
    drop(store);
    let bystander = dir.path().join("precious.txt");
    fs::write(&bystander, "not a store's").expect("written");
    let opened = OpenOptions::new(Engine::Sled, 9, &[TASKS])
        .open(dir.path())
        .expect("the store opens");
    assert!(matches!(opened.reason, OpenReason::Wiped(_)));
    assert!(bystander.exists());
}

#[test]
fn a_held_lock_is_waited_for() {
    for engine in ON_DISK {
        let (dir, store) = a_store(engine);
        fill(&store, 1..=20);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| open(engine, dir.path()));
            // Whether the opener arrives before or after this, it must end up with the rows.
            thread::sleep(Duration::from_millis(100));
            drop(store);
            let opened = waiting.join().expect("the opener does not panic");
            assert_eq!(opened.reason, OpenReason::Resumed);
            assert_eq!(checkpoint_equals_rows(&opened.store), Ok(20));
        });
    }
}

#[test]
fn a_lock_that_stays_held_is_an_error_and_never_a_wipe() {
    for engine in ON_DISK {
        let (dir, store) = a_store(engine);
        fill(&store, 1..=20);
        // With another schema version too: a store must not be wiped while another process holds
        // it.
        for schema in [1, 2] {
            let refused = OpenOptions::new(engine, schema, &[TASKS, BY_TEAM])
                .lock_wait(Duration::from_millis(60))
                .open(dir.path())
                .map(|opened| opened.reason);
            assert!(
                matches!(refused, Err(OpenError::Locked { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(checkpoint_equals_rows(&store), Ok(20));
    }
}

#[test]
fn an_engines_own_lock_is_no_reason_to_wipe_either() {
    let (dir, store) = a_store(Engine::Sled);
    fill(&store, 1..=20);
    drop(store);
    // Held by a process that does not know the store's lock file.
    let stranger = sled_db_lock(dir.path());
    let refused = options(Engine::Sled)
        .lock_wait(Duration::from_millis(60))
        .open(dir.path())
        .map(|opened| opened.reason);
    assert!(
        matches!(refused, Err(OpenError::Locked { .. })),
        "{refused:?}"
    );
    drop(stranger);
    let opened = open(Engine::Sled, dir.path());
    assert_eq!(opened.reason, OpenReason::Resumed);
    assert_eq!(opened.store.checkpoint(STREAM), Ok(Some(at(20))));
}

fn sled_db_lock(dir: &std::path::Path) -> fs::File {
    let file = fs::File::open(dir.join("rows/db")).expect("sled's data file");
    file.try_lock().expect("nobody holds it");
    file
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("a file");
    fs::write(&file, "x").expect("written");
    let refused = options(Engine::Sled).open(&file.join("store"));
    let message = refused.expect_err("a file is no directory").to_string();
    assert!(message.contains("a file"), "{message}");
}

#[test]
fn bad_lists_of_trees_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for trees in [
        &[][..],
        &[TASKS, TASKS],
        &[Tree::new("With Space")],
        &[Tree::new("")],
    ] {
        let refused = OpenOptions::new(Engine::Sled, 1, trees)
            .open(dir.path())
            .map(|opened| opened.reason);
        assert!(matches!(refused, Err(OpenError::Trees(_))), "{refused:?}");
    }
}

#[test]
fn every_row_can_be_read_while_opening_on_either_engine() {
    for engine in ON_DISK {
        let (dir, store) = a_store(engine);
        fill(&store, 1..=300);
        drop(store);
        for verify in [Verify::EveryRow, Verify::OnRead] {
            let opened = options(engine)
                .verify(verify)
                .open(dir.path())
                .expect("the store opens");
            assert_eq!(opened.reason, OpenReason::Resumed);
            assert_eq!(checkpoint_equals_rows(&opened.store), Ok(300));
        }
    }
}

#[test]
fn a_store_that_processes_die_of_is_wiped_by_the_third() {
    for engine in ON_DISK {
        let (dir, store) = a_store(engine);
        fill(&store, 1..=20);
        drop(store);
        let opening = dir.path().join("OPENING");
        assert!(!opening.exists(), "an open that ended left its mark");
        fs::write(&opening, "1").expect("written");
        let opened = open(engine, dir.path());
        assert_eq!(
            opened.reason,
            OpenReason::Resumed,
            "one death may have been anything"
        );
        assert!(!opening.exists());
        drop(opened);
        fs::write(&opening, "2").expect("written");
        let opened = open(engine, dir.path());
        assert!(
            matches!(&opened.reason, OpenReason::Wiped(WipeReason::Corrupt(why)) if why.contains("died")),
            "{:?}",
            opened.reason
        );
        drop(opened);
        assert_eq!(open(engine, dir.path()).reason, OpenReason::Resumed);
    }
}
