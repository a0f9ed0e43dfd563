use std::sync::Arc;

use bytes::Bytes;
use waybill_domain::audit::merkle::{verify_consistency, verify_inclusion};
use waybill_domain::audit::{Growing, Leaf};
use waybill_domain::event::{ControlEvent, TeamCreated};
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryLog;
use waybill_log::{Append, Atomicity, Expectation, Log, NewRecord, Stream};

use super::*;
use crate::model::{Incarnations, Projection, Reader, digests, options};

const CACHE: u64 = 1 << 20;

fn team(number: u128) -> TeamId {
    TeamId::new(Timestamp(1), number)
}

/// Events of two teams, alternating irregularly.
async fn history(events: u64) -> (Arc<MemoryLog>, Vec<Record>) {
    let log = Arc::new(MemoryLog::default());
    for number in 0..events {
        let team = team(u128::from(number % 3 == 0));
        let event = ControlEvent::TeamCreated(TeamCreated {
            team: team.clone(),
            name: format!("{number}"),
            plan: "free".into(),
            at: Timestamp(1),
        });
        let record = NewRecord {
            subject: format!("control.{team}.team.{team}"),
            event: event.name(),
            actor: "operator:test".into(),
            traceparent: None,
            origin: None,
            payload: Bytes::from(event.encode()),
        };
        let append = Append {
            stream: Stream::Control,
            records: vec![record],
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        log.append(append).await.expect("appended");
    }
    let records = log
        .range(
            Stream::Control,
            &[],
            StreamSeq(1),
            StreamSeq(u64::MAX),
            usize::MAX,
        )
        .await;
    (log, records.expect("readable"))
}

async fn incarnations(log: &MemoryLog) -> (Incarnations, i64) {
    let control = log.bounds(Stream::Control).await.expect("bounds");
    let tasks = log.bounds(Stream::Tasks).await.expect("bounds");
    (Incarnations::new(&control, &tasks), control.incarnation)
}

#[tokio::test]
async fn every_proof_leads_to_the_root_that_the_notary_signs() {
    let (log, records) = history(45).await;
    let (incarnations, stream) = incarnations(&log).await;
    let store = options(CACHE).in_memory();
    let mut projection = Projection::resume(store.clone(), incarnations).expect("empty");
    projection
        .apply(Stream::Control, &records)
        .expect("applied");
    let reader = Reader::new(store);
    for of in [None, Some(team(0)), Some(team(1))] {
        let tree = tree(of.as_ref());
        // As the notary computes it: roots by size, and the index of each event.
        let mut growing = Growing::new(tree.clone(), None);
        let mut frontier = Frontier::default();
        let (mut roots, mut seqs, mut leaves) = (vec![frontier.root()], Vec::new(), Vec::new());
        for record in &records {
            let stored = record.stored();
            if of.is_some() && team_of(&stored) != of {
                let query = ProveInclusion {
                    team: of.clone(),
                    seq: record.seq,
                    size: 1,
                };
                assert_eq!(reader.inclusion(&query).expect("answered"), None);
                continue;
            }
            let leaf = Leaf {
                hash: stored.leaf(stream),
                seq: stored.seq,
                time_ns: stored.time_ns,
            };
            growing.append(leaf).expect("nothing was signed");
            frontier.append(leaf.hash);
            roots.push(frontier.root());
            seqs.push(record.seq);
            leaves.push(leaf.hash);
        }
        let size = growing.size();
        assert_eq!(seqs.len() as u64, size);
        for (to, root) in (0..).zip(&roots) {
            for (index, (seq, leaf)) in (0..to).zip(seqs.iter().zip(&leaves)) {
                let query = ProveInclusion {
                    team: of.clone(),
                    seq: *seq,
                    size: to,
                };
                let proof = reader
                    .inclusion(&query)
                    .expect("answered")
                    .expect("in the tree");
                assert_eq!((proof.index, proof.leaf, proof.root), (index, *leaf, *root));
                verify_inclusion(leaf, index, to, &proof.path, root).expect("proven");
            }
            for (from, older) in (0..=to).zip(&roots) {
                let query = ProveConsistency {
                    team: of.clone(),
                    from,
                    to,
                };
                let proof = reader.consistency(&query).expect("answered");
                assert_eq!((proof.from_root, proof.to_root), (*older, *root));
                verify_consistency(from, to, older, root, &proof.path).expect("proven");
            }
        }
        let invalid = |error: ReaderError| match error {
            ReaderError::Invalid(invalid) => (invalid.field, invalid.message),
            ReaderError::Model(error) => panic!("{error}"),
        };
        let far = ProveConsistency {
            team: of.clone(),
            from: 0,
            to: size + 1,
        };
        let (field, message) = invalid(reader.consistency(&far).expect_err("too far"));
        assert_eq!(field, "to");
        assert!(message.contains(&format!("at most {size}")), "{message}");
        let back = ProveConsistency {
            team: of.clone(),
            from: 2,
            to: 1,
        };
        assert_eq!(
            invalid(reader.consistency(&back).expect_err("backwards")).0,
            "from"
        );
        let last = *seqs.last().expect("events");
        let early = ProveInclusion {
            team: of.clone(),
            seq: last,
            size: size - 1,
        };
        assert_eq!(
            invalid(reader.inclusion(&early).expect_err("too early")).0,
            "size"
        );
        let late = ProveInclusion {
            team: of,
            seq: last,
            size: size + 1,
        };
        assert_eq!(
            invalid(reader.inclusion(&late).expect_err("too late")).0,
            "size"
        );
    }
}

#[tokio::test]
async fn trees_are_the_same_however_the_events_came() {
    let (log, records) = history(70).await;
    let (incarnations, _) = incarnations(&log).await;
    let at_once = options(CACHE).in_memory();
    let mut projection = Projection::resume(at_once.clone(), incarnations.clone()).expect("empty");
    projection
        .apply(Stream::Control, &records)
        .expect("applied");
    let in_steps = options(CACHE).in_memory();
    for chunk in records.chunks(7) {
        // Recreated each time, so that everything is read from the store.
        let mut projection =
            Projection::resume(in_steps.clone(), incarnations.clone()).expect("resumed");
        projection.apply(Stream::Control, chunk).expect("applied");
    }
    let digests = |store: &Store| digests(&store.view().expect("a view")).expect("digests");
    assert_eq!(digests(&at_once), digests(&in_steps));
}
