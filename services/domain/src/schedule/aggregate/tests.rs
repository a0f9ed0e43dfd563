use super::*;
use crate::id::{Environment, ScheduleId, TeamId};
use crate::recurring::Overlap;
use crate::schedule::Due;

const DAY: i64 = 86_400_000;

fn draft() -> ScheduleSet {
    ScheduleSet {
        schedule: ScheduleId::new(Timestamp(1), 1),
        team: TeamId::new(Timestamp(1), 1),
        environment: Environment::Live,
        version: 0,
        name: Some(" nightly ".into()),
        when: "cron(0 3 * * *)".into(),
        zone: "Europe/Madrid".into(),
        zones: "2026a".into(),
        from: None,
        until: None,
        overlap: Overlap::Skip,
        catch_up: CatchUp::Last,
        jitter_ms: 0,
        task: r#"{"targetUrl":"https://example.com"}"#.into(),
        set_by: String::new(),
        at: Timestamp(0),
        job: None,
    }
}

fn set(draft: ScheduleSet) -> ScheduleCommand {
    ScheduleCommand::Set {
        draft: Box::new(draft),
        only_if: None,
    }
}

fn run(
    schedule: &mut Schedule,
    command: ScheduleCommand,
    at: i64,
) -> Result<Vec<ControlEvent>, ScheduleRefusal> {
    let by = Actor::System("test".into());
    let events = schedule.decide(command, &by, &(), Timestamp(at))?;
    for event in &events {
        schedule.evolve(event);
        let once = schedule.clone();
        // What is read twice counts once.
        schedule.evolve(event);
        assert_eq!(*schedule, once);
    }
    Ok(events)
}

#[test]
fn a_replacement_is_the_next_version_and_says_something_else() {
    let mut schedule = Schedule::default();
    assert_eq!(
        run(&mut schedule, set(draft()), 10).map(|events| events.len()),
        Ok(1)
    );
    let first = schedule.current().expect("there").clone();
    assert_eq!(
        (first.version, first.name.as_deref(), first.at),
        (1, Some("nightly"), Timestamp(10))
    );
    assert_eq!(
        run(&mut schedule, set(draft()), 20),
        Ok(Vec::new()),
        "the same"
    );
    let hourly = ScheduleSet {
        when: "every 1h".into(),
        ..draft()
    };
    let only_if = |only_if, draft| ScheduleCommand::Set {
        draft: Box::new(draft),
        only_if,
    };
    let late = run(&mut schedule, only_if(Some(0), hourly.clone()), 30);
    assert_eq!(late, Err(ScheduleRefusal::Changed(1)));
    assert!(run(&mut schedule, only_if(Some(1), hourly), 30).is_ok());
    assert_eq!(schedule.current().map(|current| current.version), Some(2));
    let spans = schedule.spans(Timestamp(0), Timestamp(100)).into_iter();
    let spans: Vec<_> = spans
        .map(|(set, from, to)| (set.version, from.0, to.0))
        .collect();
    assert_eq!(
        spans,
        [(1, 10, 30), (2, 30, 100)],
        "each instant belongs to one version"
    );
    let spans = schedule.spans(Timestamp(50), Timestamp(100));
    assert_eq!(spans.len(), 1);
}

#[test]
fn versions_that_ended_long_before_are_forgotten_and_changes_are_bounded() {
    let mut schedule = Schedule::default();
    let every = |seconds: i64| {
        set(ScheduleSet {
            when: format!("every {seconds}s"),
            ..draft()
        })
    };
    for place in 0..16 {
        assert!(run(&mut schedule, every(place + 1), place).is_ok());
    }
    assert_eq!(
        run(&mut schedule, every(99), 20),
        Err(ScheduleRefusal::TooOften)
    );
    assert!(run(&mut schedule, every(99), DAY).is_ok());
    let spans = schedule
        .spans(Timestamp(-1), Timestamp(DAY + 1))
        .into_iter();
    let versions: Vec<_> = spans.map(|(set, ..)| set.version).collect();
    assert_eq!(versions, [16, 17]);
}

#[test]
fn what_is_due_between_a_pause_and_its_end_is_paused() {
    let mut schedule = Schedule::default();
    let pause = |until: Option<i64>| ScheduleCommand::Pause {
        reason: None,
        until: until.map(Timestamp),
    };
    assert_eq!(
        run(&mut schedule, pause(None), 5),
        Err(ScheduleRefusal::NoSuchSchedule)
    );
    assert!(run(&mut schedule, set(draft()), 10).is_ok());
    assert!(matches!(
        run(&mut schedule, pause(Some(20)), 20),
        Err(ScheduleRefusal::Invalid(_))
    ));
    assert!(run(&mut schedule, pause(None), 20).is_ok());
    assert_eq!(
        run(&mut schedule, pause(None), 25),
        Ok(Vec::new()),
        "the same"
    );
    assert!(schedule.paused(Timestamp(29)).is_some());
    assert!(run(&mut schedule, ScheduleCommand::Resume, 30).is_ok());
    assert!(schedule.paused(Timestamp(30)).is_none());
    assert_eq!(
        run(&mut schedule, ScheduleCommand::Resume, 31),
        Ok(Vec::new())
    );
    assert!(run(&mut schedule, pause(Some(60)), 40).is_ok());
    assert!(run(&mut schedule, pause(Some(90)), 50).is_ok());
    assert!(schedule.paused(Timestamp(89)).is_some() && schedule.paused(Timestamp(90)).is_none());
    let pauses = schedule.pauses().into_iter();
    let pauses: Vec<_> = pauses
        .map(|pause| (pause.from.0, pause.until.map(|at| at.0)))
        .collect();
    assert_eq!(pauses, [(20, Some(30)), (40, Some(50)), (50, Some(90))]);
}

