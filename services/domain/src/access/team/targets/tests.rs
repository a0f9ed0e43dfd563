use super::*;
use crate::access::Aggregate;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::team::TeamCommand;
use crate::actor::Actor;
use crate::dispatcher::{Compartment, HealthRulesBook};
use crate::event::{MemberJoined, TeamCreated};
use crate::health::FailureShare;
use crate::id::{TeamId, UserId};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(1_000);
const RULE: HealthRule = HealthRule {
    in_a_row: Some(5),
    share: None,
    pause_ms: 30_000,
    max_pause_ms: 600_000,
};

fn team() -> TeamId {
    TeamId::new(NOW, 1)
}

fn host(name: &str) -> TargetHost {
    TargetHost::parse(name).expect("a host")
}

fn set(name: &str, rule: Option<HealthRule>) -> TeamCommand {
    TeamCommand::Target(TargetCommand::SetHealth {
        environment: Environment::Live,
        host: host(name),
        rule,
    })
}

/// A team with an owner (1) and a viewer (2), beside the rules that workers derive.
fn stage() -> (Team, HealthRulesBook) {
    let mut team_state = Team::default();
    team_state.evolve(&ControlEvent::TeamCreated(TeamCreated {
        team: team(),
        name: "Ours".into(),
        plan: "pro".into(),
        at: NOW,
    }));
    for (number, role) in [(1, Role::Owner), (2, Role::Viewer)] {
        team_state.evolve(&ControlEvent::MemberJoined(MemberJoined {
            team: team(),
            user: UserId::new(NOW, number),
            role,
            at: NOW,
        }));
    }
    (team_state, HealthRulesBook::default())
}

fn run(
    (state, book): &mut (Team, HealthRulesBook),
    command: TeamCommand,
    by: u128,
) -> Result<usize, TeamRefusal> {
    let by = Actor::User(UserId::new(NOW, by));
    let events = state.decide(command, &by, Catalogue::builtin(), NOW)?;
    for event in &events {
        state.evolve(event);
        // Applied twice, an event changes nothing.
        book.apply(event);
        book.apply(event);
    }
    Ok(events.len())
}

#[test]
fn a_rule_is_set_replaced_and_removed_and_workers_know_it() {
    let mut stage = stage();
    let key = Compartment::of(
        &team().in_environment(Environment::Live),
        &host("a.example"),
    );
    assert_eq!(
        run(&mut stage, set("a.example", Some(RULE)), 1).ok(),
        Some(1)
    );
    assert_eq!(
        run(&mut stage, set("a.example", Some(RULE)), 1).ok(),
        Some(0)
    );
    assert_eq!(stage.1.rule(key), Some(RULE));
    let other = HealthRule {
        in_a_row: Some(6),
        ..RULE
    };
    assert_eq!(
        run(&mut stage, set("a.example", Some(other)), 1).ok(),
        Some(1)
    );
    assert_eq!(
        stage.0.health_rule(Environment::Live, &host("a.example")),
        Some(other)
    );
    assert_eq!(
        stage.0.health_rule(Environment::Test, &host("a.example")),
        None
    );
    assert_eq!(run(&mut stage, set("a.example", None), 1).ok(), Some(1));
    assert_eq!((stage.1.rule(key), stage.0.targets.len()), (None, 0));
}

#[test]
fn rules_that_make_no_sense_are_refused_by_name() {
    let mut stage = stage();
    assert!(run(&mut stage, set("a.example", Some(RULE)), 2).is_err());
    let share = |percent, of| Some(FailureShare { percent, of });
    for (rule, wanted) in [
        (
            HealthRule {
                in_a_row: Some(0),
                ..RULE
            },
            "failuresInARow must be between 1 and 1000",
        ),
        (
            HealthRule {
                in_a_row: None,
                ..RULE
            },
            "failuresInARow or failureShare is required",
        ),
        (
            HealthRule {
                share: share(0, 20),
                ..RULE
            },
            "failureShare.percent must be",
        ),
        (
            HealthRule {
                share: share(101, 20),
                ..RULE
            },
            "failureShare.percent must be",
        ),
        (
            HealthRule {
                share: share(50, 1),
                ..RULE
            },
            "failureShare.of must be between 2 and 64",
        ),
        (
            HealthRule {
                share: share(50, 65),
                ..RULE
            },
            "failureShare.of must be",
        ),
        (
            HealthRule {
                pause_ms: 999,
                ..RULE
            },
            "pause must be between",
        ),
        (
            HealthRule {
                max_pause_ms: 86_400_001,
                ..RULE
            },
            "maxPause must be between",
        ),
        (
            HealthRule {
                max_pause_ms: 29_999,
                ..RULE
            },
            "maxPause must not be shorter",
        ),
    ] {
        let refused = run(&mut stage, set("a.example", Some(rule)), 1).expect_err(wanted);
        assert!(refused.to_string().contains(wanted), "{refused}");
    }
}

#[test]
fn the_number_of_rules_is_bounded() {
    let mut stage = stage();
    for number in 0..MAX_RULED_HOSTS {
        assert_eq!(
            run(
                &mut stage,
                set(&format!("h{number}.example"), Some(RULE)),
                1
            )
            .ok(),
            Some(1)
        );
    }
    assert!(run(&mut stage, set("more.example", Some(RULE)), 1).is_err());
    assert_eq!(run(&mut stage, set("h1.example", None), 1).ok(), Some(1));
    assert_eq!(
        run(&mut stage, set("more.example", Some(RULE)), 1).ok(),
        Some(1)
    );
}
