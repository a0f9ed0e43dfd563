use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::access::Aggregate;
use crate::access::key::{ApiKey, ENTROPY_BYTES};
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::scope::ScopeSet;
use crate::access::team::{KeyDraft, TeamCommand};
use crate::actor::Actor;
use crate::event::{MemberJoined, TeamCreated};
use crate::id::{KeyId, TeamId, UserId};

const NOW: Timestamp = Timestamp(1_000);
const LATER: Timestamp = Timestamp(2_000);

fn user(number: u128) -> Actor {
    Actor::User(UserId::new(NOW, number))
}

fn id(number: u8) -> TokenId {
    TokenId::new(NOW, number.into())
}

fn draft(number: u8) -> TokenDraft {
    TokenDraft {
        id: id(number),
        environment: Environment::Live,
        name: " OpenAI ".into(),
        envelope: "AQID".into(),
        fits_header: true,
        allowed_hosts: vec!["api.openai.com".into()],
        expires_at: None,
    }
}

fn create(draft: TokenDraft) -> TokenCommand {
    TokenCommand::Create(Box::new(draft))
}

fn rotate(number: u8, version: u32) -> TokenCommand {
    TokenCommand::Rotate {
        token: id(number),
        version,
        envelope: "AQIE".into(),
        fits_header: false,
    }
}

fn revoke(number: u8, reason: TokenEnd) -> TokenCommand {
    TokenCommand::Revoke {
        token: id(number),
        reason,
    }
}

fn shredded(number: u8) -> TokenCommand {
    TokenCommand::NoteShredded { token: id(number) }
}

fn run_at(
    team: &mut Team,
    command: TeamCommand,
    by: &Actor,
    now: Timestamp,
) -> Result<usize, TeamRefusal> {
    let events = team.decide(command, by, Catalogue::builtin(), now)?;
    for event in &events {
        team.evolve(event);
    }
    Ok(events.len())
}

fn by(team: &mut Team, command: TokenCommand, actor: &Actor) -> Result<usize, TeamRefusal> {
    run_at(team, TeamCommand::Token(command), actor, NOW)
}

fn on(team: &mut Team, command: TokenCommand) -> Result<usize, TeamRefusal> {
    by(team, command, &user(1))
}

fn system() -> Actor {
    Actor::System("janitor".into())
}

fn gone() -> TeamRefusal {
    TokenRefusal::NoSuchToken.into()
}

/// An owner (1), a member (2), a viewer (3).
fn founding(plan: &str) -> Vec<ControlEvent> {
    let team = TeamId::new(NOW, 1);
    let mut events = vec![ControlEvent::TeamCreated(TeamCreated {
        team: team.clone(),
        name: "Ours".into(),
        plan: plan.into(),
        at: NOW,
    })];
    for (number, role) in [(1, Role::Owner), (2, Role::Member), (3, Role::Viewer)] {
        events.push(ControlEvent::MemberJoined(MemberJoined {
            team: team.clone(),
            user: UserId::new(NOW, number),
            role,
            at: NOW,
        }));
    }
    events
}

fn a_team(plan: &str) -> Team {
    let mut team = Team::default();
    for event in founding(plan) {
        team.evolve(&event);
    }
    team
}

fn with_key(team: &mut Team, environment: Environment, scopes: ScopeSet) -> Actor {
    let entropy = [environment as u8 + 3; ENTROPY_BYTES];
    let key = ApiKey::generate("wb", environment, &entropy).expect("a key");
    let id: KeyId = key.id().clone();
    let create = TeamCommand::CreateKey {
        draft: KeyDraft {
            mac: key.mac(&[7; 32], &TeamId::new(NOW, 1)),
            key,
            pepper_version: 1,
        },
        name: "ci".into(),
        scopes,
        expires_at: None,
        sources: Vec::new(),
        queues: Vec::new(),
        request: None,
    };
    run_at(team, create, &user(1), NOW).expect("made");
    Actor::Key(id)
}

