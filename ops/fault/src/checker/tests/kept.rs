//! Evidence of a log whose history is purged, and its negative controls.

use super::*;

const NEEDED: &str = "history that is purged takes nothing of an open task along";
const STANDS: &str = "a task that is restated stands as its history says";
const UNKNOWN: &str = "an accepted task is never unknown";
const KEY: &str = "one idempotency key makes one task";
const SAME: &str = "the same idempotency key is answered with the same task";
const LISTED: &str = "the list holds every task once";
const STREAM: &str = "a stream has every event once, in order, over all its connections";

/// What comes before. Nothing of it is left in the end.
fn before() -> u64 {
    sound().log.last().map_or(0, |entry| entry.seq)
}

/// `o` is restated while it waits, while it runs, and when its webhook is to be delivered; its history goes each time. `n` has the key of `a`, which is gone.
fn purged() -> Evidence {
    let mut evidence = sound();
    let n = before();
    let two = Step::Succeeded {
        attempt: 2,
        status: 200,
    };
    let failed = Step::AttemptFailed {
        attempt: 1,
        lost: false,
    };
    evidence.log.extend([
        entry(n + 1, "o", created(Some("o"), true)),
        entry(n + 2, "o", Step::Started(1)),
        entry(n + 3, "o", failed),
        entry(n + 5, "o", Step::Started(2)),
        entry(n + 7, "o", two),
        entry(n + 9, "o", Step::CallbackSent),
        entry(n + 10, "n", created(Some("k"), false)),
        entry(n + 11, "n", cancelled()),
    ]);
    let restated = |seq, attempts, stood| Restated {
        seq,
        stored_ms: i64::try_from(seq).expect("small"),
        task: "o".into(),
        created: n + 1,
        attempts,
        key: Some("o".into()),
        stood,
    };
    evidence.restated = vec![
        restated(n + 4, 1, Stood::Idle),
        restated(n + 6, 2, Stood::Running(2)),
        restated(n + 8, 2, Stood::Ended),
    ];
    let purge = |first, last| Purge { first, last };
    evidence.purges = vec![
        purge(n + 1, n + 3),
        purge(n + 4, n + 4),
        purge(n + 6, n + 6),
        purge(n + 8, n + 8),
    ];
    evidence.kept_ms = 5;
    let accepted = |key: &str, id: &str| Told::Accepted {
        key: Some(key.into()),
        id: id.into(),
    };
    evidence
        .told
        .extend([accepted("o", "o"), accepted("k", "n")]);
    evidence.calls.extend([
        call(n + 2, "o", 1, 500),
        call(n + 5, "o", 2, 200),
        Call {
            webhook: true,
            ..call(n + 8, "o", 1, 200)
        },
    ]);
    evidence.listed = vec![listed("o", "completed"), listed("n", "cancelled")];
    evidence.read = vec![listed("o", "completed")];
    let events = evidence.log.iter().filter(|entry| entry.seq > 2);
    let events = events.map(|entry| (entry.seq, entry.step.name().into()));
    evidence.streamed[0].events = events.collect();
    evidence
}

fn listed(id: &str, status: &str) -> Listed {
    Listed {
        id: id.into(),
        status: status.into(),
    }
}

/// Breaks it, and expects exactly these checks to fail.
fn control(breaking: impl FnOnce(&mut Evidence, u64), expected: &[&str]) {
    let mut evidence = purged();
    breaking(&mut evidence, before());
    assert_eq!(failing(&evidence), expected);
}

#[test]
fn open_tasks_that_outlive_their_history_pass_every_check() {
    for check in check(&purged()) {
        assert!(check.passed(), "{check}");
    }
}

#[test]
fn a_purge_of_what_an_open_task_needs_is_reported() {
    // Its creation before it is restated, a restatement before the next, and that with the webhook before its delivery.
    control(|e, n| e.purges[0].first = n + 2, &[NEEDED]);
    control(|e, n| e.purges[1].first = n + 5, &[NEEDED]);
    control(|e, n| e.purges[3].first = n + 9, &[LISTED, NEEDED]);
}

#[test]
fn a_task_that_is_restated_otherwise_than_it_stood_is_reported() {
    control(|e, _| e.restated[0].attempts = 0, &[STANDS]);
    control(|e, _| e.restated[0].created += 1, &[STANDS]);
    control(|e, _| e.restated[0].key = None, &[STANDS]);
    control(|e, _| e.restated[1].stood = Stood::Idle, &[STANDS]);
    control(|e, _| e.restated[1].stood = Stood::Running(1), &[STANDS]);
    control(|e, _| e.restated[2].stood = Stood::Running(2), &[STANDS]);
    control(|e, n| e.restated[2].seq = n + 12, &[NEEDED, STANDS]);
}

#[test]
fn only_what_has_ended_and_is_old_may_be_unknown() {
    let unknown = |id: &str, told_ms| {
        let id = id.to_owned();
        move |e: &mut Evidence, _| e.told.push(Told::NotFound { id, told_ms })
    };
    control(unknown("a", 8), &[]);
    control(unknown("a", 7), &[UNKNOWN]);
    control(unknown("o", 1_000), &[UNKNOWN]);
    control(unknown("n", 1_000), &[UNKNOWN]);
    control(
        |e, _| {
            e.kept_ms = 20;
            unknown("a", 8)(e, 0);
        },
        &[UNKNOWN],
    );
}

#[test]
fn a_key_that_makes_another_task_while_its_task_is_kept_is_reported() {
    control(|e, _| e.kept_ms = 1_000, &[KEY, SAME]);
    control(
        |e, n| {
            let last = e.log.len();
            e.log[last - 2] = entry(n + 10, "n", created(Some("o"), false));
            e.told.pop();
        },
        &[KEY],
    );
}

#[test]
fn a_list_that_has_what_is_gone_or_lacks_what_is_kept_is_reported() {
    control(|e, _| e.listed.push(listed("a", "completed")), &[LISTED]);
    control(
        |e, _| {
            e.listed.remove(0);
        },
        &[LISTED],
    );
}

#[test]
fn a_gap_in_a_stream_that_is_larger_than_what_is_gone_is_reported() {
    let gap = |upto: fn(u64) -> u64| {
        move |e: &mut Evidence, n| {
            let events = &mut e.streamed[0].events;
            events.retain(|(seq, _)| *seq > upto(n));
            events.insert(0, (upto(n), "gap".into()));
        }
    };
    control(gap(|n| n + 7), &[]);
    control(gap(|n| n + 9), &[STREAM]);
    control(
        |e, n| {
            gap(|n| n + 7)(e, n);
            e.streamed[0].events.remove(1);
        },
        &[STREAM],
    );
}
