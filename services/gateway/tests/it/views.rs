//! Saved views through the API: the team's, one's own, and what is refused.

use anyhow::Result;
use serde_json::{Value, json};
use waybill_domain::access::role::Role;
use waybill_testkit::http::Http;

use crate::teams::people::{Person, delete};
use crate::world::World;

async fn save(http: &Http, name: &str, query: &str, shared: bool) -> Result<Value> {
    let view = json!({"page": "tasks", "name": name, "query": query, "shared": shared});
    let saved = http.post("/v1/views", &view).await?;
    anyhow::ensure!(saved.status == 200, "{}", saved.text());
    Ok(saved.json()["view"].clone())
}

async fn names(http: &Http) -> Result<Vec<String>> {
    let told = http.get("/v1/views").await?;
    anyhow::ensure!(told.status == 200, "{}", told.text());
    let views = told.json()["views"].clone();
    let views = views.as_array().cloned().unwrap_or_default();
    let name = |view: &Value| view["name"].as_str().unwrap_or_default().to_owned();
    Ok(views.iter().map(name).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_the_teams_or_ones_own() -> Result<()> {
    let world = World::start().await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "Ours", "pro").await?;
    let bob = Person::signed_in(&world, "bob").await?;
    bob.joined(&world, &team, Role::Member).await?;
    let vic = Person::signed_in(&world, "vic").await?;
    vic.joined(&world, &team, Role::Viewer).await?;
    let shared = save(&ann.http, "Failed", "status=failed", true).await?;
    assert_eq!(
        (&shared["shared"], &shared["page"]),
        (&json!(true), &json!("tasks"))
    );
    let own = save(&ann.http, "Mine", "queue=a", false).await?;
    assert_eq!(names(&ann.http).await?, ["Failed", "Mine"]);
    assert_eq!(names(&bob.http).await?, ["Failed"]);
    assert_eq!(names(&vic.http).await?, ["Failed"]);
    // Saved over, it keeps its id.
    let again = save(&bob.http, "Failed", "status=failed%2Ctimeout", true).await?;
    assert_eq!(again["id"], shared["id"]);
    assert_eq!(again["savedBy"], json!(format!("user:{}", bob.id)));
    // What others have is not there for them, and a viewer changes nothing.
    let path = |view: &Value| format!("/v1/views/{}", view["id"].as_str().unwrap_or_default());
    assert_eq!(delete(&bob.http, &path(&own)).await?.status, 404);
    assert_eq!(delete(&vic.http, &path(&shared)).await?.status, 403);
    assert_eq!(delete(&bob.http, &path(&shared)).await?.status, 204);
    assert_eq!(delete(&bob.http, &path(&shared)).await?.status, 404);
    assert_eq!(names(&ann.http).await?, ["Mine"]);
    let told = ann.http.get("/v1/activity?type=view.").await?.json();
    let about = &told["activity"][0]["target"];
    assert_eq!(
        (&about["kind"], &about["name"]),
        (&json!("view"), &json!("Failed"))
    );
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_view_is_refused_and_a_key_has_none_of_its_own() -> Result<()> {
    let world = World::start().await?;
    let good = json!({"page": "tasks", "name": "Failed", "query": "status=failed", "shared": true});
    for (field, value) in [
        ("page", json!("queues")),
        ("page", Value::Null),
        ("name", json!(" ")),
        ("name", json!("a".repeat(101))),
        ("query", json!("a".repeat(2_001))),
        ("query", json!("a b")),
        ("shared", json!(false)),
        ("colour", json!("red")),
    ] {
        let mut view = good.clone();
        view[field] = value.clone();
        let refused = world.http.post("/v1/views", &view).await?;
        assert_eq!(refused.status, 400, "{field} {value}: {}", refused.text());
        assert!(refused.error().contains(field), "{}", refused.error());
    }
    assert_eq!(world.http.post("/v1/views", &good).await?.status, 200);
    let (_, stranger) = world.stranger().await?;
    assert!(names(&stranger).await?.is_empty());
    world.stop().await
}
