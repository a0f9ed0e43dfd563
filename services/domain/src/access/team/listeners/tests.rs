use super::*;
use crate::access::Aggregate;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::team::TeamCommand;
use crate::actor::Actor;
use crate::event::{MemberJoined, TeamCreated};
use crate::id::{TeamId, UserId};

const NOW: Timestamp = Timestamp(1_000);
const LEASE: Duration = Duration::from_secs(60);

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

fn id(number: u128) -> ListenerId {
    ListenerId::new(NOW, number)
}

fn open(number: u128, queues: &[&str], hosts: &[&str]) -> ListenerCommand {
    let queues = queues.iter().map(|name| QueueName::parse(name));
    let hosts = hosts.iter().map(|name| TargetHost::parse(name));
    ListenerCommand::Open {
        listener: id(number),
        queues: queues.collect::<Result<_, _>>().expect("names"),
        hosts: hosts.collect::<Result<_, _>>().expect("hosts"),
        lease: LEASE,
    }
}

fn run_as(
    team: &mut Team,
    by: u128,
    command: ListenerCommand,
    now: Timestamp,
) -> Result<Vec<&'static str>, String> {
    let by = Actor::User(UserId::new(NOW, by));
    let command = TeamCommand::Listener(command);
    let events = team.decide(command, &by, Catalogue::builtin(), now);
    let events = events.map_err(|refusal| refusal.to_string())?;
    for event in &events {
        // Applied again, an event changes nothing.
        team.evolve(event);
        team.evolve(event);
    }
    Ok(events.iter().map(ControlEvent::name).collect())
}

fn run(
    team: &mut Team,
    command: ListenerCommand,
    now: Timestamp,
) -> Result<Vec<&'static str>, String> {
    run_as(team, 1, command, now)
}

#[test]
fn a_listener_holds_its_lease_until_it_is_over_or_given_back() {
    let mut team = team();
    let opened = run(&mut team, open(1, &["images"], &[]), NOW);
    assert_eq!(opened, Ok(vec!["listener.opened.v1"]));
    let end = NOW.plus(LEASE);
    let held = |team: &Team, at| team.listeners.get(&id(1)).map(|of| of.is_held(at));
    assert_eq!(held(&team, Timestamp(end.0 - 1)), Some(true));
    assert_eq!(held(&team, end), Some(false));
    let renew = || ListenerCommand::Renew {
        listener: id(1),
        lease: LEASE,
    };
    let renewed = Ok(vec!["listener.renewed.v1"]);
    assert_eq!(
        run(&mut team, renew(), end),
        renewed,
        "also when it is over"
    );
    assert_eq!(held(&team, end), Some(true));
    let again = run(&mut team, renew(), end.plus(Duration::from_secs(1)));
    assert_eq!(again, Ok(vec![]), "too soon to matter");
    let release = || ListenerCommand::Release { listener: id(1) };
    let released = Ok(vec!["listener.released.v1"]);
    assert_eq!(run(&mut team, release(), end), released);
    assert_eq!(run(&mut team, release(), end), Ok(vec![]));
    assert_eq!(held(&team, end), Some(false));
    assert_eq!(run(&mut team, renew(), end), renewed);
    let remove = || ListenerCommand::Remove { listener: id(1) };
    let removed = Ok(vec!["listener.removed.v1"]);
    assert_eq!(run(&mut team, remove(), end), removed);
    assert_eq!(run(&mut team, remove(), end), Ok(vec![]));
    let gone = Err("Listener not found".to_owned());
    assert_eq!(run(&mut team, renew(), end), gone);
    assert_eq!(run(&mut team, release(), end), gone);
}

#[test]
fn a_new_listener_replaces_those_that_hold_nothing_and_that_it_covers() {
    let mut team = team();
    assert!(run(&mut team, open(1, &["a"], &["x.example"]), NOW).is_ok());
    assert!(run(&mut team, open(2, &["a", "b"], &[]), NOW).is_ok());
    let later = NOW.plus(LEASE);
    assert!(run(&mut team, open(3, &["a"], &["x.example"]), NOW).is_ok());
    let ids = |team: &Team| team.listeners.keys().cloned().collect::<Vec<_>>();
    assert_eq!(ids(&team), [id(1), id(2), id(3)], "all hold their leases");
    let opened = run(&mut team, open(4, &["a", "c"], &["x.example"]), later);
    let replaced = vec![
        "listener.opened.v1",
        "listener.removed.v1",
        "listener.removed.v1",
    ];
    assert_eq!(opened, Ok(replaced));
    assert_eq!(ids(&team), [id(2), id(4)], "b needs a listener still");
}

#[test]
fn what_is_out_of_bounds_is_refused_with_its_field() {
    let mut team = team();
    let refused = run(&mut team, open(1, &[], &[]), NOW);
    assert!(refused.is_err_and(|text| text.contains("queues or hosts")));
    for lease in [9, 3_601] {
        let command = ListenerCommand::Open {
            listener: id(1),
            queues: vec![QueueName::parse("a").expect("a name")],
            hosts: Vec::new(),
            lease: Duration::from_secs(lease),
        };
        let message = format!("leaseSeconds must be from 10 to 3600, not {lease}");
        assert_eq!(run(&mut team, command, NOW), Err(message));
    }
    let names: Vec<_> = (0..=MAX_LISTENED).map(|n| format!("q{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let refused = run(&mut team, open(1, &names, &[]), NOW);
    assert!(refused.is_err_and(|text| text.contains("at most 100, not 101")));
    let denied = run_as(&mut team, 2, open(1, &["a"], &[]), NOW);
    assert_eq!(denied, Err("Access denied".into()), "a viewer");
    for number in 0..MAX_LISTENERS as u128 {
        let queue = format!("q{number}");
        assert!(run(&mut team, open(number, &[&queue], &[]), NOW).is_ok());
    }
    let refused = run(&mut team, open(500, &["more"], &[]), NOW);
    assert!(refused.is_err_and(|text| text.contains("100 listeners")));
}