#[test]
fn a_token_lives_from_its_creation_to_its_shredding() {
    let mut team = a_team("pro");
    assert_eq!(on(&mut team, create(draft(1))), Ok(1));
    let token = team.token(&id(1), Environment::Live, NOW).expect("there");
    assert_eq!((token.name.as_str(), token.version), ("OpenAI", 1));
    assert!(token.fits_header);
    assert!(team.token(&id(1), Environment::Test, NOW).is_none());

    assert_eq!(on(&mut team, rotate(1, 2)), Ok(1));
    let token = team.token(&id(1), Environment::Live, NOW).expect("there");
    assert_eq!((token.version, token.fits_header), (2, false));
    let moved = TeamRefusal::from(TokenRefusal::VersionMoved);
    assert_eq!(on(&mut team, rotate(1, 2)), Err(moved.clone()));
    assert_eq!(on(&mut team, rotate(1, 1)), Err(moved));
    assert_eq!(on(&mut team, rotate(1, 4)), Ok(1));

    assert_eq!(
        by(&mut team, shredded(1), &system()),
        Err(TeamRefusal::NotEntitled)
    );
    assert_eq!(on(&mut team, revoke(1, TokenEnd::Requested)), Ok(1));
    assert!(team.tokens_by_age(Environment::Live, NOW).is_empty());
    for command in [revoke(1, TokenEnd::Requested), rotate(1, 5), rotate(9, 2)] {
        assert_eq!(on(&mut team, command), Err(gone()));
    }
    assert_eq!(by(&mut team, shredded(1), &system()), Ok(1));
    assert_eq!(by(&mut team, shredded(1), &system()), Ok(0));
    // An erased token cannot be recreated under the same id.
    assert_eq!(
        on(&mut team, create(draft(1))),
        Err(TeamRefusal::AlreadyExists)
    );
}

#[test]
fn a_token_whose_time_is_over_is_as_good_as_none() {
    let mut team = a_team("pro");
    let past = TokenDraft {
        expires_at: Some(NOW),
        ..draft(1)
    };
    assert!(matches!(
        on(&mut team, create(past)),
        Err(TeamRefusal::Invalid {
            field: "expiresAt",
            ..
        })
    ));
    let short = TokenDraft {
        expires_at: Some(LATER),
        ..draft(1)
    };
    on(&mut team, create(short)).expect("kept");
    assert!(team.token(&id(1), Environment::Live, NOW).is_some());
    assert!(team.token(&id(1), Environment::Live, LATER).is_none());
    let late = TeamCommand::Token(revoke(1, TokenEnd::Requested));
    assert_eq!(run_at(&mut team, late, &user(1), LATER), Err(gone()));
    let swept = TeamCommand::Token(revoke(1, TokenEnd::Expired));
    assert_eq!(run_at(&mut team, swept, &system(), LATER), Ok(1));
}

#[test]
fn a_plan_has_room_for_so_many() {
    let mut team = a_team("free");
    let limit = Catalogue::builtin().plan("free").max_tokens.expect("one");
    for number in 0..u8::try_from(limit).expect("few") {
        on(&mut team, create(draft(number))).expect("room");
    }
    let refused = on(&mut team, create(draft(200))).expect_err("full");
    assert_eq!(
        refused.to_string(),
        format!("The plan free allows {limit} vault tokens; revoke one or change the plan")
    );
    on(&mut team, revoke(0, TokenEnd::Requested)).expect("revoked");
    assert_eq!(on(&mut team, create(draft(200))), Ok(1));
}

#[test]
fn only_who_may_write_tokens_of_that_world_does() {
    let mut team = a_team("pro");
    let live = with_key(&mut team, Environment::Live, ScopeSet::all());
    let test = with_key(&mut team, Environment::Test, ScopeSet::all());
    assert_eq!(by(&mut team, create(draft(1)), &user(2)), Ok(1));
    assert_eq!(by(&mut team, create(draft(2)), &live), Ok(1));
    for (actor, refused) in [
        (user(3), TeamRefusal::NotEntitled),
        (user(4), TeamRefusal::NotEntitled),
    ] {
        assert_eq!(by(&mut team, create(draft(3)), &actor), Err(refused));
    }
    assert!(matches!(
        by(&mut team, create(draft(3)), &test),
        Err(TeamRefusal::BeyondCaller { .. })
    ));
    // The answer reveals nothing about the other environment.
    for command in [revoke(1, TokenEnd::Requested), rotate(1, 2)] {
        assert_eq!(by(&mut team, command, &test), Err(gone()));
    }
    let mut team = a_team("pro");
    let reader = with_key(&mut team, Environment::Live, ScopeSet::read_only());
    assert_eq!(
        by(&mut team, create(draft(1)), &reader),
        Err(TeamRefusal::NotEntitled)
    );
}

