//! R15: a right that was taken away, with a token in hand that is still good for minutes.

use anyhow::Result;
use http::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::role::Role;
use waybill_testkit::http::Http;

use super::people::{Person, delete, patch, world_with};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_removed_is_refused_everywhere_at_the_next_request() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let stop = CancellationToken::new();
    let others = [
        world.another("g2", &stop).await?,
        world.another("g3", &stop).await?,
    ];
    let ann = Person::signed_in(&world, "ann").await?;
    let bob = Person::signed_in(&world, "bob").await?;
    let team = ann.team(&world, "Ours", "enterprise").await?;
    let path = format!("/teams/{team}");
    let team_header = team.to_string();
    let everywhere = [bob.http.clone(), bob.at(&others[0]), bob.at(&others[1])];
    let tasks = async |http: &Http| {
        let headers = [("x-team-id", team_header.as_str())];
        http.send(Method::GET, "/v1/tasks", &headers, "").await
    };
    for round in 0..5 {
        bob.joined(&world, &team, Role::Admin).await?;
        for http in &everywhere {
            waybill_testkit::eventually(crate::world::SOON, async || {
                http.get(&path)
                    .await
                    .is_ok_and(|answer| answer.status == 200)
            })
            .await?;
            assert_eq!(tasks(http).await?.status, 200);
        }
        // Less than before, at first.
        let of_bob = format!("{path}/members/{}", bob.id);
        let lowered = patch(&ann.http, &of_bob, &json!({"role": "viewer"})).await?;
        assert_eq!(lowered.status, 200, "{}", lowered.text());
        for http in &everywhere {
            let refused = patch(http, &path, &json!({"name": "mine"})).await?;
            assert_eq!(
                (refused.status.as_u16(), refused.code().as_str()),
                (403, "insufficient_role"),
                "round {round}"
            );
            assert_eq!(tasks(http).await?.status, 200, "viewers look");
        }
        assert_eq!(delete(&ann.http, &of_bob).await?.status, 204);
        for http in &everywhere {
            for refused in [http.get(&path).await?, tasks(http).await?] {
                assert_eq!(
                    (refused.status.as_u16(), refused.code().as_str()),
                    (403, "access_denied"),
                    "round {round}"
                );
            }
        }
    }
    stop.cancel();
    for gateway in others {
        gateway.wait().await?;
    }
    world.stop().await
}
