use super::*;
use crate::access::Aggregate;
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::team::TeamCommand;
use crate::event::{MemberJoined, MemberRemoved, TeamCreated};
use crate::id::TeamId;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(1_000);

fn user(number: u128) -> UserId {
    UserId::new(NOW, number)
}

/// Two members and a viewer.
fn team() -> Team {
    let mut team = Team::default();
    let id = TeamId::new(NOW, 1);
    team.evolve(&ControlEvent::TeamCreated(TeamCreated {
        team: id.clone(),
        name: "Ours".into(),
        plan: "pro".into(),
        at: NOW,
    }));
    for (number, role) in [(1, Role::Member), (2, Role::Member), (3, Role::Viewer)] {
        team.evolve(&ControlEvent::MemberJoined(MemberJoined {
            team: id.clone(),
            user: user(number),
            role,
            at: NOW,
        }));
    }
    team
}

fn save(name: &str, query: &str, owner: Option<u128>) -> ViewCommand {
    ViewCommand::Save {
        environment: Environment::Live,
        view: ViewId::new(NOW, query.len() as u128 * 1_000 + name.len() as u128),
        page: ViewPage::Tasks,
        name: name.into(),
        query: query.into(),
        owner: owner.map(user),
    }
}

fn run(team: &mut Team, command: ViewCommand, by: u128) -> Result<usize, TeamRefusal> {
    let command = TeamCommand::View(command);
    let events = team.decide(command, &Actor::User(user(by)), Catalogue::builtin(), NOW)?;
    for event in &events {
        // Applied again, an event changes nothing.
        team.evolve(event);
        team.evolve(event);
    }
    Ok(events.len())
}

fn seen(team: &Team, by: u128) -> Vec<&str> {
    let of = user(by);
    let views = team.views_of(Some(&of));
    let mut names: Vec<_> = views.map(|view| view.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_view_is_the_teams_or_ones_own_and_a_name_is_saved_over() {
    let mut team = team();
    assert_eq!(
        run(&mut team, save("failed", "status=failed", None), 1),
        Ok(1)
    );
    assert_eq!(run(&mut team, save("mine", "queue=a", Some(1)), 1), Ok(1));
    assert_eq!(seen(&team, 1), ["failed", "mine"]);
    assert_eq!(seen(&team, 2), ["failed"]);
    assert_eq!(
        run(&mut team, save("failed", "status=failed", None), 2),
        Ok(0)
    );
    assert_eq!(
        run(&mut team, save(" failed ", "status=timeout", None), 2),
        Ok(1)
    );
    let all: Vec<_> = team.views_of(None).collect();
    assert_eq!(all.len(), 1, "the same view with another query");
    assert_eq!(all[0].query, "status=timeout");
}

#[test]
fn nobody_touches_the_views_of_others_and_a_viewer_touches_none() {
    let mut team = team();
    let refused = |result| assert_eq!(result, Err(TeamRefusal::NotEntitled));
    refused(run(&mut team, save("theirs", "", Some(1)), 2));
    refused(run(&mut team, save("any", "", None), 3));
    assert_eq!(run(&mut team, save("mine", "", Some(1)), 1), Ok(1));
    let view = team.views.keys().next().cloned().expect("a view");
    let delete = || ViewCommand::Delete {
        environment: Environment::Live,
        view: view.clone(),
    };
    refused(run(&mut team, delete(), 2));
    assert_eq!(run(&mut team, delete(), 1), Ok(1));
    assert_eq!(run(&mut team, delete(), 1), Ok(0), "again");
}

#[test]
fn views_are_few_small_and_leave_with_their_owner() {
    let mut team = team();
    let field = |result: Result<usize, TeamRefusal>| match result {
        Err(TeamRefusal::Invalid { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let long = "a".repeat(MAX_QUERY_BYTES + 1);
    for query in [long.as_str(), "a b", "?a=b", "a=\u{e9}", "a=<script>"] {
        assert_eq!(field(run(&mut team, save("x", query, None), 1)), "query");
    }
    assert_eq!(field(run(&mut team, save(" ", "", None), 1)), "name");
    for n in 0..MAX_OWN_VIEWS {
        let query = "a".repeat(n);
        assert_eq!(
            run(&mut team, save(&format!("{n:03}"), &query, Some(1)), 1),
            Ok(1)
        );
    }
    assert_eq!(
        field(run(&mut team, save("more", &"b".repeat(90), Some(1)), 1)),
        "name"
    );
    assert_eq!(
        run(&mut team, save("000", "other", Some(1)), 1),
        Ok(1),
        "one that is there"
    );
    assert_eq!(
        run(&mut team, save("team's", &"c".repeat(91), None), 1),
        Ok(1)
    );
    team.evolve(&ControlEvent::MemberRemoved(MemberRemoved {
        team: TeamId::new(NOW, 1),
        user: user(1),
        at: NOW,
    }));
    assert_eq!(team.views.len(), 1);
}
