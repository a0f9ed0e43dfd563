//! Devices without a browser: a person lets them in by a short code (RFC 8628).

use anyhow::Result;
use serde_json::{Value, json};
use waybill_domain::access::grant::device::MAX_ASKED_OF_APP;
use waybill_domain::access::role::Role;
use waybill_testkit::http::Answer;

use super::stage::{Client, Stage, but, credentials, oauth_error, post, refreshing, text};
use crate::teams::people::Person;

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn ask(stage: &Stage, client: &Client, scope: &str) -> Result<Answer> {
    let fields = but(&credentials(client), &[("scope", scope)]);
    post(&stage.http, "/oauth/device_authorization", &fields).await
}

async fn poll(stage: &Stage, client: &Client, code: &str) -> Result<Answer> {
    let mut fields = credentials(client);
    fields.extend([("grant_type", DEVICE), ("device_code", code)]);
    post(&stage.http, "/oauth/token", &fields).await
}

async fn decide(person: &Person, verb: &str, body: Value) -> Result<Answer> {
    person
        .http
        .post(&format!("/v1/me/device/{verb}"), &body)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_tokens_once_a_person_has_approved_and_no_more_than_they_may() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client().await?;
    let asked = ask(&stage, &client, "tasks:read tasks:write").await?;
    assert_eq!(asked.status, 200, "{}", asked.text());
    assert_eq!(asked.header("cache-control"), Some("no-store"));
    let told = asked.json();
    assert_eq!(
        (&told["expires_in"], &told["interval"]),
        (&json!(600), &json!(5))
    );
    let (device, code) = (text(&asked, "device_code")?, text(&asked, "user_code")?);
    let complete = text(&asked, "verification_uri_complete")?;
    assert!(
        complete.ends_with(&format!("/ui/device?code={code}")),
        "{complete}"
    );
    assert!(!told.to_string().contains("secret"));

    let pending = poll(&stage, &client, &device).await?;
    assert_eq!(oauth_error(&pending), (400, "authorization_pending".into()));
    let hasty = poll(&stage, &client, &device).await?;
    assert_eq!(oauth_error(&hasty), (400, "slow_down".into()));
    // Others learn nothing with it, and the short code is no code for them.
    let phone = stage.public_client().await?;
    let invalid = (400, "invalid_grant".to_owned());
    assert_eq!(oauth_error(&poll(&stage, &phone, &device).await?), invalid);
    assert_eq!(oauth_error(&poll(&stage, &client, &code).await?), invalid);

    // A viewer gives what a viewer may.
    let vic = Person::signed_in(&stage.world, "vic").await?;
    vic.joined(&stage.world, &stage.team, Role::Viewer).await?;
    let typed = code.to_lowercase().replace('-', " ");
    let found = decide(&vic, "find", json!({ "userCode": typed })).await?;
    assert_eq!(found.status, 200, "{}", found.text());
    let seen = found.json()["device"].clone();
    assert_eq!(seen["userCode"], json!(code));
    assert_eq!(seen["scopes"], json!(["tasks:read", "tasks:write"]));
    assert_eq!(seen["teams"][0]["id"], json!(stage.team.to_string()));
    assert_eq!(seen["teams"][0]["scopes"], json!(["tasks:read"]));
    let stranger = Person::signed_in(&stage.world, "eve").await?;
    let elsewhere = json!({"userCode": code, "teamId": stage.team.to_string()});
    assert_eq!(
        decide(&stranger, "approve", elsewhere.clone())
            .await?
            .status,
        403
    );
    let approved = decide(&vic, "approve", elsewhere.clone()).await?;
    assert_eq!(approved.status, 204, "{}", approved.text());
    assert_eq!(
        decide(&vic, "approve", elsewhere).await?.status,
        404,
        "decided"
    );

    let given = poll(&stage, &client, &device).await?;
    assert_eq!(given.status, 200, "{}", given.text());
    assert_eq!(given.json()["scope"], "tasks:read");
    let (access, refresh) = (
        text(&given, "access_token")?,
        text(&given, "refresh_token")?,
    );
    assert_eq!(stage.opens(&access).await?, 200);
    let grants = vic.http.get("/v1/me/grants").await?.json();
    assert_eq!(grants["grants"][0]["appId"], json!(client.id));
    // The code came twice, so somebody has copied it: all of it ends.
    assert_eq!(oauth_error(&poll(&stage, &client, &device).await?), invalid);
    assert_eq!(stage.opens(&access).await?, 401);
    let refreshed = post(&stage.http, "/oauth/token", &refreshing(&client, &refresh)).await?;
    assert_eq!(oauth_error(&refreshed), invalid);
    // What happened is in the activity, without any code.
    let told = stage.owner.http.get("/v1/activity?type=grant.").await?;
    let kinds: Vec<_> = told.json()["activity"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| entry["type"].clone())
        .collect();
    for kind in [
        "grant.asked",
        "grant.given",
        "grant.redeemed",
        "grant.revoked",
    ] {
        assert!(kinds.contains(&json!(kind)), "{kinds:?}");
    }
    assert!(!told.text().contains(&device) && !told.text().contains(&code));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_refused_is_told_so_and_wrong_requests_are_refused() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.public_client().await?;
    let wider = ask(&stage, &client, "keys:write").await?;
    assert_eq!(oauth_error(&wider), (400, "invalid_scope".into()));
    let nobody = Client {
        id: "app_01k00000000000000000000000".into(),
        secret: None,
    };
    assert_eq!(
        oauth_error(&ask(&stage, &nobody, "").await?),
        (401, "invalid_client".into())
    );
    let asked = ask(&stage, &client, "").await?;
    let (device, code) = (text(&asked, "device_code")?, text(&asked, "user_code")?);
    for (body, status) in [
        (json!({}), 400),
        (json!({"userCode": "AAAA-AAAA"}), 400),
        (json!({"userCode": code, "more": 1}), 400),
        (json!({"userCode": "BCDF-GHJK"}), 404),
    ] {
        let refused = decide(&stage.owner, "find", body.clone()).await?;
        assert_eq!(refused.status, status, "{body}: {}", refused.text());
    }
    // Only a person decides.
    let find = json!({ "userCode": code });
    let by_key = stage.world.http.post("/v1/me/device/find", &find).await?;
    assert_eq!(by_key.status, 403);
    let denied = decide(&stage.owner, "deny", json!({ "userCode": code })).await?;
    assert_eq!(denied.status, 204, "{}", denied.text());
    let told = poll(&stage, &client, &device).await?;
    assert_eq!(oauth_error(&told), (400, "access_denied".into()));
    let late = json!({"userCode": code, "teamId": stage.team.to_string()});
    assert_eq!(decide(&stage.owner, "approve", late).await?.status, 404);
    // Many can wait, but not without end.
    let client = stage.client().await?;
    for _ in 0..MAX_ASKED_OF_APP {
        let asked = ask(&stage, &client, "").await?;
        if asked.status == 429 {
            // The limit of the endpoint is met first, which bounds it as well.
            return stage.stop().await;
        }
        assert_eq!(asked.status, 200, "{}", asked.text());
    }
    let full = ask(&stage, &client, "").await?;
    assert_eq!(oauth_error(&full), (400, "temporarily_unavailable".into()));
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_codes_is_slow() -> Result<()> {
    let stage = Stage::start().await?;
    let mut refused = 0;
    for n in 0..200_usize {
        let letters = b"BCDFGHJKLMNPQRSTVWXZ";
        let pick = |at: usize| char::from(letters[(n / 20_usize.pow(at as u32 % 3) + at) % 20]);
        let code: String = (0..8).map(pick).collect();
        let answer = decide(&stage.owner, "find", json!({ "userCode": code })).await?;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            refused += 1;
            break;
        }
        assert_eq!(answer.status, 404, "{}", answer.text());
    }
    assert_eq!(refused, 1, "nobody stopped it");
    stage.stop().await
}
