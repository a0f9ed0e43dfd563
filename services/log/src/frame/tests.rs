use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use waybill_domain::actor::Origin;
use waybill_domain::seq::StreamSeq;
use waybill_domain::time::Timestamp;

use super::*;
use crate::position::Positions;
use crate::quarantine::Reason;
use crate::record::{DAMAGED_EVENT, DAMAGED_FRAME};
use crate::subject::matches;
use crate::{Record, task_record};

/// The message that frames are read from here.
const MESSAGE: u64 = 70;

fn positions() -> Positions {
    Positions::with_frames_from(7)
}

fn a_record(subject: &str, event: &'static str, payload: &[u8]) -> NewRecord {
    NewRecord {
        subject: subject.to_owned(),
        event,
        actor: "system:worker".to_owned(),
        traceparent: None,
        origin: None,
        payload: Bytes::copy_from_slice(payload),
    }
}

fn message(subject: &str, event: &str, payload: Bytes) -> Record {
    Record {
        seq: StreamSeq(MESSAGE),
        follows: StreamSeq(MESSAGE - 1),
        time: Timestamp(5),
        subject: subject.to_owned(),
        event: event.to_owned(),
        actor: String::new(),
        traceparent: None,
        origin: None,
        msg_id: None,
        exact: None,
        payload,
    }
}

/// The frame of records that share a lane.
fn frame_of(records: &[NewRecord]) -> Frame {
    let lane = records.first().and_then(Lane::of).expect("a lane");
    write(lane, records.iter())
}

fn read(message: Record) -> Vec<Record> {
    let mut records = Vec::new();
    expand(
        message,
        positions(),
        |_, _| true,
        |record| records.push(record),
    );
    records
}

fn read_frame(frame: &Frame) -> Vec<Record> {
    read(message(&frame.subject, NAME, frame.payload.clone()))
}

/// The content of a record, without its position.
fn said(record: &Record) -> NewRecord {
    NewRecord {
        subject: record.subject.clone(),
        event: EVENTS
            .into_iter()
            .find(|event| *event == record.event)
            .unwrap_or_default(),
        actor: record.actor.clone(),
        traceparent: record.traceparent.clone(),
        origin: record.origin.clone(),
        payload: record.payload.clone(),
    }
}

const EVENTS: [&str; 4] = [
    "task.created.v1",
    "task.started.v1",
    "task.succeeded.v1",
    "task.dead.v1",
];

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("key:key_4fG7aB2x".to_owned()),
        Just("system:worker".to_owned()),
        ".{0,40}",
    ]
}

/// The parts of a record: team, queue, index of the event, actor, trace, origin and payload.
type Texts = (
    String,
    String,
    usize,
    String,
    Option<String>,
    Option<(String, String, Option<String>)>,
    Vec<u8>,
);

/// Records of one partition: creations, or other events.
/// Records of one partition: either all creations or no creations.
fn records() -> impl Strategy<Value = Vec<NewRecord>> {
    let record = (
        "[ab]",
        "[qr]",
        1_usize..4,
        texts(),
        proptest::option::of(texts()),
        proptest::option::of((texts(), texts(), proptest::option::of(texts()))),
        vec(any::<u8>(), 0..200),
    );
    (any::<bool>(), vec(record, 1..60)).prop_map(|(are_creations, records)| {
        let record = |(team, queue, event, actor, traceparent, origin, payload): Texts| {
            let event = EVENTS[if are_creations { 0 } else { event }];
            let token = crate::subject::event_token(event).expect("a token");
            NewRecord {
                subject: format!("tasks.3.{team}.{queue}.{token}"),
                event,
                actor,
                traceparent,
                origin: origin.map(|(request_id, source, agent)| Origin {
                    request_id: request_id.into(),
                    source: source.into(),
                    agent: agent.map(Into::into),
                }),
                payload: payload.into(),
            }
        };
        records.into_iter().map(record).collect()
    })
}

