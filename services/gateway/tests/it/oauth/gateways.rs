//! Several gateways at once.

use anyhow::Result;
use futures::future::try_join_all;
use tokio_util::sync::CancellationToken;
use waybill_testkit::http::Http;

use super::stage::{Stage, credentials, oauth_error, post, redemption, refreshing, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_twenty_redeem_at_once_is_redeemed_by_one() -> Result<()> {
    let stage = Stage::start().await?;
    let stop = CancellationToken::new();
    let second = stage.world.another("g2", &stop).await?;
    let client = stage.client().await?;
    let last = stage.world.gateway.state().auth.applied();
    second.state().auth.wait_for(last).await?;
    let gateways = [stage.http.clone(), Http::at(second.addr())];
    for _ in 0..2 {
        let code = stage.code(&stage.owner, &client).await?;
        let fields = redemption(&client, &code);
        let tries = (0..20).map(|n| post(&gateways[n % 2], "/oauth/token", &fields));
        let answers = try_join_all(tries).await?;
        let won: Vec<_> = answers.iter().filter(|a| a.status == 200).collect();
        assert_eq!(
            won.len(),
            1,
            "{:?}",
            answers.iter().map(oauth_error).collect::<Vec<_>>()
        );
        for lost in answers.iter().filter(|a| a.status != 200) {
            assert_eq!(oauth_error(lost), (400, "invalid_grant".into()));
        }
        // The others showed that somebody has a copy.
        let token = text(won[0], "access_token")?;
        for gateway in &gateways {
            assert_eq!(gateway.with_key(&token).get("/v1/tasks").await?.status, 401);
        }
    }
    stop.cancel();
    second.wait().await?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gateway_revokes_no_gateway_accepts() -> Result<()> {
    let stage = Stage::start().await?;
    let stop = CancellationToken::new();
    let second = stage.world.another("g2", &stop).await?;
    let there = Http::at(second.addr());
    let client = stage.client().await?;
    for _ in 0..20 {
        // Handed out here, used there a moment later.
        let token = stage.own_token(&client).await?;
        assert_eq!(there.with_key(&token).get("/v1/tasks").await?.status, 200);
        let mut fields = credentials(&client);
        fields.push(("token", &token));
        assert_eq!(
            post(&stage.http, "/oauth/revoke", &fields).await?.status,
            200
        );
        assert_eq!(there.with_key(&token).get("/v1/tasks").await?.status, 401);
    }
    let (access, refresh) = stage.tokens(&stage.owner, &client).await?;
    assert_eq!(there.with_key(&access).get("/v1/tasks").await?.status, 200);
    let refreshed = post(&there, "/oauth/token", &refreshing(&client, &refresh)).await?;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    let access = text(&refreshed, "access_token")?;
    assert_eq!(stage.opens(&access).await?, 200);
    // A moment later any gateway gives the same answer: the first one may have been lost.
    let again = post(&stage.http, "/oauth/token", &refreshing(&client, &refresh)).await?;
    assert_eq!(text(&again, "access_token")?, access);
    let second_refresh = text(&refreshed, "refresh_token")?;
    assert_eq!(text(&again, "refresh_token")?, second_refresh);
    let next = refreshing(&client, &second_refresh);
    let next = post(&stage.http, "/oauth/token", &next).await?;
    let access = text(&next, "access_token")?;
    assert_eq!(stage.opens(&access).await?, 200);
    // Once its successor was used, the first one is only a thief's.
    let stolen = post(&there, "/oauth/token", &refreshing(&client, &refresh)).await?;
    assert_eq!(oauth_error(&stolen), (400, "invalid_grant".into()));
    assert_eq!(there.with_key(&access).get("/v1/tasks").await?.status, 401);
    stop.cancel();
    second.wait().await?;
    stage.stop().await
}
