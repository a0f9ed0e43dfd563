use super::*;
use crate::access::Aggregate;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::team::TeamCommand;
use crate::actor::Actor;
use crate::event::{MemberJoined, TeamCreated};
use crate::id::{TeamId, UserId};

const NOW: Timestamp = Timestamp(1_000);
const LATER: Timestamp = Timestamp(2_000);

fn team() -> Team {
    let mut team = Team::default();
    let id = TeamId::new(NOW, 1);
    team.evolve(&ControlEvent::TeamCreated(TeamCreated {
        team: id.clone(),
        name: "Ours".into(),
        plan: "pro".into(),
        at: NOW,
    }));
    for (number, role) in [(1, Role::Member), (2, Role::Viewer)] {
        team.evolve(&ControlEvent::MemberJoined(MemberJoined {
            team: id.clone(),
            user: UserId::new(NOW, number),
            role,
            at: NOW,
        }));
    }
    team
}

fn worker(name: &str) -> WorkerName {
    WorkerName::parse(name).expect("a name")
}

fn drain(name: &str, until: Option<Timestamp>) -> WorkerCommand {
    WorkerCommand::Drain {
        environment: Environment::Live,
        worker: worker(name),
        reason: Some(" a new disk ".into()),
        until,
    }
}

fn run(team: &mut Team, command: WorkerCommand, by: u128, now: Timestamp) -> Result<usize, String> {
    let by = Actor::User(UserId::new(NOW, by));
    let command = TeamCommand::Worker(command);
    let events = team.decide(command, &by, Catalogue::builtin(), now);
    let events = events.map_err(|refusal| format!("{refusal:?}"))?;
    for event in &events {
        // Applied again, an event changes nothing.
        team.evolve(event);
        team.evolve(event);
    }
    Ok(events.len())
}

#[test]
fn a_worker_drains_until_it_is_resumed_in_its_environment_alone() {
    let mut team = team();
    assert_eq!(run(&mut team, drain("a/1", None), 1, NOW), Ok(1));
    let known = team.drain(Environment::Live, &worker("a/1"), LATER);
    let known = known.expect("draining").clone();
    assert_eq!((known.since, known.until), (NOW, None));
    assert_eq!(known.reason.as_deref(), Some("a new disk"));
    let elsewhere = team.drain(Environment::Test, &worker("a/1"), LATER);
    assert_eq!(elsewhere, None);
    assert_eq!(run(&mut team, drain("a/1", None), 1, LATER), Ok(0));
    // Stated anew it goes on since the beginning.
    let until = Some(LATER.plus(std::time::Duration::from_secs(9)));
    assert_eq!(run(&mut team, drain("a/1", until), 1, LATER), Ok(1));
    let known = team.drain(Environment::Live, &worker("a/1"), LATER);
    assert_eq!(
        known.map(|known| (known.since, known.until)),
        Some((NOW, until))
    );
    let resume = || WorkerCommand::Resume {
        environment: Environment::Live,
        worker: worker("a/1"),
    };
    assert_eq!(run(&mut team, resume(), 1, LATER), Ok(1));
    assert_eq!(team.drain(Environment::Live, &worker("a/1"), LATER), None);
    assert_eq!(run(&mut team, resume(), 1, LATER), Ok(0));
}

#[test]
fn a_drain_with_an_end_is_over_then_and_is_forgotten_with_the_next() {
    let mut team = team();
    assert_eq!(run(&mut team, drain("a", Some(LATER)), 1, NOW), Ok(1));
    assert_eq!(team.drain(Environment::Live, &worker("a"), LATER), None);
    assert_eq!(run(&mut team, drain("b", None), 1, LATER), Ok(1));
    assert_eq!(team.draining.len(), 1);
}

#[test]
fn viewers_dates_in_the_past_and_too_many_are_refused() {
    let mut team = team();
    let refused = run(&mut team, drain("a", None), 2, NOW).expect_err("a viewer");
    assert!(refused.contains("NotEntitled"), "{refused}");
    let refused = run(&mut team, drain("a", Some(NOW)), 1, NOW).expect_err("the past");
    assert!(refused.contains("until"), "{refused}");
    for number in 0..MAX_DRAINING {
        let named = drain(&format!("w{number}"), None);
        assert_eq!(run(&mut team, named, 1, NOW), Ok(1));
    }
    let refused = run(&mut team, drain("a", None), 1, NOW).expect_err("too many");
    assert!(refused.contains("name"), "{refused}");
    // One of them may still be stated anew.
    let far = Some(Timestamp(9_000_000));
    assert_eq!(run(&mut team, drain("w1", far), 1, NOW), Ok(1));
}