proptest! {
    #[test]
    fn a_frame_is_read_as_what_was_written(records in records()) {
        let frame = frame_of(&records);
        let found = read_frame(&frame);
        prop_assert_eq!(found.iter().map(said).collect::<Vec<_>>(), records.clone());
        let count = records.len();
        for (index, record) in found.iter().enumerate() {
            prop_assert_eq!(record.seq, positions().of(MESSAGE, index, count));
            prop_assert_eq!(record.time, Timestamp(5));
        }
        // Each follows the one before it, and the first one the message before.
        prop_assert!(found.windows(2).all(|pair| pair[1].follows == pair[0].seq));
        prop_assert_eq!(found[0].follows, positions().last_in(MESSAGE - 1));
        // The size that was estimated is never less than the real one.
        let counted: usize = records.iter().map(size).sum();
        prop_assert!(frame.payload.len() <= counted + 16, "{} > {counted}", frame.payload.len());
    }

    #[test]
    fn whoever_reads_by_a_filter_finds_the_frames_that_hold_what_it_matches(records in records()) {
        let frame = frame_of(&records);
        let found = read_frame(&frame);
        for filter in [
            "tasks.3.>", "tasks.*.a.>", "tasks.*.b.q.>", "tasks.3.*.*.created", "tasks.*.a.*.started",
            "tasks.*.a.r.succeeded", "tasks.3.*.q.dead", "tasks.4.>", "tasks.4.a.>", "tasks.3.owner", ">",
        ] {
            let of_messages = filters_of_frames(&[filter.to_owned()]);
            let is_found = of_messages.iter().any(|filter| matches(filter, &frame.subject));
            let holds = found.iter().any(|record| matches(filter, &record.subject));
            prop_assert!(is_found || !holds, "{filter} misses {}", frame.subject);
            // Other partitions' frames are left alone.
            if filter.starts_with("tasks.4.") {
                prop_assert!(!is_found);
            }
        }
    }

    #[test]
    fn a_split_keeps_all_events_in_order_and_within_the_limits(
        sizes in vec((0_u8..3, 0_usize..40_000, any::<bool>()), 1..200)
    ) {
        let records: Vec<NewRecord> = sizes
            .iter()
            .map(|(partition, size, is_creation)| {
                let event = EVENTS[usize::from(!is_creation)];
                let token = crate::subject::event_token(event).expect("a token");
                a_record(&format!("tasks.{partition}.a.q.{token}"), event, &vec![0; *size])
            })
            .collect();
        let splits = split(&records);
        let mut places: Vec<usize> = splits.iter().flat_map(|split| split.events.clone()).collect();
        places.sort_unstable();
        prop_assert_eq!(places, (0..records.len()).collect::<Vec<_>>());
        let mut last_of_lane = std::collections::HashMap::new();
        for split in &splits {
            let lane = split.lane.expect("events of tasks");
            for &place in &split.events {
                prop_assert_eq!(Lane::of(&records[place]), Some(lane));
                prop_assert!(last_of_lane.insert(lane, place).is_none_or(|before| before < place));
            }
            let bytes: usize = split.events.iter().map(|&place| size(&records[place])).sum();
            prop_assert!(split.events.len() == 1 || bytes <= lane.kind.max_bytes());
            prop_assert!(split.events.len() <= MAX_EVENTS);
        }
    }

    /// Whoever may publish can store anything under the header of a frame.
    #[test]
    fn bytes_that_are_no_frame_are_one_record_that_counts_nowhere(bytes in vec(any::<u8>(), 0..300)) {
        let found = read(message("tasks.3.a.q.steps", NAME, bytes.into()));
        prop_assert!(!found.is_empty());
        prop_assert_eq!(found.last().map(|record| record.seq), Some(positions().last_in(MESSAGE)));
        for record in &found {
            let why = task_record(record).err().map(|why| why.reason());
            prop_assert!(why.is_some() && why != Some(Reason::Newer));
        }
    }
}

#[test]
fn one_bad_event_takes_no_other_with_it() {
    let records: Vec<NewRecord> = (0..20_u8)
        .map(|n| a_record("tasks.3.a.q.started", "task.started.v1", &[0xaa, n, 0xbb]))
        .collect();
    let frame = frame_of(&records);
    let clean = read_frame(&frame);
    for bad in 0..20_u8 {
        let mut bytes = frame.payload.to_vec();
        let at = bytes
            .windows(3)
            .position(|window| window == [0xaa, bad, 0xbb])
            .expect("its payload");
        // The length of the payload, which now leads beyond the event.
        bytes[at - 1] = 0xff;
        let found = read(message(&frame.subject, NAME, bytes.into()));
        assert_eq!(found.len(), clean.len());
        for (index, (record, clean)) in found.iter().zip(&clean).enumerate() {
            assert_eq!(record.seq, clean.seq);
            if index == usize::from(bad) {
                assert_eq!(record.event, DAMAGED_EVENT);
                let why = task_record(record).expect_err("it is damaged");
                assert_eq!(why.reason(), Reason::Foreign);
            } else {
                assert_eq!(record, clean);
            }
        }
    }
}

#[test]
fn a_frame_says_once_what_its_events_share() {
    let many: Vec<NewRecord> = (0..100)
        .map(|_| a_record("tasks.3.a.q.started", "task.started.v1", &[1; 40]))
        .collect();
    let frame = frame_of(&many);
    assert_eq!(frame.subject, "tasks.3.a.q.steps");
    assert!(frame.payload.len() < 100 * 60, "{}", frame.payload.len());
}

