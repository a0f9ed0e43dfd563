//! API keys: creation, rotation, revocation, reports, and their limits.

use super::*;

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
        queues: Vec::new(),
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
        queues: Vec::new(),
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
        queues: Vec::new(),
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
fn a_key_bound_to_networks_is_used_from_nowhere_else() {
    let mut team = team_on("pro");
    let create = TeamCommand::CreateKey {
        draft: draft(1, Environment::Live),
        name: "ci".into(),
        scopes: ScopeSet::all(),
        expires_at: None,
        sources: vec!["192.0.2.0/24".into(), "2001:db8::/32".into()],
        queues: Vec::new(),
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
        queues: Vec::new(),
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
        queues: Vec::new(),
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
