use super::*;
use crate::access::Aggregate;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::team::TeamCommand;
use crate::actor::Actor;
use crate::dispatcher::{Compartment, Hold, HostRules, HostRulesBook};
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
    disable_after_ms: None,
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
fn stage() -> (Team, HostRulesBook) {
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
    (team_state, HostRulesBook::default())
}

fn run(
    (state, book): &mut (Team, HostRulesBook),
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
    assert_eq!(stage.1.rules(key).rule, Some(RULE));
    let other = HealthRule {
        in_a_row: Some(6),
        ..RULE
    };
    assert_eq!(
        run(&mut stage, set("a.example", Some(other)), 1).ok(),
        Some(1)
    );
    let rule = |environment| {
        let target = stage.0.target(environment, &host("a.example"))?;
        target.rule
    };
    assert_eq!(rule(Environment::Live), Some(other));
    assert_eq!(rule(Environment::Test), None);
    assert_eq!(run(&mut stage, set("a.example", None), 1).ok(), Some(1));
    assert_eq!(stage.1.rules(key), HostRules::default());
    assert_eq!(stage.0.targets.len(), 0);
}

#[test]
fn a_host_is_opened_and_closed_by_hand_and_the_rule_stays() {
    let mut stage = stage();
    let (environment, name) = (Environment::Live, host("a.example"));
    let key = Compartment::of(&team().in_environment(environment), &name);
    let open = |reason: Option<&str>, until| {
        TeamCommand::Target(TargetCommand::Open {
            environment,
            host: name.clone(),
            reason: reason.map(Into::into),
            until,
        })
    };
    let close = || {
        TeamCommand::Target(TargetCommand::Close {
            environment,
            host: name.clone(),
        })
    };
    assert_eq!(run(&mut stage, close(), 1).ok(), Some(0), "it is closed");
    assert!(run(&mut stage, open(None, None), 2).is_err(), "a viewer");
    assert!(
        run(&mut stage, open(None, Some(NOW)), 1).is_err(),
        "the past"
    );
    let until = Some(Timestamp(9_000));
    assert_eq!(
        run(&mut stage, open(Some(" moved "), until), 1).ok(),
        Some(1)
    );
    assert_eq!(run(&mut stage, open(Some("moved"), until), 1).ok(), Some(0));
    assert_eq!(stage.1.rules(key).held, Some(Hold::Until(Timestamp(9_000))));
    let told = stage
        .0
        .target(environment, &name)
        .and_then(|of| of.opened(NOW))
        .cloned();
    let told = told.expect("it is open");
    let by = Actor::User(UserId::new(NOW, 1)).to_string();
    assert_eq!((told.reason.as_deref(), told.by), (Some("moved"), by));
    assert_eq!(
        run(&mut stage, set("a.example", Some(RULE)), 1).ok(),
        Some(1)
    );
    assert_eq!(run(&mut stage, open(None, None), 1).ok(), Some(1), "anew");
    assert_eq!(stage.1.rules(key).held, Some(Hold::Open));
    assert_eq!(run(&mut stage, close(), 1).ok(), Some(1));
    let rules = HostRules {
        rule: Some(RULE),
        held: None,
        cleared: Some(NOW),
        listening: None,
    };
    assert_eq!(stage.1.rules(key), rules);
    assert!(
        stage
            .0
            .target(environment, &name)
            .is_some_and(|of| of.open.is_none())
    );
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
        (
            HealthRule {
                disable_after_ms: Some(3_599_999),
                ..RULE
            },
            "disableAfter must be between 1h and 30d",
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
