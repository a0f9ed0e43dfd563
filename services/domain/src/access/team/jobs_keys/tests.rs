use std::collections::BTreeMap;

use super::*;
use crate::access::Aggregate as _;
use crate::access::key::{ApiKey, ENTROPY_BYTES};
use crate::access::plan::Catalogue;
use crate::access::scope::Scope;
use crate::access::team::organization::{FoundOrganization, OrganizationChange, SlugClaims};
use crate::access::team::{KeyStatus, TeamCommand};
use crate::actor::Actor;
use crate::id::{Environment, TeamId};

const NOW: Timestamp = Timestamp(1_000);

fn id() -> TeamId {
    TeamId::new(NOW, 1)
}

fn operator() -> Actor {
    Actor::Operator("test".into())
}

fn draft(seed: u8) -> KeyDraft {
    let mut entropy = [0; ENTROPY_BYTES];
    for (at, byte) in (0_u8..).zip(entropy.iter_mut()) {
        *byte = seed.wrapping_mul(29).wrapping_add(at.wrapping_mul(7)) % 248;
    }
    let key = ApiKey::generate("sp", Environment::Live, &entropy).expect("a key");
    KeyDraft {
        mac: key.mac(b"pepper", &id()),
        key,
        pepper_version: 1,
    }
}

fn key_id(seed: u8) -> KeyId {
    draft(seed).key.id().clone()
}

fn wish(scopes: &[Scope]) -> NewJobsKey {
    NewJobsKey {
        name: "worker".into(),
        scopes: scopes.iter().copied().collect(),
        queues: Vec::new(),
        expires_at: None,
        rate_limit: None,
    }
}

fn found(claims: &SlugClaims, slug: &str, plan: &str) -> Result<Team, TeamRefusal> {
    let command = FoundOrganization {
        team: id(),
        name: "Acme".into(),
        slug: slug.into(),
        plan: plan.into(),
        billing_email: None,
        settings: None,
        custom_limits: BTreeMap::new(),
        draft: draft(1),
        key: NewJobsKey {
            scopes: ScopeSet::all(),
            ..wish(&[])
        },
    };
    let events = claims.decide(command, &operator(), Catalogue::builtin(), NOW)?;
    let mut team = Team::default();
    events.iter().for_each(|event| team.evolve(event));
    Ok(team)
}

fn run(team: &mut Team, command: TeamCommand, by: &Actor) -> Result<usize, TeamRefusal> {
    let events = team.decide(command, by, Catalogue::builtin(), NOW)?;
    // Applied twice, as readers may: nothing changes by that.
    for event in events.iter().chain(&events) {
        team.evolve(event);
    }
    Ok(events.len())
}

fn create(seed: u8, key: NewJobsKey) -> TeamCommand {
    TeamCommand::JobsKey(Box::new(JobsKeyCommand::Create {
        draft: draft(seed),
        key,
    }))
}

fn change(seed: u8, change: JobsKeyChange) -> TeamCommand {
    TeamCommand::JobsKey(Box::new(JobsKeyCommand::Change {
        key: key_id(seed),
        change,
    }))
}

#[test]
fn an_organisation_is_founded_with_its_slug_and_first_key() {
    let team = found(&SlugClaims::default(), "acme", "free").expect("founded");
    assert_eq!(team.slug(), "acme");
    let key = team.keys.get(&key_id(1)).expect("the first key");
    assert_eq!(key.scopes, ScopeSet::all());
    let mut claims = SlugClaims::default();
    claims.evolve(&ControlEvent::TeamSlugTaken(crate::event::TeamSlugTaken {
        team: TeamId::new(NOW, 9),
        slug: "acme".into(),
        at: NOW,
    }));
    let taken = found(&claims, "acme", "free");
    assert_eq!(taken, Err(TeamRefusal::SlugTaken("acme".into())));
    for slug in [
        "a",
        "Acme",
        "-acme",
        "acme-",
        "ac me",
        "ac_me",
        &"a".repeat(51),
    ] {
        let refused = found(&SlugClaims::default(), slug, "free");
        assert!(
            matches!(refused, Err(TeamRefusal::Invalid { field: "slug", .. })),
            "{slug}"
        );
    }
}

