use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::access::Aggregate;
use crate::access::plan::Catalogue;
use crate::access::team::TeamCommand;
use crate::actor::Actor;
use crate::id::{TeamId, UserId};

const NOW: Timestamp = Timestamp(1_000);
const REDIRECT: &str = "https://app.example.com/cb";

fn user(number: u128) -> Actor {
    Actor::User(UserId::new(NOW, number))
}

fn id(number: u8) -> AppId {
    AppId::new(NOW, number.into())
}

fn secret(number: u8) -> SecretMac {
    SecretMac {
        mac: format!("{number:02x}").repeat(32),
        pepper_version: 1,
    }
}

fn draft(number: u8) -> AppDraft {
    AppDraft {
        id: id(number),
        name: "Dashboard".into(),
        environment: Environment::Live,
        redirect_uris: vec![REDIRECT.into()],
        scopes: [Scope::TasksRead, Scope::TasksWrite, Scope::KeysRead]
            .into_iter()
            .collect(),
        secret: Some(secret(0)),
    }
}

fn run(team: &mut Team, command: TeamCommand, by: &Actor) -> Result<usize, TeamRefusal> {
    let events = team.decide(command, by, Catalogue::builtin(), NOW)?;
    for event in &events {
        team.evolve(event);
    }
    Ok(events.len())
}

fn on(team: &mut Team, command: AppCommand) -> Result<usize, TeamRefusal> {
    run(team, TeamCommand::App(command), &user(1))
}

fn create(draft: AppDraft) -> AppCommand {
    AppCommand::Create(Box::new(draft))
}

fn a_team() -> Team {
    let mut team = Team::default();
    for event in founding() {
        team.evolve(&event);
    }
    team
}

fn founding() -> Vec<ControlEvent> {
    let team = TeamId::new(NOW, 1);
    let mut events = vec![ControlEvent::TeamCreated(crate::event::TeamCreated {
        team: team.clone(),
        name: "Ours".into(),
        plan: "pro".into(),
        at: NOW,
    })];
    for (number, role) in [(1, Role::Admin), (2, Role::Member)] {
        events.push(ControlEvent::MemberJoined(crate::event::MemberJoined {
            team: team.clone(),
            user: UserId::new(NOW, number),
            role,
            at: NOW,
        }));
    }
    events
}

#[test]
fn only_admins_register_applications() {
    let mut team = a_team();
    let command = || TeamCommand::App(create(draft(1)));
    for by in [user(2), user(3), Actor::App(id(9))] {
        assert_eq!(
            run(&mut team, command(), &by),
            Err(TeamRefusal::NotEntitled)
        );
    }
    assert_eq!(run(&mut team, command(), &user(1)), Ok(1));
    assert_eq!(
        run(&mut team, command(), &user(1)),
        Err(TeamRefusal::AlreadyExists)
    );
}

#[test]
fn what_could_send_a_code_astray_is_not_registered() {
    let mut team = a_team();
    let invalid = |field| move |refused: &Result<usize, TeamRefusal>| matches!(refused, Err(TeamRefusal::Invalid { field: f, .. }) if *f == field);
    for uris in [
        vec!["http://app.example.com/cb".to_owned()],
        vec![REDIRECT.into(), "https://app.example.com/cb#x".into()],
        vec![REDIRECT.into(); MAX_REDIRECTS + 1],
    ] {
        let refused = on(
            &mut team,
            create(AppDraft {
                redirect_uris: uris,
                ..draft(1)
            }),
        );
        assert!(invalid("redirectUris")(&refused), "{refused:?}");
    }
    let public = AppDraft {
        redirect_uris: Vec::new(),
        secret: None,
        ..draft(1)
    };
    assert!(invalid("redirectUris")(&on(&mut team, create(public))));
    for scopes in [ScopeSet::default(), ScopeSet::all()] {
        assert!(invalid("scopes")(&on(
            &mut team,
            create(AppDraft { scopes, ..draft(1) })
        )));
    }
    assert!(invalid("name")(&on(
        &mut team,
        create(AppDraft {
            name: "a\u{202e}b".into(),
            ..draft(1)
        })
    )));
}

#[test]
fn a_team_has_so_many_applications_and_no_more() {
    let mut team = a_team();
    for number in 0..50 {
        assert_eq!(on(&mut team, create(draft(number))), Ok(1));
    }
    assert_eq!(
        on(&mut team, create(draft(50))),
        Err(AppRefusal::TooMany.into())
    );
    assert_eq!(on(&mut team, AppCommand::Remove { app: id(7) }), Ok(1));
    assert_eq!(on(&mut team, create(draft(50))), Ok(1));
}

