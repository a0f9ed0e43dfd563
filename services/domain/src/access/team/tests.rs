mod keys;
mod members;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::access::email::Email;
use crate::access::key::{ApiKey, ENTROPY_BYTES};
use crate::access::scope::{Scope, ScopeSet};
use crate::event::{RepeatableRequest, RevocationReason};
use crate::id::Environment;

const NOW: Timestamp = Timestamp(1_000);

fn id() -> TeamId {
    TeamId::new(NOW, 1)
}

fn user(number: u128) -> UserId {
    UserId::new(NOW, number)
}

fn operator() -> Actor {
    Actor::Operator("test".into())
}

fn catalogue() -> &'static Catalogue {
    Catalogue::builtin()
}

fn run(team: &mut Team, command: TeamCommand, by: &Actor) -> Result<usize, TeamRefusal> {
    let events = team.decide(command, by, catalogue(), NOW)?;
    for event in &events {
        team.evolve(event);
    }
    Ok(events.len())
}

fn team_on(plan: &str) -> Team {
    let mut team = Team::default();
    let create = TeamCommand::Create {
        team: id(),
        name: "Ours".into(),
        plan: plan.into(),
        owner: Some(user(1)),
    };
    assert_eq!(run(&mut team, create, &operator()), Ok(2));
    team
}

fn draft(seed: u8, environment: Environment) -> KeyDraft {
    let mut entropy = [0; ENTROPY_BYTES];
    for (at, byte) in (0_u8..).zip(entropy.iter_mut()) {
        *byte = seed.wrapping_mul(29).wrapping_add(at.wrapping_mul(7)) % 248;
    }
    let key = ApiKey::generate("wb", environment, &entropy).expect("a key");
    KeyDraft {
        mac: key.mac(b"pepper", &id()),
        key,
        pepper_version: 1,
    }
}

fn create_key(seed: u8, scopes: ScopeSet) -> TeamCommand {
    TeamCommand::CreateKey {
        draft: draft(seed, Environment::Live),
        name: "ci".into(),
        scopes,
        expires_at: None,
        sources: Vec::new(),
        queues: Vec::new(),
        request: None,
    }
}

fn key_id(seed: u8) -> KeyId {
    draft(seed, Environment::Live).key.id().clone()
}

fn revoke(key: KeyId) -> TeamCommand {
    TeamCommand::RevokeKey {
        key,
        reason: RevocationReason::Requested,
    }
}

fn invite(number: u128, address: &str, role: Role) -> TeamCommand {
    let email = Email::parse(address).expect("an address");
    TeamCommand::Invite(Box::new(InvitationDraft {
        id: InvitationId::new(NOW, number),
        email_hash: email.hash(b"k"),
        email,
        mac: "00".into(),
        pepper_version: 1,
        role,
        lifetime: Duration::from_secs(60),
    }))
}

fn accept(number: u128, address: &str, who: UserId) -> TeamCommand {
    TeamCommand::AcceptInvitation {
        invitation: InvitationId::new(NOW, number),
        user: who,
        email_hash: Email::parse(address).expect("an address").hash(b"k"),
    }
}

fn joined(team: &mut Team, number: u128, role: Role) -> UserId {
    let address = format!("p{number}@example.com");
    run(team, invite(number, &address, role), &operator()).expect("invited");
    run(
        team,
        accept(number, &address, user(number)),
        &Actor::User(user(number)),
    )
    .expect("joined");
    user(number)
}

#[test]
fn a_taken_id_and_a_bad_name_are_refused() {
    let mut team = team_on("pro");
    assert_eq!(
        run(&mut team, create_key(1, ScopeSet::all()), &operator()),
        Ok(1)
    );
    assert_eq!(
        run(&mut team, create_key(1, ScopeSet::all()), &operator()),
        Err(TeamRefusal::KeyIdTaken)
    );
    for bad in [
        "",
        "  ",
        "a\u{202e}b",
        "a\nb",
        "\u{1b}[31mred",
        &"n".repeat(101),
    ] {
        let command = TeamCommand::Rename { name: bad.into() };
        let refused = run(&mut team, command, &operator());
        assert!(
            matches!(refused, Err(TeamRefusal::Invalid { field: "name", .. })),
            "{bad:?}"
        );
    }
}

#[test]
fn nothing_happens_to_a_team_that_is_not_there() {
    let mut team = Team::default();
    assert_eq!(
        run(&mut team, create_key(1, ScopeSet::all()), &operator()),
        Err(TeamRefusal::NoSuchTeam)
    );
}

proptest! {
    /// What a gateway keeps on disk: the latest event of each type on each subject, in order.
    #[test]
    fn the_latest_of_each_type_tells_as_much_as_all(steps in proptest::collection::vec((0_u8..9, 0_u8..3), 1..60)) {
        let mut team = team_on("pro");
        let mut history = vec![ControlEvent::TeamCreated(crate::event::TeamCreated {
            team: id(), name: "Ours".into(), plan: "pro".into(), at: NOW,
        }), ControlEvent::MemberJoined(crate::event::MemberJoined {
            team: id(), user: user(1), role: Role::Owner, at: NOW,
        })];
        for (step, which) in steps {
            let number = u128::from(which) + 2;
            let address = format!("p{number}@example.com");
            let command = match step {
                0 => create_key(which, ScopeSet::all()),
                1 => revoke(key_id(which)),
                2 => TeamCommand::RotateKey { key: key_id(which), draft: draft(which + 10, Environment::Live), overlap: Duration::from_secs(1) },
                3 => invite(number, &address, Role::Member),
                4 => accept(number, &address, user(number)),
                5 => TeamCommand::ChangeRole { user: user(number), role: Role::ALL[usize::from(which)] },
                6 => TeamCommand::RemoveMember { user: user(number) },
                7 => TeamCommand::Rename { name: format!("Team {which}") },
                _ => TeamCommand::ChangePlan { plan: "enterprise".into() },
            };
            if let Ok(events) = team.decide(command, &operator(), catalogue(), NOW) {
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
