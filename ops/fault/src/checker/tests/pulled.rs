//! The part of the evidence that is about workers that pull, and its negative controls.

use super::*;

const GIVEN: &str = "no attempt is given to two claims";
const STARTED: &str = "what a claim was given had started";
const TAKEN: &str = "a report that was taken is how its attempt ended";
const REFUSED: &str = "a completion that was refused has not happened";
const LATE: &str = "no report is taken whose lease was over";
const FAILED: &str = "an attempt that failed was reported so, or its lease was over";
const USED_UP: &str = "a pulled task fails for good only when its attempts are used up";

fn pulled(max_retries: u16) -> Step {
    Step::Created(Box::new(Request {
        queue: "p".into(),
        pulled: true,
        max_retries,
        ..Request::default()
    }))
}

fn failed(attempt: u32) -> Step {
    Step::AttemptFailed {
        attempt,
        lost: false,
    }
}

/// The worker of `q1` freezes past its lease, and another one completes it. `q2` fails and has no attempt left.
pub(super) fn log() -> Vec<Entry> {
    let dead = Step::Dead {
        attempt: 2,
        status: "failed",
        cancels_to: None,
    };
    vec![
        entry(37, "q1", pulled(3)),
        entry(38, "q1", Step::Started(1)),
        entry(39, "q1", failed(1)),
        entry(40, "q1", Step::Started(2)),
        entry(
            41,
            "q1",
            Step::Succeeded {
                attempt: 2,
                status: 200,
            },
        ),
        entry(42, "q2", pulled(1)),
        entry(43, "q2", Step::Started(1)),
        entry(44, "q2", failed(1)),
        entry(45, "q2", Step::Started(2)),
        entry(46, "q2", dead),
    ]
}

fn report(id: &str, attempt: u32, how: &'static str, taken: bool) -> Reported {
    Reported {
        id: id.into(),
        attempt,
        how,
        taken,
        is_frozen: false,
        asked_ms: 1_000,
        told_ms: 1_010,
        sent_ms: 1_020,
        answered_ms: 1_030,
        lease_ms: 2_000,
    }
}

/// Adds what the workers were told.
pub(super) fn add(evidence: &mut Evidence) {
    let given = [("q1", 1), ("q1", 2), ("q2", 1), ("q2", 2)];
    evidence
        .told
        .extend(given.map(|(id, attempt)| Told::Claimed {
            id: id.into(),
            attempt,
        }));
    let late = Reported {
        is_frozen: true,
        sent_ms: 5_010,
        ..report("q1", 1, "complete", false)
    };
    let reports = [
        late,
        report("q1", 2, "complete", true),
        report("q2", 1, "fail", true),
        report("q2", 2, "fail", true),
        // It had failed before.
        report("q2", 1, "complete", false),
    ];
    let told = reports.map(|report| Told::Reported(Box::new(report)));
    evidence.told.extend(told);
    let ends = [("q1", "completed"), ("q2", "failed")];
    evidence.listed.extend(ends.map(|(id, status)| Listed {
        id: id.into(),
        status: status.into(),
    }));
}

/// The report of an attempt.
fn of<'a>(evidence: &'a mut Evidence, id: &str, attempt: u32) -> &'a mut Reported {
    let mut reports = evidence.told.iter_mut().filter_map(|told| match told {
        Told::Reported(report) => Some(&mut **report),
        _ => None,
    });
    let found = reports.find(|report| report.id == id && report.attempt == attempt);
    found.expect("there is one")
}

#[test]
fn an_attempt_that_two_claims_were_given_is_reported() {
    let again = |evidence: &mut Evidence| {
        evidence.told.push(Told::Claimed {
            id: "q1".into(),
            attempt: 2,
        });
    };
    control(again, &[GIVEN]);
}

#[test]
fn a_claim_of_what_never_started_is_reported() {
    let invented = |evidence: &mut Evidence| {
        evidence.told.push(Told::Claimed {
            id: "q1".into(),
            attempt: 3,
        });
    };
    control(invented, &[STARTED]);
}

#[test]
fn a_completion_after_the_lease_that_was_taken_is_reported() {
    control(
        |evidence| of(evidence, "q1", 1).taken = true,
        &[TAKEN, LATE, FAILED],
    );
    // While a clock was wrong, an owner that took over may have reckoned with more time.
    let excused = |evidence: &mut Evidence| {
        of(evidence, "q1", 1).taken = true;
        evidence.wrong_clocks.push(Span {
            from_ms: 1_005,
            to_ms: 1_006,
        });
    };
    control(excused, &[TAKEN, FAILED]);
}

#[test]
fn a_completion_that_was_refused_and_happened_is_reported() {
    control(|evidence| of(evidence, "q1", 2).taken = false, &[REFUSED]);
}

#[test]
fn a_report_that_was_taken_for_another_is_reported() {
    control(|evidence| of(evidence, "q1", 2).how = "release", &[TAKEN]);
    control(
        |evidence| of(evidence, "q2", 1).how = "complete",
        &[TAKEN, FAILED],
    );
}

#[test]
fn a_task_that_has_attempts_left_and_fails_is_reported() {
    let more = |evidence: &mut Evidence| {
        let mut log = evidence.log.iter_mut();
        let created = log.find(|entry| entry.task == "q2").expect("created");
        created.step = pulled(2);
    };
    control(more, &[USED_UP]);
}
