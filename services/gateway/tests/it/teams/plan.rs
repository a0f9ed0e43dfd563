//! Plans as members see them, and changing them.

use anyhow::Result;
use serde_json::json;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;

use super::people::{Person, change_plan, put, stored, world_with};
use crate::world::operator;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_may_be_used_and_what_is() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "Ours", "free").await?;
    let path = format!("/teams/{team}/plan");
    let writer = world.writer();
    let made = writer
        .create_key(&team, "k", Scope::ALL, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let plan = ann.http.get(&path).await?.json()["plan"].clone();
    assert_eq!(
        plan,
        json!({
            "name": "free",
            "apiAccess": true,
            "apiFaces": ["tasks", "jobs", "market"],
            "maxWaitSeconds": 30,
            "maxAnswerBytes": 65_536,
            "maxQueues": 20,
            "weight": 1,
            "keys": {"used": 1, "limit": 1},
            "members": {"used": 1, "limit": 2},
            "tokens": {"used": 0, "limit": 20},
            "openInvitations": 0,
            "policies": [{"name": "team", "scope": "team", "quota": 60, "windowSeconds": 60}],
        })
    );
    change_plan(&world, &team, "enterprise").await?;
    let plan = ann.http.get(&path).await?.json()["plan"].clone();
    assert_eq!(
        (&plan["name"], &plan["policies"], &plan["keys"]),
        (&json!("enterprise"), &json!([]), &json!({"used": 1}))
    );
    let before = stored(&world).await?;
    let refused = put(&ann.http, &path, &json!({"plan": "pro"})).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (403, "plan_change_disabled")
    );
    let command = format!("waybill teams plan --team {team}");
    assert!(refused.error().contains(&command), "{}", refused.error());
    assert_eq!(stored(&world).await?, before);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_change_their_plan_where_they_may() -> Result<()> {
    let (world, _) = world_with(|config| config.plan_self_service = true).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let bob = Person::signed_in(&world, "bob").await?;
    let team = ann.team(&world, "Ours", "enterprise").await?;
    bob.joined(&world, &team, Role::Admin).await?;
    let path = format!("/teams/{team}/plan");
    let refused = put(&bob.http, &path, &json!({"plan": "pro"})).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (403, "insufficient_role")
    );
    let unknown = put(&ann.http, &path, &json!({"plan": "platinum"})).await?;
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()["field"].as_str()),
        (400, Some("plan"))
    );
    let changed = put(&ann.http, &path, &json!({"plan": "pro"})).await?;
    assert_eq!(changed.json()["plan"]["name"], "pro", "{}", changed.text());
    let seen = ann.http.get(&path).await?;
    assert_eq!(seen.json(), changed.json(), "it counts at once");
    let again = put(&ann.http, &path, &json!({"plan": "pro"})).await?;
    assert_eq!(again.json(), changed.json());
    world.stop().await
}
