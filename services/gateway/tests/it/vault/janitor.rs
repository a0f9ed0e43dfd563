//! What was interrupted is completed.

use std::time::Duration;

use anyhow::Result;
use waybill_commands::Author;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::access::team::vault::TokenCommand;
use waybill_domain::actor::Actor;
use waybill_domain::event::{ControlEvent, TokenEnd};
use waybill_domain::id::TokenId;
use waybill_domain::time::Timestamp;
use waybill_edge::vault::janitor::JanitorTimes;
use waybill_gateway::Gateway;
use waybill_log::{KeyName, StreamSeq, VaultKeys};
use waybill_testkit::eventually;

use super::{VALUE, events, id, keep, keys, opened, rotate};
use crate::world::{SOON, World, config, operator, parts};

fn quick() -> JanitorTimes {
    JanitorTimes {
        look: Duration::from_millis(50),
        walk: Duration::from_millis(200),
        // Longer than a rotation takes from its key to its event, also on a busy machine.
        orphaned: Duration::from_secs(2),
    }
}

async fn is_shredded(world: &World, token: &TokenId) -> bool {
    let events = events(world, token).await.unwrap_or_default();
    let noted = |event: &ControlEvent| matches!(event, ControlEvent::TokenShredded(_));
    events.iter().any(noted)
        && keys(world, &world.team, token)
            .await
            .is_ok_and(|keys| keys.is_empty())
}

// A gateway that died between the event and the keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_was_interrupted_is_completed_at_the_next_start() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "ours", VALUE).await?);
    let kept = id(&keep(&world.http, "kept", "stays").await?);
    world.shutdown.cancel();
    let World {
        nats,
        log,
        gateway,
        projector,
        team,
        key,
        http,
        folder,
        ..
    } = world;
    gateway.wait().await?;
    let writer = waybill_commands::ControlWriter::new(
        std::sync::Arc::new(log.clone()),
        crate::world::pepper(),
    );
    let revoke = TeamCommand::Token(TokenCommand::Revoke {
        token: token.clone(),
        reason: TokenEnd::Requested,
    });
    writer.run_team(&team, revoke, &operator()).await?;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let next = parts(&log, &folder, "gateway");
    let gateway = Gateway::start(config(), next, shutdown.clone()).await?;
    let world = World {
        http: waybill_testkit::http::Http::at(gateway.addr()).with_key(&key),
        nats,
        log,
        gateway,
        projector,
        team,
        key,
        folder,
        shutdown,
    };
    drop(http);
    eventually(SOON, async || is_shredded(&world, &token).await).await?;
    assert_eq!(opened(&world, &world.team, &kept, 1).await?, "stays");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_time_is_over_is_revoked_and_shredded() -> Result<()> {
    let mut config = config();
    config.janitor = quick();
    let world = World::start_with(config).await?;
    let soon = Timestamp(crate::owner::now().0 + 1_500).to_rfc3339();
    let body = serde_json::json!({"name": "short", "value": VALUE, "expiresAt": soon});
    let answer = world.http.post("/v1/tokens", &body).await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let token = id(&answer.json()["token"]);
    eventually(SOON, async || is_shredded(&world, &token).await).await?;
    let ended = events(&world, &token).await?;
    let expired = |event: &ControlEvent| matches!(event, ControlEvent::TokenRevoked(e) if e.reason == TokenEnd::Expired);
    assert!(ended.iter().any(expired));
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_nothing_uses_are_erased_and_no_others() -> Result<()> {
    let mut config = config();
    config.janitor = quick();
    let world = World::start_with(config).await?;
    let token = id(&keep(&world.http, "ours", VALUE).await?);
    assert_eq!(rotate(&world.http, &token, "second").await?.status, 200);
    let key = |token: &TokenId, version| KeyName::Token {
        team: world.team.clone(),
        token: token.clone(),
        version,
    };
    // A creation that failed, a rotation that failed, and the old key of one that was interrupted.
    let stranger = TokenId::new(crate::owner::now(), 7);
    let useless = [key(&stranger, 1), key(&token, 3), key(&token, 1)];
    for name in &useless {
        world.log.put(name, "x".into(), StreamSeq(0), None).await?;
    }
    eventually(SOON, async || {
        for name in &useless {
            if !world.log.get(name).await.is_ok_and(|key| key.is_none()) {
                return false;
            }
        }
        true
    })
    .await?;
    assert_eq!(opened(&world, &world.team, &token, 2).await?, "second");
    // Nobody may say so of a token that is not revoked.
    let note = TeamCommand::Token(TokenCommand::NoteShredded {
        token: token.clone(),
    });
    let by = Author::from(Actor::System("vault".into()));
    assert!(
        world
            .writer()
            .run_team(&world.team, note, &by)
            .await
            .is_err()
    );
    world.stop().await
}