#[test]
fn what_is_removed_stays_removed() {
    let mut team = a_team();
    on(&mut team, create(draft(1))).expect("registered");
    let created = team.apps[&id(1)].created.clone();
    assert_eq!(on(&mut team, AppCommand::Remove { app: id(1) }), Ok(1));
    assert_eq!(on(&mut team, AppCommand::Remove { app: id(1) }), Ok(0));
    team.evolve(&ControlEvent::AppCreated(created));
    assert_eq!(team.app(&id(1)), None);
    let gone = Err(TeamRefusal::App(AppRefusal::NoSuchApp));
    assert_eq!(
        on(
            &mut team,
            AppCommand::RotateSecret {
                app: id(1),
                secret: secret(1)
            }
        ),
        gone
    );
    assert_eq!(
        on(
            &mut team,
            AppCommand::Change {
                app: id(1),
                change: AppChange::default()
            }
        ),
        gone
    );
    assert_eq!(on(&mut team, AppCommand::Remove { app: id(2) }), gone);
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let mut team = a_team();
    on(&mut team, create(draft(1))).expect("registered");
    let change = |change| AppCommand::Change { app: id(1), change };
    assert_eq!(on(&mut team, change(AppChange::default())), Ok(0));
    let renamed = AppChange {
        name: Some("Board".into()),
        ..AppChange::default()
    };
    assert_eq!(on(&mut team, change(renamed)), Ok(1));
    let app = team.app(&id(1)).expect("there");
    assert_eq!(
        (app.name.as_str(), app.redirect_uris.len(), app.scopes),
        ("Board", 1, draft(1).scopes)
    );
    assert_eq!(app.secret, Some(secret(0)));
    assert_eq!(
        on(
            &mut team,
            AppCommand::RotateSecret {
                app: id(1),
                secret: secret(1)
            }
        ),
        Ok(1)
    );
    let app = team.app(&id(1)).expect("there");
    assert_eq!(
        (app.name.as_str(), &app.secret),
        ("Board", &Some(secret(1)))
    );
}

#[test]
fn a_public_application_has_no_secret_to_rotate() {
    let mut team = a_team();
    on(
        &mut team,
        create(AppDraft {
            secret: None,
            ..draft(1)
        }),
    )
    .expect("registered");
    let rotate = AppCommand::RotateSecret {
        app: id(1),
        secret: secret(1),
    };
    assert_eq!(on(&mut team, rotate), Err(AppRefusal::NoSecret.into()));
}

#[test]
fn an_application_may_no_more_than_whom_it_acts_for() {
    let app = App::new(AppCreated {
        app: id(1),
        team: TeamId::new(NOW, 1),
        name: "x".into(),
        environment: Environment::Live,
        redirect_uris: vec![REDIRECT.into()],
        scopes: registrable().iter().collect(),
        secret_mac: None,
        pepper_version: 0,
        created_by: "user".into(),
        at: NOW,
    });
    assert!(
        app.scopes_for(Role::Viewer)
            .is_within(ScopeSet::read_only())
    );
    for role in Role::ALL {
        assert!(!app.scopes_for(role).contains(Scope::KeysWrite), "{role}");
    }
    let own = app.own_scopes();
    assert!(own.contains(Scope::TasksWrite) && !own.contains(Scope::ActivityRead));
    assert!(!own.contains(Scope::KeysRead));
}

proptest! {
    /// What a gateway keeps on disk: the latest event of each type on each subject, in order.
    #[test]
    fn the_latest_of_each_type_tells_all_of_applications(steps in proptest::collection::vec((0_u8..5, 0_u8..3), 1..40)) {
        let mut team = a_team();
        let mut history = founding();
        for (step, which) in steps {
            let app = id(which);
            let command = match step {
                0 => create(draft(which)),
                1 => AppCommand::Change { app, change: AppChange { name: Some(format!("n{}", history.len())), ..AppChange::default() } },
                2 => AppCommand::Change { app, change: AppChange { scopes: Some([Scope::TasksRead].into_iter().collect()), ..AppChange::default() } },
                3 => AppCommand::RotateSecret { app, secret: secret(u8::try_from(history.len()).unwrap_or(0)) },
                _ => AppCommand::Remove { app },
            };
            if let Ok(events) = team.decide(TeamCommand::App(command), &user(1), Catalogue::builtin(), NOW) {
                for event in events {
                    team.evolve(&event);
                    history.push(event);
                }
            }
        }
        let mut latest = BTreeMap::new();
        for (seq, event) in history.iter().enumerate() {
            let (kind, id) = event.aggregate();
            latest.insert((kind, id.to_owned(), event.name()), (seq, event));
        }
        let mut kept: Vec<_> = latest.into_values().collect();
        kept.sort_by_key(|(seq, _)| *seq);
        let mut restored = Team::default();
        for (_, event) in kept {
            restored.evolve(event);
        }
        prop_assert_eq!(restored, team);
    }
}
