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
fn revoking_twice_is_one_event() {
    let mut team = team_on("pro");
    assert_eq!(
        run(&mut team, create_key(1, ScopeSet::all()), &operator()),
        Ok(1)
    );
    assert_eq!(run(&mut team, revoke(key_id(1)), &operator()), Ok(1));
    assert_eq!(run(&mut team, revoke(key_id(1)), &operator()), Ok(0));
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

#[test]
fn a_plan_counts_keys_that_can_be_used() {
    let mut team = team_on("free");
    assert_eq!(
        run(&mut team, create_key(1, ScopeSet::all()), &operator()),
        Ok(1)
    );
    assert_eq!(
        run(&mut team, create_key(2, ScopeSet::all()), &operator()),
        Err(TeamRefusal::KeyLimit {
            plan: "free".into(),
            limit: 1
        })
    );
    let rotate = TeamCommand::RotateKey {
        key: key_id(1),
        draft: draft(2, Environment::Live),
        overlap: Duration::from_secs(60),
    };
    assert_eq!(
        run(&mut team, rotate, &operator()),
        Ok(2),
        "a successor takes the place"
    );
    assert_eq!(run(&mut team, revoke(key_id(2)), &operator()), Ok(1));
    assert_eq!(
        run(&mut team, create_key(3, ScopeSet::all()), &operator()),
        Ok(1)
    );
}

#[test]
fn a_key_makes_no_key_that_may_do_more_than_itself() {
    let mut team = team_on("pro");
    let narrow: ScopeSet = [Scope::KeysWrite, Scope::TasksRead].into_iter().collect();
    run(&mut team, create_key(1, narrow), &operator()).expect("made");
    let by = Actor::Key(key_id(1));
    assert_eq!(
        run(&mut team, create_key(2, ScopeSet::all()), &by),
        Err(TeamRefusal::WiderThanCaller(Scope::TasksWrite))
    );
    let other_world = TeamCommand::CreateKey {
        draft: draft(2, Environment::Test),
        name: "ci".into(),
        scopes: narrow,
        expires_at: None,
        sources: Vec::new(),
        request: None,
    };
    assert!(matches!(
        run(&mut team, other_world, &by),
        Err(TeamRefusal::BeyondCaller {
            field: "environment",
            ..
        })
    ));
    assert_eq!(run(&mut team, create_key(2, narrow), &by), Ok(1));
    run(&mut team, revoke(key_id(1)), &operator()).expect("revoked");
    assert_eq!(
        run(&mut team, create_key(3, narrow), &by),
        Err(TeamRefusal::NotEntitled),
        "a key that was revoked a moment ago"
    );
}

#[test]
fn a_key_that_expires_makes_none_that_lives_longer() {
    let mut team = team_on("pro");
    let until = |at| TeamCommand::CreateKey {
        draft: draft(
            if at == NOW.plus(Duration::from_secs(9)) {
                1
            } else {
                2
            },
            Environment::Live,
        ),
        name: "ci".into(),
        scopes: ScopeSet::all(),
        expires_at: Some(at),
        sources: Vec::new(),
        request: None,
    };
    run(
        &mut team,
        until(NOW.plus(Duration::from_secs(9))),
        &operator(),
    )
    .expect("made");
    let by = Actor::Key(key_id(1));
    for refused in [
        until(NOW.plus(Duration::from_secs(10))),
        create_key(2, ScopeSet::all()),
    ] {
        assert!(matches!(
            run(&mut team, refused, &by),
            Err(TeamRefusal::BeyondCaller {
                field: "expiresAt",
                ..
            })
        ));
    }
    assert_eq!(
        run(&mut team, until(NOW.plus(Duration::from_secs(8))), &by),
        Ok(1)
    );
}

#[test]
fn a_successor_has_exactly_what_its_predecessor_had() {
    let mut team = team_on("pro");
    let scopes: ScopeSet = [Scope::TasksRead].into_iter().collect();
    let create = TeamCommand::CreateKey {
        draft: draft(1, Environment::Live),
        name: "ci".into(),
        scopes,
        expires_at: Some(Timestamp(9_000)),
        sources: vec!["192.0.2.0/24".into()],
        request: None,
    };
    run(&mut team, create, &operator()).expect("made");
    let rotate = |key| TeamCommand::RotateKey {
        key,
        draft: draft(2, Environment::Live),
        overlap: Duration::from_millis(500),
    };
    assert_eq!(run(&mut team, rotate(key_id(1)), &operator()), Ok(2));
    let (old, new) = (&team.keys[&key_id(1)], &team.keys[&key_id(2)]);
    assert_eq!(
        (
            &new.created.name,
            new.scopes,
            new.created.expires_at,
            &new.created.sources
        ),
        (
            &old.created.name,
            old.scopes,
            old.created.expires_at,
            &old.created.sources
        )
    );
    assert_eq!(new.created.rotated_from, Some(key_id(1)));
    assert_eq!(old.status(Timestamp(1_499)), KeyStatus::Active);
    assert_eq!(old.status(Timestamp(1_500)), KeyStatus::Expired);
    assert!(matches!(
        run(&mut team, rotate(key_id(1)), &operator()),
        Err(TeamRefusal::NotRotatable(_))
    ));
}

#[test]
fn a_holder_may_end_its_own_key_and_no_other() {
    let mut team = team_on("pro");
    let narrow: ScopeSet = [Scope::TasksRead].into_iter().collect();
    run(&mut team, create_key(1, narrow), &operator()).expect("made");
    run(&mut team, create_key(2, narrow), &operator()).expect("made");
    let own = |key| TeamCommand::RevokeKey {
        key,
        reason: RevocationReason::ByHolder,
    };
    let by = Actor::Key(key_id(1));
    assert_eq!(
        run(&mut team, own(key_id(2)), &by),
        Err(TeamRefusal::NotEntitled)
    );
    assert_eq!(run(&mut team, own(key_id(1)), &by), Ok(1));
}

#[test]
fn what_a_leak_report_does_is_the_teams_choice() {
    let report = |key| TeamCommand::ReportKey {
        key,
        reporter: "scanner".into(),
        source: "commit".into(),
        url: None,
    };
    for (policy, events) in [(LeakPolicy::Revoke, 2), (LeakPolicy::Warn, 1)] {
        let mut team = team_on("pro");
        run(&mut team, create_key(1, ScopeSet::all()), &operator()).expect("made");
        let choose = TeamCommand::ChangeLeakPolicy {
            leaked_keys: policy,
        };
        run(&mut team, choose, &operator()).expect("chosen");
        let by = Actor::System("scanner".into());
        assert_eq!(
            run(&mut team, report(key_id(1)), &by),
            Ok(events),
            "{policy:?}"
        );
        let is_revoked = team.keys[&key_id(1)].revoked.is_some();
        assert_eq!(is_revoked, policy == LeakPolicy::Revoke);
    }
}

#[test]
fn roles_bound_who_changes_whom() {
    let mut team = team_on("pro");
    let admin = joined(&mut team, 2, Role::Admin);
    let member = joined(&mut team, 3, Role::Member);
    let change = |user: &UserId, role| TeamCommand::ChangeRole {
        user: user.clone(),
        role,
    };
    let (by_owner, by_admin, by_member) = (
        Actor::User(user(1)),
        Actor::User(admin.clone()),
        Actor::User(member.clone()),
    );
    let refused = Err(TeamRefusal::NotEntitled);
    assert_eq!(
        run(&mut team, change(&member, Role::Admin), &by_member),
        refused
    );
    assert_eq!(
        run(&mut team, change(&member, Role::Owner), &by_admin),
        refused
    );
    assert_eq!(
        run(&mut team, change(&user(1), Role::Viewer), &by_admin),
        refused
    );
    let remove = |user| TeamCommand::RemoveMember { user };
    assert_eq!(run(&mut team, remove(user(1)), &by_admin), refused);
    assert_eq!(run(&mut team, remove(admin.clone()), &by_member), refused);
    assert_eq!(
        run(&mut team, create_key(9, ScopeSet::all()), &by_member),
        refused
    );
    assert_eq!(
        run(&mut team, create_key(9, ScopeSet::all()), &by_admin),
        Ok(1)
    );
    assert_eq!(
        run(&mut team, remove(user(1)), &by_owner),
        Err(TeamRefusal::LastOwner)
    );
    assert_eq!(
        run(&mut team, remove(member.clone()), &by_member),
        Ok(1),
        "anybody may leave"
    );
    assert_eq!(
        run(&mut team, remove(member), &by_owner),
        Err(TeamRefusal::NoSuchMember)
    );
}

#[test]
fn an_invitation_is_for_one_address_and_for_a_while() {
    let mut team = team_on("pro");
    run(
        &mut team,
        invite(5, "ann@example.com", Role::Viewer),
        &operator(),
    )
    .expect("invited");
    let not_hers = accept(5, "eve@example.com", user(6));
    let gone = Err(TeamRefusal::NoSuchInvitation);
    assert_eq!(run(&mut team, not_hers, &operator()), gone);
    let late = team.decide(
        accept(5, "ann@example.com", user(6)),
        &Actor::User(user(6)),
        catalogue(),
        NOW.plus(Duration::from_secs(60)),
    );
    assert_eq!(late, Err(TeamRefusal::NoSuchInvitation));
    // A second one takes the place of the first.
    assert_eq!(
        run(
            &mut team,
            invite(7, "ann@example.com", Role::Member),
            &operator()
        ),
        Ok(2)
    );
    assert_eq!(
        run(
            &mut team,
            accept(5, "ann@example.com", user(6)),
            &operator()
        ),
        gone
    );
    assert_eq!(
        run(
            &mut team,
            accept(7, "ann@example.com", user(6)),
            &operator()
        ),
        Ok(2)
    );
    assert_eq!(team.role_of(&user(6)), Some(Role::Member));
    assert_eq!(
        run(
            &mut team,
            accept(7, "ann@example.com", user(6)),
            &operator()
        ),
        gone
    );
}

#[test]
fn two_members_on_free_are_two() {
    let mut team = team_on("free");
    run(
        &mut team,
        invite(2, "b@example.com", Role::Member),
        &operator(),
    )
    .expect("room for one");
    let full = TeamRefusal::MemberLimit {
        plan: "free".into(),
        limit: 2,
    };
    assert_eq!(
        run(
            &mut team,
            invite(3, "c@example.com", Role::Member),
            &operator()
        ),
        Err(full)
    );
}

#[test]
fn a_key_bound_to_networks_is_used_from_nowhere_else() {
    let mut team = team_on("pro");
    let create = TeamCommand::CreateKey {
        draft: draft(1, Environment::Live),
        name: "ci".into(),
        scopes: ScopeSet::all(),
        expires_at: None,
        sources: vec!["192.0.2.0/24".into(), "2001:db8::/32".into()],
        request: None,
    };
    run(&mut team, create, &operator()).expect("made");
    let key = &team.keys[&key_id(1)];
    for (source, may) in [
        ("192.0.2.9", true),
        ("::ffff:192.0.2.9", true),
        ("198.51.100.1", false),
        ("2001:db8::1", true),
        ("::1", false),
    ] {
        assert_eq!(
            key.may_come_from(source.parse().expect("an address")),
            may,
            "{source}"
        );
    }
}

#[test]
fn a_repeated_request_makes_no_second_key_and_is_told_which_one_it_made() {
    let mut team = team_on("pro");
    let create = |seed, key: &str, fingerprint: &str| TeamCommand::CreateKey {
        draft: draft(seed, Environment::Live),
        name: "ci".into(),
        scopes: ScopeSet::all(),
        expires_at: None,
        sources: Vec::new(),
        request: Some(RepeatableRequest {
            idempotency_key: key.into(),
            fingerprint: fingerprint.into(),
        }),
    };
    assert_eq!(run(&mut team, create(1, "a", "x"), &operator()), Ok(1));
    assert_eq!(
        run(&mut team, create(2, "a", "x"), &operator()),
        Err(TeamRefusal::SecretAlreadyShown(key_id(1)))
    );
    assert_eq!(
        run(&mut team, create(2, "a", "y"), &operator()),
        Err(TeamRefusal::RequestMismatch)
    );
    assert_eq!(
        run(&mut team, create(2, "a", "x"), &Actor::User(user(9))),
        Err(TeamRefusal::NotEntitled),
        "who may not make keys learns nothing of them"
    );
    assert_eq!(run(&mut team, create(2, "b", "x"), &operator()), Ok(1));
}

#[test]
fn a_key_reaches_no_key_of_the_other_environment() {
    let mut team = team_on("pro");
    run(&mut team, create_key(1, ScopeSet::all()), &operator()).expect("made");
    let in_test = TeamCommand::CreateKey {
        draft: draft(2, Environment::Test),
        name: "ci".into(),
        scopes: ScopeSet::all(),
        expires_at: None,
        sources: Vec::new(),
        request: None,
    };
    run(&mut team, in_test, &operator()).expect("made");
    let test_key = draft(2, Environment::Test).key.id().clone();
    for (own, other) in [(key_id(1), test_key.clone()), (test_key, key_id(1))] {
        let by = Actor::Key(own);
        let rotate = TeamCommand::RotateKey {
            key: other.clone(),
            draft: draft(3, Environment::Test),
            overlap: Duration::ZERO,
        };
        for command in [revoke(other), rotate] {
            assert_eq!(run(&mut team, command, &by), Err(TeamRefusal::NoSuchKey));
        }
    }
}

#[test]
fn a_report_that_is_repeated_is_noted_once_and_still_follows_the_policy() {
    let mut team = team_on("pro");
    run(&mut team, create_key(1, ScopeSet::all()), &operator()).expect("made");
    let choose = |leaked_keys| TeamCommand::ChangeLeakPolicy { leaked_keys };
    run(&mut team, choose(LeakPolicy::Warn), &operator()).expect("chosen");
    let report = TeamCommand::ReportKey {
        key: key_id(1),
        reporter: "scanner".into(),
        source: "commit".into(),
        url: None,
    };
    let by = Actor::System("scanner".into());
    assert_eq!(run(&mut team, report.clone(), &by), Ok(1));
    assert_eq!(run(&mut team, report.clone(), &by), Ok(0));
    run(&mut team, choose(LeakPolicy::Revoke), &operator()).expect("chosen");
    assert_eq!(run(&mut team, report.clone(), &by), Ok(1));
    assert!(team.keys[&key_id(1)].revoked.is_some());
    assert_eq!(run(&mut team, report, &by), Ok(0));
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
