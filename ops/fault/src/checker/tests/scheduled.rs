//! The part of the evidence that is about schedules, and its negative controls.

use super::*;

const TWICE: &str = "no instant of a schedule fires twice";
const EVERY: &str = "every instant of a schedule fires, whichever process is gone when it is due";
const PAUSED: &str = "no instant of a schedule fires that came after its pause";

fn run(due_ms: i64) -> Step {
    Step::Created(Box::new(Request {
        queue: "s".into(),
        run: Some(("sched".into(), due_ms)),
        ..Request::default()
    }))
}

/// Two instants of a schedule fire.
pub(super) fn log() -> Vec<Entry> {
    let ended = |attempt| Step::Succeeded {
        attempt,
        status: 200,
    };
    vec![
        entry(47, "r1", run(1_000)),
        entry(48, "r1", Step::Started(1)),
        entry(49, "r1", ended(1)),
        entry(50, "r2", run(2_000)),
        entry(51, "r2", Step::Started(1)),
        entry(52, "r2", ended(1)),
    ]
}

/// Adds what clients, the target and the read models say about these tasks.
pub(super) fn add(evidence: &mut Evidence) {
    evidence
        .calls
        .extend([call(48, "r1", 1, 200), call(51, "r2", 1, 200)]);
    evidence.listed.extend(["r1", "r2"].map(|id| Listed {
        id: id.into(),
        status: "completed".into(),
    }));
    evidence.scheduled = vec![Scheduled {
        id: "sched".into(),
        from_ms: 10,
        until_ms: 2_900,
        paused_ms: 2_950,
    }];
}

/// Makes the second run one of another instant.
fn moved(evidence: &mut Evidence, due_ms: i64) {
    let mut log = evidence.log.iter_mut();
    let created = log.find(|entry| entry.task == "r2").expect("created");
    created.step = run(due_ms);
}

#[test]
fn an_instant_that_fires_twice_is_reported_and_one_that_does_not() {
    control(|evidence| moved(evidence, 1_000), &[TWICE, EVERY]);
    control(|evidence| evidence.scheduled[0].until_ms = 3_100, &[EVERY]);
    let excused = |evidence: &mut Evidence| {
        evidence.scheduled[0].until_ms = 3_100;
        evidence.wrong_clocks.push(Span {
            from_ms: 2_900,
            to_ms: 3_200,
        });
    };
    control(excused, &[]);
}

#[test]
fn an_instant_after_the_pause_is_reported() {
    control(
        |evidence| {
            evidence.scheduled[0].until_ms = 1_900;
            evidence.scheduled[0].paused_ms = 2_100;
            moved(evidence, 4_000);
        },
        &[PAUSED],
    );
}
