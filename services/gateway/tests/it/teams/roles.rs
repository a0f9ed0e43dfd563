//! Every role on every route of a team.

use std::collections::BTreeMap;

use anyhow::Result;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::{AppId, InvitationId, KeyId, UserId};
use waybill_domain::time::Timestamp;

use super::people::{Person, stored, world_with};
use super::routes::{Ids, of_people};
use crate::world::World;

/// The least role for each route that only people use. A route that is not here fails the test.
fn least() -> BTreeMap<(&'static str, &'static str), Role> {
    BTreeMap::from([
        (("GET", "/teams/{teamId}"), Role::Viewer),
        (("PATCH", "/teams/{teamId}"), Role::Admin),
        (("DELETE", "/teams/{teamId}"), Role::Owner),
        (("GET", "/teams/{teamId}/members"), Role::Viewer),
        (("PATCH", "/teams/{teamId}/members/{userId}"), Role::Admin),
        // Themselves, whatever they are; others, as admins.
        (("DELETE", "/teams/{teamId}/members/{userId}"), Role::Admin),
        (("POST", "/teams/{teamId}/invitations"), Role::Admin),
        (("GET", "/teams/{teamId}/invitations"), Role::Admin),
        (
            ("GET", "/teams/{teamId}/invitations/{invitationId}"),
            Role::Admin,
        ),
        (
            ("DELETE", "/teams/{teamId}/invitations/{invitationId}"),
            Role::Admin,
        ),
        (("GET", "/teams/{teamId}/plan"), Role::Viewer),
        (("PUT", "/teams/{teamId}/plan"), Role::Owner),
        (("PUT", "/teams/{teamId}/leak-policy"), Role::Admin),
        (("PUT", "/teams/{teamId}/task-defaults"), Role::Admin),
        (("PUT", "/teams/{teamId}/vault-policy"), Role::Admin),
        (("PUT", "/teams/{teamId}/payload-policy"), Role::Owner),
        (("GET", "/teams/{teamId}/usage"), Role::Viewer),
        (("GET", "/teams/{teamId}/grants"), Role::Admin),
        (("POST", "/teams/{teamId}/apps"), Role::Admin),
        (("GET", "/teams/{teamId}/apps"), Role::Admin),
        (("GET", "/teams/{teamId}/apps/{appId}"), Role::Admin),
        (("PATCH", "/teams/{teamId}/apps/{appId}"), Role::Admin),
        (("DELETE", "/teams/{teamId}/apps/{appId}"), Role::Admin),
        (("POST", "/teams/{teamId}/apps/{appId}/secret"), Role::Admin),
    ])
}

/// The least role for a route, by its scope when a key may use it too.
fn least_for(method: &str, path: &str, scope: Option<&str>) -> Role {
    if let Some(scope) = scope.and_then(Scope::parse) {
        let mut roles = Role::ALL.into_iter();
        return roles
            .find(|role| role.scopes().contains(scope))
            .expect("some role may");
    }
    let least = least().get(&(method, path)).copied();
    least.unwrap_or_else(|| panic!("{method} {path}: which role does it take?"))
}

async fn people(world: &World) -> Result<(Ids, Vec<(Option<Role>, Person)>)> {
    let owner = Person::signed_in(world, "owner").await?;
    let team = owner.team(world, "Ours", "enterprise").await?;
    let mut people = vec![
        (None, Person::signed_in(world, "stranger").await?),
        (Some(Role::Owner), owner),
    ];
    for role in [Role::Admin, Role::Member, Role::Viewer] {
        let person = Person::signed_in(world, role.as_str()).await?;
        person.joined(world, &team, role).await?;
        people.push((Some(role), person));
    }
    // Things that are not there: whoever may pass is told so, and nothing changes.
    let ids = Ids {
        team: team.to_string(),
        user: UserId::new(Timestamp(1), 1).to_string(),
        invitation: InvitationId::new(Timestamp(1), 1).to_string(),
        key: KeyId::from_public("zzzzzzzz")?.to_string(),
        app: AppId::new(Timestamp(1), 1).to_string(),
    };
    Ok((ids, people))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_it_is_for_on_every_route_of_a_team() -> Result<()> {
    let (world, _) = world_with(|config| config.plan_self_service = true).await?;
    let (ids, people) = people(&world).await?;
    let before = stored(&world).await?;
    let mut tried = 0;
    for route in of_people() {
        if !route.path.starts_with("/teams/{teamId}") {
            continue;
        }
        let least = least_for(route.method.as_str(), &route.path, route.scope.as_deref());
        let path = ids.fill(&route.path);
        for (role, person) in &people {
            let may = role.is_some_and(|role| role >= least);
            // Without what it needs, a change is refused as such: behind the gate, and without a trace.
            let answer = person
                .http
                .send(route.method.clone(), &path, &[], "{}")
                .await?;
            let (status, code) = (answer.status.as_u16(), answer.code());
            let case = format!("{} {path} as {role:?}: {status} {code}", route.method);
            if may {
                assert!(matches!(status, 200 | 400 | 404), "{case}");
            } else if role.is_none() {
                assert_eq!((status, code.as_str()), (403, "access_denied"), "{case}");
            } else {
                let words = ["insufficient_role", "insufficient_scope", "access_denied"];
                assert!(status == 403 && words.contains(&code.as_str()), "{case}");
            }
            tried += 1;
        }
    }
    assert!(tried >= least().len() * people.len(), "{tried}");
    assert_eq!(stored(&world).await?, before, "nothing was stored");
    world.stop().await
}

/// Nobody makes others more than they are, nor touches those who are more.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_above_themselves() -> Result<()> {
    use super::people::{delete, patch};
    use serde_json::json;

    let (world, _) = world_with(|_| {}).await?;
    let (ids, people) = people(&world).await?;
    let path = format!("/teams/{}", ids.team);
    for (role, person) in &people {
        let Some(role) = role else { continue };
        for (their_role, other) in &people {
            let of_other = format!("{path}/members/{}", other.id);
            let Some(their_role) = their_role.filter(|_| other.id != person.id) else {
                continue;
            };
            for wanted in Role::ALL {
                let reaches = *role >= Role::Admin && wanted <= *role && their_role <= *role;
                if reaches {
                    continue;
                }
                let body = json!({"role": wanted.as_str()});
                let refused = patch(&person.http, &of_other, &body).await?;
                assert_eq!(refused.status, 403, "{role} makes a {their_role} {wanted}");
            }
            if *role < Role::Admin || their_role > *role {
                let refused = delete(&person.http, &of_other).await?;
                assert_eq!(refused.status, 403, "{role} removes {their_role}");
            }
        }
        for wanted in Role::ALL.into_iter().filter(|wanted| wanted > role) {
            let body = json!({"email": "new@example.com", "role": wanted.as_str()});
            let refused = person
                .http
                .post(&format!("{path}/invitations"), &body)
                .await?;
            assert_eq!(refused.status, 403, "{role} invites {wanted}");
        }
    }
    // What keys are may not be what people are.
    for route in of_people() {
        if route.scope.is_none() && route.path.starts_with("/teams/{teamId}") {
            let path = Ids {
                team: world.team.to_string(),
                ..ids.clone()
            }
            .fill(&route.path);
            let answer = world.http.send(route.method, &path, &[], "{}").await?;
            let found = (answer.status.as_u16(), answer.code());
            assert_eq!(found, (403, "person_required".into()), "{path}");
        }
    }
    world.stop().await
}