#[test]
fn the_subject_says_what_all_events_share() {
    let of = |subjects: &[&str]| {
        let records: Vec<NewRecord> = subjects
            .iter()
            .map(|subject| a_record(subject, "task.started.v1", &[]))
            .collect();
        frame_of(&records).subject
    };
    assert_eq!(of(&["tasks.3.a.q.created"]), "tasks.3.a.q.created");
    assert_eq!(
        of(&["tasks.3.a.q.started", "tasks.3.a.q.dead"]),
        "tasks.3.a.q.steps"
    );
    assert_eq!(
        of(&["tasks.3.a.q.started", "tasks.3.a.r.dead"]),
        "tasks.3.a._.steps"
    );
    assert_eq!(
        of(&["tasks.3.a.q.dead", "tasks.3.b.q.dead"]),
        "tasks.3._._.steps"
    );
}

/// An event that the frame's subject does not allow counts as misplaced: a writer with permission
/// for creations cannot write other events that way.
#[test]
fn an_event_counts_only_in_a_frame_whose_subject_allows_it() {
    use waybill_domain::event::{TaskEvent, samples};
    let events = samples::task_events();
    for event in &events {
        let (team, queue) = match event {
            TaskEvent::Created(e) => (e.team.to_string(), e.queue.to_string()),
            _ => ("team_x".to_owned(), "q".to_owned()),
        };
        let partition = event.id().partition().get();
        let subject = format!("tasks.{partition}.{team}.{queue}.{}", event.kind());
        let record = a_record(&subject, event.name(), &event.encode());
        let frame = frame_of(&[record]);
        let reason = |of_frame: String| {
            let found = read(message(&of_frame, NAME, frame.payload.clone()));
            task_record(&found[0]).err().map(|why| why.reason())
        };
        let (own, other) = match event.kind() {
            "created" => ("created", "steps"),
            _ => ("steps", "created"),
        };
        assert_eq!(
            reason(format!("tasks.{partition}.{team}.{queue}.{own}")),
            None
        );
        assert_eq!(reason(format!("tasks.{partition}.{team}._.{own}")), None);
        assert_eq!(reason(format!("tasks.{partition}._._.{own}")), None);
        let misplaced = Some(Reason::Misplaced);
        assert_eq!(reason(format!("tasks.{partition}._._.{other}")), misplaced);
        assert_eq!(
            reason(format!("tasks.{}._._.{own}", partition ^ 1)),
            misplaced
        );
        assert_eq!(
            reason(format!("tasks.{partition}.team_y._.{own}")),
            misplaced
        );
    }
}

#[test]
fn a_reader_gets_those_events_of_a_frame_that_it_wants() {
    let records: Vec<NewRecord> = (0..6_u8)
        .map(|n| {
            let queue = ["q", "r"][usize::from(n % 2)];
            let subject = format!("tasks.3.a.{queue}.started");
            a_record(&subject, "task.started.v1", &[n])
        })
        .collect();
    let frame = frame_of(&records);
    let all = read_frame(&frame);
    let from = all[2].seq;
    let mut found = Vec::new();
    expand(
        message(&frame.subject, NAME, frame.payload),
        positions(),
        |position, subject| position >= from && subject == "tasks.3.a.q.started",
        |record| found.push(record),
    );
    assert_eq!(found, [all[2].clone(), all[4].clone()]);
}

#[test]
fn what_is_no_frame_stays_one_record_at_the_end_of_its_message() {
    let end = positions().last_in(MESSAGE);
    for event in ["task.started.v1", "frame.batch.v2", ""] {
        let found = read(message("tasks.3.a.q.started", event, Bytes::new()));
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].event, found[0].seq), (event, end));
    }
    let unknown = read(message("tasks.3.a.q.steps", "frame.batch.v2", Bytes::new()));
    let why = task_record(&unknown[0]).expect_err("a later version");
    assert_eq!(why.reason(), Reason::Newer);
    // A frame stored on a subject that no frame can have.
    let frame = frame_of(&[a_record("tasks.3.a.q.dead", "task.dead.v1", &[])]);
    let found = read(message("tasks.3.a.q.dead", NAME, frame.payload));
    assert_eq!((found.len(), &*found[0].event), (1, DAMAGED_FRAME));
}

#[test]
fn before_the_switch_there_are_no_frames() {
    let frame = frame_of(&[a_record("tasks.3.a.q.dead", "task.dead.v1", &[])]);
    let mut records = Vec::new();
    let before = Positions::with_frames_from(MESSAGE + 1);
    let stored = message(&frame.subject, NAME, frame.payload);
    expand(stored, before, |_, _| true, |record| records.push(record));
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].seq, StreamSeq(MESSAGE));
    let why = task_record(&records[0]).expect_err("it stands before the switch");
    assert_eq!(why.reason(), Reason::Newer);
}
