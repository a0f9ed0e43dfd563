use super::*;
use crate::audit::note::{SEED_BYTES, TrustedKeys};

fn key() -> NotaryKey {
    NotaryKey::new("waybill/test", &[7; SEED_BYTES]).expect("a key")
}

const STREAM: i64 = 1;

fn leaf(n: u64) -> Leaf {
    Leaf {
        hash: Hash::of_leaf(&n.to_be_bytes()),
        seq: StreamSeq(n),
        time_ns: i64::try_from(n).expect("small") * 10,
    }
}

fn sign(tree: &mut Growing, now: i64) -> Signed {
    let (signed, _) = tree.next("test", STREAM, now, &key());
    tree.signed(signed.clone());
    signed
}

fn grown(
    last: Option<Signed>,
    leaves: impl IntoIterator<Item = Leaf>,
) -> Result<Growing, Mismatch> {
    let mut tree = Growing::new(TreeId::Control, last);
    leaves.into_iter().try_for_each(|leaf| tree.append(leaf))?;
    tree.check(STREAM)?;
    Ok(tree)
}

#[test]
fn each_checkpoint_covers_what_has_come_since_the_last() {
    let mut tree = grown(None, (1..=5).map(leaf)).expect("nothing was signed");
    assert_eq!(tree.uncovered(), Some(&leaf(1)));
    let (first, covering) = tree.next("test", STREAM, 100, &key());
    assert_eq!(covering.leaves().count(), 5);
    // Not stored: asked again, it says the same.
    assert_eq!(tree.next("test", STREAM, 100, &key()).0, first);
    tree.signed(first.clone());
    assert_eq!(
        (first.checkpoint.size, first.checkpoint.last_seq),
        (5, StreamSeq(5))
    );
    assert_eq!(first.checkpoint.previous, None);
    assert_eq!(tree.uncovered(), None);
    tree.append(leaf(6)).expect("it goes on");
    // A clock that went back does not take the order of checkpoints with it.
    let second = sign(&mut tree, 50);
    assert_eq!(
        (second.checkpoint.size, second.checkpoint.signed_ns),
        (6, 100)
    );
    assert_eq!(second.checkpoint.previous, Some(first.hash()));
    let silent = sign(&mut tree, 200);
    assert_eq!(
        (silent.checkpoint.size, silent.checkpoint.root),
        (6, second.checkpoint.root)
    );
    assert!(Signed::open(&silent.note, &TrustedKeys::only(key().public())).is_ok());
}

#[test]
fn a_large_backlog_is_signed_in_parts() {
    let count = MAX_LEAVES as u64 + 3;
    let mut tree = grown(None, (1..=count).map(leaf)).expect("nothing was signed");
    assert_eq!(sign(&mut tree, 1).checkpoint.size, MAX_LEAVES as u64);
    assert_eq!(tree.size(), count);
    let last = sign(&mut tree, 2);
    let mut whole = Frontier::default();
    (1..=count).for_each(|n| whole.append(leaf(n).hash));
    assert_eq!(
        (last.checkpoint.size, last.checkpoint.root),
        (count, whole.root())
    );
}

#[test]
fn a_notary_that_starts_again_goes_on_where_it_was() {
    let mut tree = grown(None, (1..=5).map(leaf)).expect("nothing was signed");
    let last = sign(&mut tree, 1);
    let again = grown(Some(last), (1..=5).map(leaf)).expect("the same");
    assert_eq!(again, tree);
    let longer = grown(tree.last().cloned(), (1..=9).map(leaf)).expect("it has grown");
    assert_eq!((longer.size(), longer.uncovered()), (9, Some(&leaf(6))));
}

#[test]
fn a_notary_does_not_go_on_with_another_log() {
    let mut tree = grown(None, (1..=5).map(leaf)).expect("nothing was signed");
    let last = Some(sign(&mut tree, 1));
    let refused = |leaves: Vec<Leaf>| grown(last.clone(), leaves).expect_err("another log");
    let all: Vec<Leaf> = (1..=5).map(leaf).collect();

    let mut altered = all.clone();
    altered[2].hash = Hash::of(b"altered");
    assert!(matches!(
        refused(altered),
        Mismatch::Differs {
            size: 5,
            seq: StreamSeq(5),
            ..
        }
    ));
    let mut swapped = all.clone();
    swapped.swap(0, 1);
    assert!(matches!(refused(swapped), Mismatch::Differs { .. }));
    let mut missing: Vec<Leaf> = (1..=6).map(leaf).collect();
    missing.remove(2);
    assert!(matches!(refused(missing), Mismatch::Differs { .. }));
    assert_eq!(
        refused(all[..4].to_vec()),
        Mismatch::Shorter {
            tree: "control".into(),
            found: 4,
            signed: 5
        }
    );
    assert!(matches!(
        refused(Vec::new()),
        Mismatch::Shorter { found: 0, .. }
    ));
    let mut other_stream = grown(last, all).expect("the same");
    other_stream = Growing::new(TreeId::Control, other_stream.last().cloned());
    (1..=5)
        .map(leaf)
        .try_for_each(|leaf| other_stream.append(leaf))
        .expect("the same leaves");
    assert!(matches!(
        other_stream.check(2),
        Err(Mismatch::OtherStream {
            signed: 1,
            found: 2,
            ..
        })
    ));
}
