//! Members and invitations.

use super::*;

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
    // A second invitation replaces the first.
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
