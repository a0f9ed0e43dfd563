//! What is left of a token when it is revoked, by whatever is copied before.

use anyhow::{Context as _, Result};
use http::Method;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::TokenId;
use waybill_log::{KeyName, VaultKeys};
use waybill_testkit::search::files_with;
use waybill_vault::{Context, Envelope, WrappedKey, open};

use super::{VALUE, events, id, keep, keys, opened, revoke, rotate};
use crate::teams::people::{Person, delete, world_with};
use crate::world::{RINGS, World};

async fn shredded(world: &World, token: &TokenId) -> Result<bool> {
    let events = events(world, token).await?;
    let is = |event: &ControlEvent| matches!(event, ControlEvent::TokenShredded(_));
    Ok(events.last().is_some_and(is))
}

// Whoever holds the log, the bucket of keys and the key-encryption key, all of them copied after the revocation, opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_opens_for_nobody() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "ours", VALUE).await?);
    let kept = id(&keep(&world.http, "kept", "stays").await?);
    rotate(&world.http, &token, "second").await?;
    assert_eq!(opened(&world, &world.team, &token, 2).await?, "second");
    let name = |version| KeyName::Token {
        team: world.team.clone(),
        token: token.clone(),
        version,
    };
    let wrapped = world.log.get(&name(2)).await?.context("a key")?.value;

    assert_eq!(revoke(&world.http, &token).await?.status, 200);
    assert!(shredded(&world, &token).await?, "requested and confirmed");
    assert!(keys(&world, &world.team, &token).await?.is_empty());
    let envelopes: Vec<(u32, String)> = events(&world, &token)
        .await?
        .into_iter()
        .filter_map(|event| match event {
            ControlEvent::TokenCreated(e) => Some((e.version, e.envelope)),
            ControlEvent::TokenRotated(e) => Some((e.version, e.envelope)),
            _ => None,
        })
        .collect();
    assert_eq!(envelopes.len(), 2, "the log is for ever");
    // Every key that is left, tried on everything: none fits.
    let all = waybill_log::KeysOf::All;
    let left = world.log.list(&all, waybill_log::StreamSeq(0), 100).await?;
    assert_eq!(left.len(), 1, "that of the other token");
    for (version, envelope) in &envelopes {
        let envelope = Envelope::parse_text(envelope)?;
        let context = Context::token(world.team.as_str(), token.as_str(), *version);
        for key in &left {
            let key = WrappedKey::parse(&key.key.value)?;
            assert!(open(&*RINGS.1, &context, &envelope, &key).await.is_err());
        }
    }
    // The control: with the key that was erased it would.
    let (version, envelope) = &envelopes[1];
    let context = Context::token(world.team.as_str(), token.as_str(), *version);
    let (envelope, key) = (
        Envelope::parse_text(envelope)?,
        WrappedKey::parse(&wrapped)?,
    );
    assert!(open(&*RINGS.1, &context, &envelope, &key).await.is_ok());
    assert_eq!(opened(&world, &world.team, &kept, 1).await?, "stays");

    // Neither is the erased key in any file of the server.
    let found = files_with(&world.nats.store(), &wrapped)?;
    assert!(found.is_empty(), "{found:?}");
    let other = KeyName::Token {
        team: world.team.clone(),
        token: kept,
        version: 1,
    };
    let there = world.log.get(&other).await?.context("a key")?.value;
    let found = files_with(&world.nats.store(), &there)?;
    assert!(!found.is_empty(), "the search finds what is there");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_team_is_the_end_of_its_tokens_keys_and_members() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "Ours", "pro").await?;
    let writer = world.writer();
    let scopes = waybill_domain::access::scope::Scope::ALL;
    let made = writer
        .create_key(&team, "k", scopes, &crate::world::operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let http = world.http.with_key(made.key.reveal());
    let tokens = [
        id(&keep(&http, "a", "one").await?),
        id(&keep(&http, "b", "two").await?),
    ];
    let path = format!("/teams/{team}");
    for unsure in [path.clone(), format!("{path}?confirm=ours")] {
        let answer = delete(&ann.http, &unsure).await?;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(answer.json()["field"], serde_json::json!("confirm"));
    }
    assert_eq!(http.get("/v1/tokens").await?.status, 200);
    let answer = delete(&ann.http, &format!("{path}?confirm=Ours")).await?;
    assert_eq!(answer.status, 204, "{}", answer.text());
    for token in &tokens {
        assert!(keys(&world, &team, token).await?.is_empty());
        assert!(shredded(&world, token).await?);
    }
    assert_eq!(
        http.get("/v1/tokens").await?.status,
        401,
        "its keys are refused"
    );
    assert_eq!(
        ann.http.get(&path).await?.status,
        403,
        "nobody belongs to it"
    );
    let teams = ann.http.send(Method::GET, "/teams", &[], "").await?.json();
    assert_eq!(teams["teams"], serde_json::json!([]));
    world.stop().await
}
