//! Invitations in the wrong hands, too late, twice.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use waybill_domain::access::role::Role;
use waybill_domain::access::token::TokenKind;
use waybill_domain::id::InvitationId;
use waybill_log::{Log, Stream, StreamSeq};

use super::people::{Person, delete, invited, random, stored, world_with};
use crate::owner::now;

const AN_HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_for_one_address_one_time_and_a_while() -> Result<()> {
    let (world, mailbox) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let bob = Person::signed_in(&world, "bob").await?;
    let eve = Person::signed_in(&world, "eve").await?;
    let team = ann.team(&world, "Ours", "enterprise").await?;
    let invitations = format!("/teams/{team}/invitations");
    let to_bob = json!({"email": bob.email, "role": "member"});

    let sent = ann.http.post(&invitations, &to_bob).await?;
    assert_eq!(sent.status, 201, "{}", sent.text());
    let replaced = mailbox.token(&bob.email, 1).await?;
    assert_eq!(ann.http.post(&invitations, &to_bob).await?.status, 201);
    let good = mailbox.token(&bob.email, 2).await?;
    let (_, expired) = invited(&world, &team, "late@example.com", Role::Viewer, 1).await?;
    let (withdrawn_id, withdrawn) =
        invited(&world, &team, "gone@example.com", Role::Viewer, AN_HOUR_MS).await?;
    let path = format!("{invitations}/{withdrawn_id}");
    assert_eq!(delete(&ann.http, &path).await?.status, 204);
    assert_eq!(delete(&ann.http, &path).await?.status, 404, "once");
    let people = &world.gateway.state().people;
    let unknown = InvitationId::new(now(), random());
    let forged = |kind, ulid: &str| {
        let token = people.token(kind, ulid).context("a token");
        token.map(|(token, _, _)| token.reveal().to_owned())
    };
    // Of the right id, but not the token that was mailed.
    let id = good
        .get("wb_inv_".len()..)
        .and_then(|rest| rest.get(..26))
        .context("an id")?;
    let mut cut = good.clone();
    cut.pop();

    let before = stored(&world).await?;
    let mut said: Option<Value> = None;
    for (case, who, token) in [
        ("another address", &eve, good.clone()),
        ("replaced", &bob, replaced.clone()),
        ("expired", &bob, expired),
        ("withdrawn", &bob, withdrawn),
        (
            "unknown",
            &bob,
            forged(TokenKind::Invitation, unknown.ulid())?,
        ),
        ("forged", &bob, forged(TokenKind::Invitation, id)?),
        ("another kind", &bob, forged(TokenKind::Reset, id)?),
        ("cut off", &bob, cut),
        ("empty", &bob, String::new()),
        ("long", &bob, "x".repeat(10_000)),
        ("an API key", &bob, world.key.clone()),
        ("a dot", &bob, format!("wb_inv_{}", ".".repeat(64))),
    ] {
        let answer = who.accept(&token).await?;
        assert_eq!(answer.status, 404, "{case}: {}", answer.text());
        let first = said.get_or_insert_with(|| answer.json());
        assert_eq!(answer.json(), *first, "{case}");
    }
    assert_eq!(stored(&world).await?, before, "nothing was stored");

    let accepted = bob.accept(&good).await?;
    assert_eq!(accepted.status, 200, "{}", accepted.text());
    let after = stored(&world).await?;
    let again = bob.accept(&good).await?;
    assert_eq!(
        again.json(),
        accepted.json(),
        "repeating it changes nothing"
    );
    assert_eq!(eve.accept(&good).await?.json(), said.context("refused")?);
    assert_eq!(stored(&world).await?, after);
    let of_bob = format!("/teams/{team}/members/{}", bob.id);
    assert_eq!(delete(&ann.http, &of_bob).await?.status, 204);
    assert_eq!(
        bob.accept(&good).await?.status,
        404,
        "it brings nobody back"
    );

    // Only the mail had it.
    let all = [">".to_owned()];
    let records = world
        .log
        .range(
            Stream::Control,
            &all,
            StreamSeq(1),
            StreamSeq(u64::MAX),
            1000,
        )
        .await?;
    assert!(records.len() > 10);
    for token in [&good, &replaced] {
        let secret = &token.as_bytes()[token.len() - 38..];
        for record in &records {
            let holds = record
                .payload
                .windows(secret.len())
                .any(|part| part == secret);
            assert!(!holds, "{} holds a token", record.event);
        }
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_is_not_flooded_with_invitations() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let ann = Person::signed_in(&world, "ann").await?;
    let team = ann.team(&world, "Ours", "enterprise").await?;
    let invitations = format!("/teams/{team}/invitations");
    let invitation = json!({"email": "victim@example.com", "role": "member"});
    let mut sent = 0;
    for _ in 0..8 {
        let answer = ann.http.post(&invitations, &invitation).await?;
        match answer.status.as_u16() {
            201 => sent += 1,
            429 => assert!(answer.header("retry-after").is_some()),
            other => panic!("{other} {}", answer.text()),
        }
    }
    // Five in a window, and the windows may change meanwhile.
    assert!((5..=8).contains(&sent), "{sent}");
    let elsewhere = json!({"email": "other@example.com", "role": "member"});
    assert_eq!(ann.http.post(&invitations, &elsewhere).await?.status, 201);
    world.stop().await
}
