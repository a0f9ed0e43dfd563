//! Another team's ids, on every route that takes one: refused or unknown, and nothing of the other team in the answer.

use anyhow::Result;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::{AppId, TeamId};
use waybill_domain::time::Timestamp;
use waybill_testkit::http::Http;

use super::people::{Person, invited, stored, world_with};
use super::routes::{Ids, of_people};
use crate::world::{World, operator};

const AN_HOUR_MS: i64 = 3_600_000;

/// A team with an owner, a member, an open invitation and a key.
struct Side {
    owner: Person,
    ids: Ids,
    by_key: Http,
}

async fn side(world: &World, name: &str) -> Result<Side> {
    let owner = Person::signed_in(world, &format!("{name}-owner")).await?;
    let member = Person::signed_in(world, &format!("{name}-member")).await?;
    let team = owner
        .team(world, &format!("{name}-secret"), "enterprise")
        .await?;
    member.joined(world, &team, Role::Member).await?;
    let guest = format!("{name}-guest@example.com");
    let (invitation, _) = invited(world, &team, &guest, Role::Viewer, AN_HOUR_MS).await?;
    let writer = world.writer();
    let name = format!("{name}-key");
    let made = writer
        .create_key(&team, &name, Scope::ALL, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    Ok(Side {
        ids: Ids {
            team: team.to_string(),
            user: member.id.to_string(),
            invitation: invitation.to_string(),
            key: made.key.id().to_string(),
            app: app(),
        },
        by_key: world.http.with_key(made.key.reveal()),
        owner,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn another_teams_ids_open_nothing_anywhere() -> Result<()> {
    let (world, _) = world_with(|config| config.plan_self_service = true).await?;
    let (ours, theirs) = (side(&world, "ours").await?, side(&world, "theirs").await?);
    let nowhere = TeamId::new(Timestamp(1), 1);
    let mixed = Ids {
        team: theirs.ids.team.clone(),
        user: ours.ids.user.clone(),
        invitation: ours.ids.invitation.clone(),
        key: ours.ids.key.clone(),
        app: app(),
    };
    let unknown = Ids {
        team: nowhere.to_string(),
        user: ours.ids.user.clone(),
        invitation: ours.ids.invitation.clone(),
        key: "key_zzzzzzzz".into(),
        app: app(),
    };
    let garbage = Ids {
        team: "team_x".into(),
        user: "%2e%2e".into(),
        invitation: "*".into(),
        key: "key_".into(),
        app: "app_x".into(),
    };
    let before = stored(&world).await?;
    let mut tried = 0;
    for route in of_people() {
        let named = [
            "{teamId}",
            "{userId}",
            "{invitationId}",
            "{keyId}",
            "{appId}",
        ];
        if !named.iter().any(|name| route.path.contains(name)) {
            continue;
        }
        for ids in [&ours.ids, &mixed, &unknown, &garbage] {
            let path = ids.fill(&route.path);
            for (who, http) in [("owner", &theirs.owner.http), ("key", &theirs.by_key)] {
                // Their own team, and nothing of ours in the path.
                if path == theirs.ids.fill(&route.path)
                    || path == mixed.fill(&named_team(&route.path))
                {
                    continue;
                }
                let body = route.body.to_string();
                let answer = http.send(route.method.clone(), &path, &[], body).await?;
                let (status, text) = (answer.status.as_u16(), answer.text());
                assert!(
                    matches!(status, 403 | 404),
                    "{} {path} by their {who}: {status} {text}",
                    route.method
                );
                assert!(!text.contains("ours-"), "{} {path}: {text}", route.method);
                tried += 1;
            }
        }
    }
    assert!(tried > 80, "{tried}");
    assert_eq!(stored(&world).await?, before, "nothing was stored");
    let members = ours
        .owner
        .http
        .get(&format!("/teams/{}/members", ours.ids.team))
        .await?;
    assert_eq!(members.json()["members"].as_array().map(Vec::len), Some(2));
    world.stop().await
}

/// An application that no team has.
fn app() -> String {
    AppId::new(Timestamp(1), 1).to_string()
}

/// A path in which only the team is named; any other is left as it is.
fn named_team(path: &str) -> String {
    let others = ["{userId}", "{invitationId}", "{keyId}", "{appId}"];
    if others.iter().any(|name| path.contains(name)) {
        String::new()
    } else {
        path.to_owned()
    }
}