#[test]
fn a_team_may_require_hosts_and_have_more_headers_sealed() {
    let mut team = a_team("pro");
    let policy = |names: &[&str]| TeamCommand::ChangeVaultPolicy {
        sealed_headers: Some(names.iter().map(ToString::to_string).collect()),
        require_allowed_hosts: Some(true),
    };
    let wanted = policy(&["X-Vendor-Key", "x-vendor-key"]);
    assert_eq!(run_at(&mut team, wanted.clone(), &user(1), NOW), Ok(1));
    assert_eq!(run_at(&mut team, wanted, &user(1), NOW), Ok(0));
    let info = team.info.as_ref().expect("there");
    assert_eq!(info.vault.sealed_headers, ["x-vendor-key"]);
    assert_eq!(
        run_at(&mut team, policy(&[]), &user(2), NOW),
        Err(TeamRefusal::NotEntitled)
    );
    for bad in ["", "a b", "host"] {
        let refused = run_at(&mut team, policy(&[bad]), &user(1), NOW);
        assert!(
            matches!(
                refused,
                Err(TeamRefusal::Invalid {
                    field: "sealedHeaders",
                    ..
                })
            ),
            "{bad:?}"
        );
    }
    let anywhere = TokenDraft {
        allowed_hosts: Vec::new(),
        ..draft(1)
    };
    assert!(matches!(
        on(&mut team, create(anywhere)),
        Err(TeamRefusal::Invalid {
            field: "allowedHosts",
            ..
        })
    ));
    assert_eq!(on(&mut team, create(draft(1))), Ok(1));
}

#[test]
fn nothing_of_a_deleted_team_counts() {
    let mut team = a_team("pro");
    let key = with_key(&mut team, Environment::Live, ScopeSet::all());
    on(&mut team, create(draft(1))).expect("kept");
    assert_eq!(
        run_at(&mut team, TeamCommand::Delete, &user(2), NOW),
        Err(TeamRefusal::NotEntitled)
    );
    assert_eq!(run_at(&mut team, TeamCommand::Delete, &user(1), NOW), Ok(1));
    assert!(!team.is_there());
    assert!(team.members.is_empty() && team.counted_keys(NOW) == 0);
    assert!(team.token(&id(1), Environment::Live, NOW).is_none());
    for actor in [user(1), key, system()] {
        assert_eq!(
            by(&mut team, create(draft(2)), &actor),
            Err(TeamRefusal::NoSuchTeam)
        );
    }
    assert_eq!(by(&mut team, shredded(1), &system()), Ok(1));
}

proptest! {
    /// What a gateway keeps on disk: the latest event of each type on each subject, in order.
    #[test]
    fn the_latest_of_each_type_tells_as_much_as_all(steps in proptest::collection::vec((0_u8..6, 0_u8..3), 1..60)) {
        let mut team = a_team("pro");
        let mut events = founding("pro");
        for (step, number) in steps {
            let version = team.tokens.get(&id(number)).map_or(0, |token| token.version);
            let command = match step {
                0 | 1 => TeamCommand::Token(create(draft(number))),
                2 => TeamCommand::Token(rotate(number, version + 1)),
                3 => TeamCommand::Token(revoke(number, TokenEnd::Requested)),
                4 => TeamCommand::Token(shredded(number)),
                _ if number == 0 && events.len() > 20 => TeamCommand::Delete,
                _ => TeamCommand::ChangeVaultPolicy {
                    sealed_headers: Some(vec![format!("x-{number}")]),
                    require_allowed_hosts: None,
                },
            };
            for event in team.decide(command, &system(), Catalogue::builtin(), NOW).unwrap_or_default() {
                team.evolve(&event);
                events.push(event);
            }
        }
        let mut latest = BTreeMap::new();
        for (seq, event) in events.into_iter().enumerate() {
            let (kind, id) = event.aggregate();
            latest.insert((kind, id.to_owned(), event.name()), (seq, event));
        }
        let mut kept: Vec<_> = latest.into_values().collect();
        kept.sort_by_key(|(seq, _)| *seq);
        let mut restored = Team::default();
        for (_, event) in &kept {
            restored.evolve(event);
        }
        prop_assert_eq!(restored, team);
    }
}
