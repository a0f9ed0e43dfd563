//! K21 for people: room for one, and several who come at once.

use anyhow::Result;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::role::Role;

use super::people::{Person, accept, change_plan, delete, invited, world_with};

const ROUNDS: usize = 6;
const AN_HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_join_at_once_one_finds_room() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let stop = CancellationToken::new();
    let others = [
        world.another("g2", &stop).await?,
        world.another("g3", &stop).await?,
    ];
    let ann = Person::signed_in(&world, "ann").await?;
    let bob = Person::signed_in(&world, "bob").await?;
    let eve = Person::signed_in(&world, "eve").await?;
    let team = ann.team(&world, "Ours", "pro").await?;
    for round in 0..ROUNDS {
        // Invited while there was room for both.
        change_plan(&world, &team, "enterprise").await?;
        let (_, for_bob) = invited(&world, &team, &bob.email, Role::Member, AN_HOUR_MS).await?;
        let (_, for_eve) = invited(&world, &team, &eve.email, Role::Member, AN_HOUR_MS).await?;
        change_plan(&world, &team, "free").await?;
        let (first, second) = (&others[round % 2], &others[(round + 1) % 2]);
        let (http_of_bob, http_of_eve) = (bob.at(first), eve.at(second));
        let (of_bob, of_eve) = tokio::try_join!(
            accept(&http_of_bob, &for_bob),
            accept(&http_of_eve, &for_eve)
        )?;
        let statuses = [of_bob.status.as_u16(), of_eve.status.as_u16()];
        let (winner, loser) = match statuses {
            [200, 403] => (&bob, &of_eve),
            [403, 200] => (&eve, &of_bob),
            _ => panic!("round {round}: {} {}", of_bob.text(), of_eve.text()),
        };
        assert_eq!(loser.code(), "plan_limit_exceeded");
        assert!(loser.error().contains("free"), "{}", loser.error());
        let members = world.writer().team(&team).await?.members.len();
        assert_eq!(members, 2, "round {round}");
        let of_winner = format!("/teams/{team}/members/{}", winner.id);
        assert_eq!(delete(&ann.http, &of_winner).await?.status, 204);
    }
    // And open invitations count as members before they are accepted.
    let invitations = format!("/teams/{team}/invitations");
    for (address, status) in [("x@example.com", 201), ("y@example.com", 403)] {
        // Those of the last round still hold the place.
        for id in ann.http.get(&invitations).await?.json()["invitations"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|invitation| invitation["email"] != "x@example.com")
        {
            let path = format!("{invitations}/{}", id["id"].as_str().expect("an id"));
            assert_eq!(delete(&ann.http, &path).await?.status, 204);
        }
        let invitation = json!({"email": address, "role": "member"});
        let answer = ann.http.post(&invitations, &invitation).await?;
        assert_eq!(answer.status, status, "{address}: {}", answer.text());
    }
    stop.cancel();
    for gateway in others {
        gateway.wait().await?;
    }
    world.stop().await
}