#[test]
fn a_cap_of_keys_counts_deactivated_ones_and_is_what_an_administrator_says() {
    let mut team = found(&SlugClaims::default(), "acme", "free").expect("founded");
    let first = Actor::Key(key_id(1));
    let jobs = wish(&[Scope::JobsRead]);
    run(&mut team, create(2, jobs.clone()), &first).expect("room for two");
    let off = JobsKeyChange {
        is_active: Some(false),
        ..JobsKeyChange::default()
    };
    run(&mut team, change(2, off), &first).expect("deactivated");
    let refused = run(&mut team, create(3, jobs.clone()), &first);
    let Err(TeamRefusal::JobsQuota { current, limit, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((current, limit), (2, 2));
    let wider = OrganizationChange {
        custom_limits: Change::Set([("max_api_keys".to_owned(), 3)].into()),
        ..OrganizationChange::default()
    };
    let wider = TeamCommand::ChangeOrganization(Box::new(wider));
    let refused = run(&mut team, wider.clone(), &first);
    assert_eq!(refused, Err(TeamRefusal::NotEntitled), "no key widens it");
    run(&mut team, wider, &operator()).expect("set");
    run(&mut team, create(3, jobs), &first).expect("room for three");
}

#[test]
fn a_key_changes_its_rate_and_activity_and_only_becomes_narrower() {
    let mut team = found(&SlugClaims::default(), "acme", "enterprise").expect("founded");
    let first = Actor::Key(key_id(1));
    let both = [Scope::JobsRead, Scope::JobsWrite];
    run(&mut team, create(2, wish(&both)), &first).expect("made");
    let queue = QueueName::parse("emails").expect("a name");
    let narrower = JobsKeyChange {
        scopes: Some([Scope::JobsRead].into_iter().collect()),
        queues: Some(vec![queue.clone()]),
        rate_limit: Change::Set(60),
        ..JobsKeyChange::default()
    };
    assert_eq!(run(&mut team, change(2, narrower.clone()), &first), Ok(1));
    assert_eq!(
        run(&mut team, change(2, narrower), &first),
        Ok(0),
        "it is so"
    );
    let key = team.keys.get(&key_id(2)).expect("it").clone();
    assert_eq!(key.rate_limit(), Some(60));
    assert_eq!(key.only_queues(), Some(&[queue][..]));
    for wider in [
        JobsKeyChange {
            scopes: Some(both.into_iter().collect()),
            ..JobsKeyChange::default()
        },
        JobsKeyChange {
            queues: Some(Vec::new()),
            ..JobsKeyChange::default()
        },
    ] {
        let refused = run(&mut team, change(2, wider), &first);
        assert_eq!(refused, Err(TeamRefusal::ScopesStay));
    }
    let clear = JobsKeyChange {
        rate_limit: Change::Clear,
        is_active: Some(false),
        ..JobsKeyChange::default()
    };
    run(&mut team, change(2, clear), &first).expect("changed");
    let key = team.keys.get(&key_id(2)).expect("it");
    assert_eq!(key.rate_limit(), None);
    assert_eq!(key.status(NOW), KeyStatus::Inactive);
    let by_itself = run(&mut team, create(4, wish(&both)), &Actor::Key(key_id(2)));
    assert_eq!(by_itself, Err(TeamRefusal::NotEntitled));
}

#[test]
fn an_ended_session_stays_ended_also_when_there_are_very_many() {
    let mut team = found(&SlugClaims::default(), "acme", "free").expect("founded");
    let end = |session: String| {
        TeamCommand::JobsKey(Box::new(JobsKeyCommand::EndSession {
            key: key_id(1),
            session,
            expires_at: Timestamp(i64::MAX),
        }))
    };
    let by = Actor::Key(key_id(1));
    run(&mut team, end("one".into()), &by).expect("ended");
    let goes_on =
        |team: &Team, session: &str, begun| team.keys[&key_id(1)].has_session(session, begun);
    assert!(!goes_on(&team, "one", Timestamp(1)));
    assert!(goes_on(&team, "other", Timestamp(1)));
    for number in 0..=MAX_ENDED_SESSIONS {
        run(&mut team, end(format!("s{number}")), &by).expect("ended");
    }
    assert!(!goes_on(&team, "one", Timestamp(1)));
    assert!(!goes_on(&team, "s3", NOW));
    assert!(goes_on(&team, "later", Timestamp(1_001)));
}
