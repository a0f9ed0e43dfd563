//! A world of two runners, which die, are frozen, go on late and have wrong clocks, while the schedule
//! changes: every instant has an outcome, and none has two tasks.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::access::Aggregate;
use crate::actor::Actor;
use crate::event::{ControlEvent, ScheduleSettled};
use crate::id::{Environment, ScheduleId, TeamId};
use crate::recurring::{CatchUp, Outcome, Overlap};
use crate::schedule::ScheduleCommand;

const BEGIN: i64 = 1_800_000_000_000;

/// What is wrong with the runners of a negative control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Progress is noted before the steps are taken.
    NotedEarly,
    /// A task is made without looking whether it is there.
    NoKey,
}

#[derive(Debug, Clone)]
enum Event {
    Pass(i64),
    /// A runner begins, as one does that takes over.
    Begin(usize),
    /// It looks at what is due.
    Decide(usize),
    /// It takes its next step.
    Take(usize),
    /// It notes how far it has come.
    Note(usize),
    Die(usize),
    Change(i64),
    Pause,
    Resume,
}

struct Runner {
    course: Option<Course>,
    steps: VecDeque<Step>,
    decided: Timestamp,
    /// How far its clock is off, in milliseconds.
    clock: i64,
}

struct World {
    fault: Fault,
    now: i64,
    schedule: Schedule,
    versions: Vec<ScheduleSet>,
    pauses: Vec<(i64, Option<i64>)>,
    /// How often a task of each run was made.
    tasks: BTreeMap<RunId, u32>,
    told: Vec<ScheduleSettled>,
    reached: Timestamp,
    runners: [Runner; 2],
    catch_up: CatchUp,
}

impl World {
    fn new(fault: Fault, catch_up: CatchUp, clocks: [i64; 2]) -> Self {
        let runner = |clock| Runner {
            course: None,
            steps: VecDeque::new(),
            decided: Timestamp(BEGIN),
            clock,
        };
        let mut world = Self {
            fault,
            now: BEGIN,
            schedule: Schedule::default(),
            versions: Vec::new(),
            pauses: Vec::new(),
            tasks: BTreeMap::new(),
            told: Vec::new(),
            reached: Timestamp(0),
            runners: clocks.map(runner),
            catch_up,
        };
        world.change(7);
        world
    }

    fn command(&mut self, command: ScheduleCommand) {
        let by = Actor::System("test".into());
        let decided = self.schedule.decide(command, &by, &(), Timestamp(self.now));
        for event in decided.unwrap_or_default() {
            self.schedule.evolve(&event);
            match event {
                ControlEvent::ScheduleSet(set) => self.versions.push(*set),
                ControlEvent::SchedulePaused(_) => self.pauses.push((self.now, None)),
                ControlEvent::ScheduleResumed(_) => {
                    if let Some(last) = self.pauses.last_mut() {
                        last.1 = Some(self.now);
                    }
                }
                ControlEvent::ScheduleSettled(settled) => self.told.push(settled),
                _ => {}
            }
        }
    }

