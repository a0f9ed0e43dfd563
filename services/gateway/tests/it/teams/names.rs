//! Names that people see: of themselves, of teams, of applications.

use anyhow::Result;
use http::Method;
use serde_json::json;

use super::people::{Person, stored, world_with};

/// Invisible within a word, invisible altogether, and like a space.
const HIDDEN: [&str; 3] = ["a\u{200b}b", "\u{3164}", "a\u{a0}b"];

#[tokio::test(flavor = "multi_thread")]
async fn names_that_look_like_others_are_refused_wherever_a_name_is_given() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "Ours", "enterprise").await?;
    let apps = format!("/teams/{team}/apps");
    let app = |name: &str| {
        json!({
            "name": name, "scopes": ["tasks:read"], "redirectUris": ["https://app.example/back"],
        })
    };
    let made = ann.http.post(&apps, &app("Board")).await?;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["app"]["id"].clone();
    let of_app = format!("{apps}/{}", id.as_str().unwrap_or_default());
    let of_team = format!("/teams/{team}");
    let before = stored(&world).await?;
    for name in HIDDEN {
        for (method, path, body) in [
            (Method::PATCH, "/v1/me", json!({"name": name})),
            (Method::POST, "/teams", json!({"name": name})),
            (Method::PATCH, &of_team, json!({"name": name})),
            (Method::POST, &apps, app(name)),
            (Method::PATCH, &of_app, json!({"name": name})),
        ] {
            let what = format!("{method} {path} {name:?}");
            let refused = ann.http.send(method, path, &[], body.to_string()).await?;
            assert_eq!(
                (refused.status.as_u16(), refused.json()["field"].as_str()),
                (400, Some("name")),
                "{what}: {}",
                refused.text()
            );
        }
    }
    assert_eq!(stored(&world).await?, before, "nothing was stored");
    world.stop().await
}
