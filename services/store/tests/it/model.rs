//! Random histories compared with an ordered map: every engine must answer every query as the map
//! does.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};
use waybill_store::{Batch, Engine, KeyRange, OpenReason, Store, Tree};

use crate::fixture::{BY_TEAM, STREAM, TASKS, at, open};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<(bool, Vec<u8>, Option<Vec<u8>>)>),
    Get(bool, Vec<u8>),
    Range(bool, Bounds),
    Sync,
    Reopen,
}

#[derive(Clone, Debug)]
struct Bounds {
    prefix: Vec<u8>,
    lower: Option<(bool, Vec<u8>)>,
    upper: Option<(bool, Vec<u8>)>,
    descending: bool,
}

/// Few and short keys, so that histories touch the same key again; the ends of the byte range are
/// among them.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(
        prop::sample::select(vec![0_u8, 1, b'a', b'b', 0xfe, 0xff]),
        1..4,
    )
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let side = || prop::option::of((any::<bool>(), key()));
    let prefix = prop_oneof![Just(Vec::new()), key()];
    (prefix, side(), side(), any::<bool>()).prop_map(|(prefix, lower, upper, descending)| Bounds {
        prefix,
        lower,
        upper,
        descending,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::option::weighted(0.7, vec(any::<u8>(), 0..40));
    prop_oneof![
        6 => vec((any::<bool>(), key(), value), 1..20).prop_map(Step::Apply),
        3 => (any::<bool>(), key()).prop_map(|(tree, key)| Step::Get(tree, key)),
        6 => (any::<bool>(), bounds()).prop_map(|(tree, bounds)| Step::Range(tree, bounds)),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

fn tree(first: bool) -> Tree {
    if first { TASKS } else { BY_TEAM }
}

impl Bounds {
    fn range(&self) -> KeyRange {
        let mut range = KeyRange::prefix(&self.prefix);
        range = match &self.lower {
            Some((true, key)) => range.from(key),
            Some((false, key)) => range.after(key),
            None => range,
        };
        range = match &self.upper {
            Some((true, key)) => range.to(key),
            Some((false, key)) => range.before(key),
            None => range,
        };
        if self.descending {
            range.descending()
        } else {
            range
        }
    }

    fn holds(&self, key: &[u8]) -> bool {
        let above = self
            .lower
            .as_ref()
            .is_none_or(|(closed, low)| key > &low[..] || (*closed && key == &low[..]));
        let below = self
            .upper
            .as_ref()
            .is_none_or(|(closed, high)| key < &high[..] || (*closed && key == &high[..]));
        key.starts_with(&self.prefix) && above && below
    }
}

fn read_range(store: &Store, first: bool, bounds: &Bounds) -> Vec<(Vec<u8>, Vec<u8>)> {
    let view = store.view().expect("a view");
    view.range(tree(first), &bounds.range())
        .expect("a range")
        .collect::<Result<_, _>>()
        .expect("all rows")
}

fn run(engine: Engine, steps: &[Step]) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut store = Some(open(engine, dir.path()).store);
    let mut model: [Rows; 2] = Default::default();
    let mut seq = 0;
    for step in steps {
        let open_store = store.as_ref().expect("the store is open between steps");
        match step {
            Step::Apply(rows) => {
                seq += 1;
                let mut batch = Batch::new();
                batch.checkpoint(STREAM, at(seq));
                for (first, key, value) in rows {
                    let rows = &mut model[usize::from(*first)];
                    match value {
                        Some(value) => {
                            batch.put(tree(*first), &key[..], &value[..]);
                            rows.insert(key.clone(), value.clone());
                        }
                        None => {
                            batch.delete(tree(*first), &key[..]);
                            rows.remove(key);
                        }
                    }
                }
                open_store.apply(batch).expect("the batch applies");
            }
            Step::Get(first, key) => {
                let found = open_store.get(tree(*first), key).expect("a read");
                assert_eq!(found.as_ref(), model[usize::from(*first)].get(key));
            }
            Step::Range(first, bounds) => {
                let mut expected: Vec<_> = model[usize::from(*first)]
                    .iter()
                    .filter(|(key, _)| bounds.holds(key))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                if bounds.descending {
                    expected.reverse();
                }
                assert_eq!(read_range(open_store, *first, bounds), expected);
            }
            Step::Sync => open_store.sync().expect("the store syncs"),
            Step::Reopen if engine == Engine::Memory => {}
            Step::Reopen => {
                drop(store.take());
                let opened = open(engine, dir.path());
                assert_eq!(opened.reason, OpenReason::Resumed);
                store = Some(opened.store);
            }
        }
        let store = store.as_ref().expect("the store is open between steps");
        let checkpoint = store.checkpoint(STREAM).expect("a checkpoint");
        assert_eq!(checkpoint.map_or(0, |found| found.seq), seq);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sled_answers_as_an_ordered_map_does(steps in vec(step(), 1..60)) {
        run(Engine::Sled, &steps);
    }

    #[test]
    fn fjall_answers_as_an_ordered_map_does(steps in vec(step(), 1..60)) {
        run(Engine::Fjall, &steps);
    }

    #[test]
    fn memory_answers_as_an_ordered_map_does(steps in vec(step(), 1..60)) {
        run(Engine::Memory, &steps);
    }
}