    fn change(&mut self, seconds: i64) {
        let draft = ScheduleSet {
            schedule: ScheduleId::new(Timestamp(1), 1),
            team: TeamId::new(Timestamp(1), 1),
            environment: Environment::Live,
            version: 0,
            name: None,
            when: format!("every {seconds}s"),
            zone: "UTC".into(),
            zones: String::new(),
            from: None,
            until: None,
            overlap: Overlap::Allow,
            catch_up: self.catch_up,
            jitter_ms: 0,
            task: "{}".into(),
            set_by: String::new(),
            at: Timestamp(0),
            job: None,
        };
        self.command(ScheduleCommand::Set {
            draft: Box::new(draft),
            only_if: None,
        });
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Pass(millis) => self.now += millis,
            Event::Begin(at) => {
                let begun = Course::begin(self.schedule.clone(), self.reached);
                self.runners[at].steps.clear();
                self.runners[at].course = Some(begun);
            }
            Event::Decide(at) => self.decide(at),
            Event::Take(at) => self.take(at),
            Event::Note(at) => self.note(at),
            Event::Die(at) => {
                self.runners[at].course = None;
                self.runners[at].steps.clear();
            }
            Event::Change(seconds) => self.change(seconds),
            Event::Pause => self.command(ScheduleCommand::Pause {
                reason: None,
                until: None,
            }),
            Event::Resume => self.command(ScheduleCommand::Resume),
        }
    }

    fn decide(&mut self, at: usize) {
        let runner = &mut self.runners[at];
        let Some(course) = runner.course.as_mut().filter(|_| runner.steps.is_empty()) else {
            return;
        };
        // Without a fresh copy it has no lease, and decides nothing.
        course.change(self.schedule.clone());
        runner.decided = Timestamp(self.now + runner.clock);
        let mut made = course.may_be_made(runner.decided);
        made.retain(|run| self.tasks.contains_key(run));
        runner.steps = course.decide(runner.decided, &made).into();
        if self.fault == Fault::NotedEarly {
            self.reached = self.reached.max(runner.decided);
        }
        if runner.steps.is_empty() {
            course.all_taken(runner.decided);
        }
    }

    fn take(&mut self, at: usize) {
        let Some(step) = self.runners[at].steps.pop_front() else {
            return;
        };
        if step.settled.outcome == Outcome::Fired {
            let run = RunId::due(&step.set.schedule, step.set.version, step.settled.from.at);
            let made = self.tasks.entry(run).or_default();
            if *made == 0 || self.fault == Fault::NoKey {
                *made += 1;
            }
        } else {
            self.command(ScheduleCommand::Settle {
                version: step.set.version,
                settled: step.settled,
                refused: None,
            });
        }
        let runner = &mut self.runners[at];
        if let Some(course) = &mut runner.course {
            course.taken(&step);
            if runner.steps.is_empty() {
                course.all_taken(runner.decided);
            }
        }
    }

    /// One that was frozen for long has lost its lease.
    fn note(&mut self, at: usize) {
        let runner = &self.runners[at];
        let is_fresh = self.now + runner.clock - runner.decided.0 < 20_000;
        if let Some(course) = runner.course.as_ref().filter(|_| is_fresh) {
            self.reached = self.reached.max(course.reached(runner.decided));
        }
    }

    /// A runner that is well goes on for an hour.
    fn recover(&mut self) {
        self.runners[1].clock = 0;
        self.happen(&Event::Resume);
        self.happen(&Event::Begin(1));
        for _ in 0..3 {
            self.now += 1_200_000;
            self.happen(&Event::Decide(1));
            while !self.runners[1].steps.is_empty() {
                self.happen(&Event::Take(1));
            }
        }
    }

    /// What is wrong with the ledger.
    fn wrong(&self) -> Option<String> {
        if let Some((run, count)) = self.tasks.iter().find(|(_, count)| **count > 1) {
            return Some(format!("{run} has {count} tasks"));
        }
        for (place, set) in self.versions.iter().enumerate() {
            let end = self
                .versions
                .get(place + 1)
                .map_or(self.now, |next| next.at.0);
            let (when, zone) = set.times().expect("valid");
            for due in when.between(&zone, set.at, Timestamp(end)) {
                let run = RunId::due(&set.schedule, set.version, due.at);
                let told = self.told.iter().find(|told| {
                    told.version == set.version && (told.from..=told.to).contains(&due.at)
                });
                let fired = self.tasks.contains_key(&run);
                if !fired && told.is_none() {
                    return Some(format!(
                        "{} of version {} has no outcome",
                        due.at, set.version
                    ));
                }
                let is_paused = self.pauses.iter().any(|(from, until)| {
                    *from <= due.at.0 && until.is_none_or(|until| due.at.0 < until)
                });
                let paused = told.is_some_and(|told| told.outcome == Outcome::Paused);
                if paused && !is_paused {
                    return Some(format!("{} was not paused", due.at));
                }
            }
        }
        None
    }
}

fn run(fault: Fault, catch_up: CatchUp, clocks: [i64; 2], events: &[Event]) -> Option<String> {
    let mut world = World::new(fault, catch_up, clocks);
    for event in events {
        world.happen(event);
    }
    world.recover();
    world.wrong()
}

fn event() -> impl Strategy<Value = Event> {
    let who = 0..2_usize;
    prop_oneof![
        4 => (1..30_000_i64).prop_map(Event::Pass),
        1 => (1..400_000_i64).prop_map(Event::Pass),
        2 => who.clone().prop_map(Event::Begin),
        6 => who.clone().prop_map(Event::Decide),
        12 => who.clone().prop_map(Event::Take),
        3 => who.clone().prop_map(Event::Note),
        2 => who.prop_map(Event::Die),
        1 => (1..20_i64).prop_map(Event::Change),
        1 => Just(Event::Pause),
        2 => Just(Event::Resume),
    ]
}

fn catch_up() -> impl Strategy<Value = CatchUp> {
    prop_oneof![
        Just(CatchUp::None),
        Just(CatchUp::Last),
        Just(CatchUp::All {
            most: 50,
            within_ms: 600_000
        }),
    ]
}

proptest! {
    #[test]
    fn every_instant_has_an_outcome_and_none_has_two_tasks(
        catch_up in catch_up(),
        clocks in [-30_000..30_000_i64, -30_000..30_000_i64],
        events in prop::collection::vec(event(), 1..120),
    ) {
        prop_assert_eq!(run(Fault::None, catch_up, clocks, &events), None);
    }
}

#[test]
fn progress_that_is_noted_before_it_is_made_loses_an_instant() {
    let events = [
        Event::Begin(0),
        Event::Pass(700_000),
        Event::Decide(0),
        Event::Take(0),
        Event::Die(0),
    ];
    let all = CatchUp::All {
        most: 50,
        within_ms: 600_000,
    };
    assert_eq!(run(Fault::None, all, [0, 0], &events), None);
    let wrong = run(Fault::NotedEarly, all, [0, 0], &events);
    assert!(wrong.is_some_and(|wrong| wrong.contains("no outcome")));
}

#[test]
fn a_task_without_the_key_of_its_run_is_made_twice() {
    let events = [
        Event::Begin(0),
        Event::Begin(1),
        Event::Pass(8_000),
        Event::Decide(0),
        Event::Decide(1),
        Event::Take(0),
        Event::Take(1),
    ];
    assert_eq!(run(Fault::None, CatchUp::Last, [0, 0], &events), None);
    let wrong = run(Fault::NoKey, CatchUp::Last, [0, 0], &events);
    assert!(wrong.is_some_and(|wrong| wrong.contains("2 tasks")));
}