#[test]
fn what_fires_is_not_noted_here_and_the_rest_is() {
    let mut schedule = Schedule::default();
    assert!(run(&mut schedule, set(draft()), 10).is_ok());
    let settle = |outcome| ScheduleCommand::Settle {
        version: 1,
        settled: Settled {
            outcome,
            from: Due {
                at: Timestamp(20),
                oddity: None,
            },
            to: Timestamp(30),
            count: 2,
        },
        refused: None,
    };
    assert_eq!(
        run(&mut schedule, settle(Outcome::Fired), 40),
        Ok(Vec::new())
    );
    let noted = run(&mut schedule, settle(Outcome::Missed), 40).expect("noted");
    assert!(
        matches!(&noted[..], [ControlEvent::ScheduleSettled(e)] if e.count == 2 && e.to == Timestamp(30))
    );
    let again = run(&mut schedule, settle(Outcome::Missed), 45);
    assert_eq!(again, Ok(Vec::new()), "noted once, whoever runs it");
    assert!(run(&mut schedule, ScheduleCommand::Delete, 50).is_ok());
    for command in [
        ScheduleCommand::Delete,
        ScheduleCommand::Resume,
        set(draft()),
    ] {
        assert_eq!(
            run(&mut schedule, command, 60),
            Err(ScheduleRefusal::NoSuchSchedule)
        );
    }
}

/// What whoever takes over begins behind is never later than the last instant without an outcome.
#[test]
fn a_new_runner_begins_behind_what_certainly_has_an_outcome() {
    let mut schedule = Schedule::default();
    assert!(run(&mut schedule, set(draft()), 10).is_ok());
    let reached = Timestamp(DAY);
    assert_eq!(schedule.settled_by(reached), reached);
    assert!(!schedule.changed_after(reached));
    assert_eq!(
        schedule.settled_by(Timestamp(20)),
        Timestamp(10),
        "the other may not have known of it yet"
    );
    assert!(schedule.changed_after(Timestamp(20)));
    let pause = ScheduleCommand::Pause {
        reason: None,
        until: None,
    };
    assert!(run(&mut schedule, pause, DAY / 2).is_ok());
    assert_eq!(schedule.decidable(reached), Timestamp(DAY / 2 - 1));
    assert_eq!(schedule.settled_by(reached), Timestamp(DAY / 2 - 1));
    assert!(run(&mut schedule, ScheduleCommand::Resume, DAY).is_ok());
    assert_eq!(schedule.decidable(reached), reached);
    assert_eq!(schedule.settled_by(reached), Timestamp(DAY / 2 - 1));
    let told = ScheduleCommand::Settle {
        version: 1,
        settled: Settled {
            outcome: Outcome::Paused,
            from: Due {
                at: Timestamp(DAY / 2),
                oddity: None,
            },
            to: Timestamp(DAY - 1),
            count: 7,
        },
        refused: None,
    };
    assert!(run(&mut schedule, told, DAY).is_ok());
    assert_eq!(schedule.settled_by(reached), Timestamp(DAY - 1));
}

type Change = fn(&mut ScheduleSet);

#[test]
fn what_makes_no_sense_is_refused_by_its_field() {
    let cases: [(&str, Change); 10] = [
        ("when", |set| set.when = "cron(0 0 30 2 *)".into()),
        ("when", |set| set.when = "at 1969-01-01T00:00".into()),
        ("when", |set| set.until = Some(Timestamp(1_000))),
        ("zone", |set| set.zone = "Mars/Olympus".into()),
        ("jitter", |set| set.jitter_ms = 3_600_001),
        ("catchUp.max", |set| {
            set.catch_up = CatchUp::All {
                most: 0,
                within_ms: 1,
            }
        }),
        ("catchUp.within", |set| {
            set.catch_up = CatchUp::All {
                most: 1,
                within_ms: 0,
            }
        }),
        ("task", |set| set.task = "x".repeat(MAX_TASK_BYTES + 1)),
        ("task", |set| {
            set.task = r#"{"body": "{{run.colour}}"}"#.into();
        }),
        ("name", |set| set.name = Some("x".repeat(101))),
    ];
    for (field, change) in cases {
        let mut bad = draft();
        change(&mut bad);
        match run(&mut Schedule::default(), set(bad), 10) {
            Err(ScheduleRefusal::InvalidSchedule(refused)) => assert_eq!(refused.field, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}
