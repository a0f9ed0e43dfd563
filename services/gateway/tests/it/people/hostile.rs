//! People who mean harm: who has an account, and forged tokens.

use std::time::{Duration, Instant};

use anyhow::Result;
use http::Method;
use serde_json::json;
use waybill_log::{Log, Stream};
use waybill_testkit::http::Answer;

use super::stage::{PASSWORD, Stage, Tokens};

/// An answer but for what differs from request to request.
fn seen(answer: &Answer) -> (u16, String, Vec<String>) {
    let mut names: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    (answer.status.as_u16(), answer.text(), names)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_who_has_an_account() -> Result<()> {
    let stage = Stage::start().await?;
    stage.person("ann@example.com").await?;
    for path in ["/v1/auth/signup", "/v1/auth/password/forgot"] {
        let known = stage
            .post(path, &json!({ "email": "ann@example.com" }))
            .await?;
        let unknown = stage
            .post(path, &json!({ "email": "nobody@example.com" }))
            .await?;
        assert_eq!(seen(&known), seen(&unknown), "{path}");
        assert_eq!(known.status, 202);
    }
    let known = stage.log_in("ann@example.com", "not the password").await?;
    let unknown = stage
        .log_in("nobody@example.com", "not the password")
        .await?;
    assert_eq!(seen(&known), seen(&unknown));
    assert_eq!(
        (known.status.as_u16(), known.code()),
        (401, "invalid_credentials".into())
    );
    // The owner of the address learns it, by mail: somebody tried to sign up, and to get another password.
    stage.mailbox.letter("ann@example.com", 3).await?;
    let mut subjects: Vec<_> = stage
        .mailbox
        .all("ann@example.com")
        .into_iter()
        .skip(1)
        .map(|l| l.subject)
        .collect();
    subjects.sort_unstable();
    assert_eq!(
        subjects,
        ["Set a new password", "You have an account already"]
    );
    assert_eq!(
        stage.mailbox.all("nobody@example.com").len(),
        1,
        "only the sign-up"
    );
    stage.stop().await
}

/// What a letter needs is stored before the answer; where it cannot be, that is said, whether or not the address has an account.
#[tokio::test(flavor = "multi_thread")]
async fn without_room_in_the_log_nobody_is_promised_a_letter() -> Result<()> {
    let stage = Stage::start().await?;
    stage.person("ann@example.com").await?;
    let letters = stage.mailbox.all("ann@example.com").len();
    // CONTROL is read as before and takes nothing more.
    let context = async_nats::jetstream::new(stage.world.log.client());
    let mut stream = context.get_stream("CONTROL").await?;
    let info = stream.info().await?;
    let before = info.config.clone();
    let full = async_nats::jetstream::stream::Config {
        max_messages: i64::try_from(info.state.messages)?,
        discard: async_nats::jetstream::stream::DiscardPolicy::New,
        ..before.clone()
    };
    context.update_stream(full).await?;
    for path in ["/v1/auth/signup", "/v1/auth/password/forgot"] {
        let mut answers = Vec::new();
        for email in ["ann@example.com", "nobody@example.com"] {
            let answer = stage.post(path, &json!({ "email": email })).await?;
            assert_eq!(answer.status, 503, "{path} {email}: {}", answer.text());
            assert!(answer.header("retry-after").is_some());
            answers.push(seen(&answer));
        }
        assert_eq!(answers[0], answers[1], "{path}");
    }
    context.update_stream(before).await?;
    let forgot = json!({ "email": "ann@example.com" });
    let accepted = stage.post("/v1/auth/password/forgot", &forgot).await?;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    stage.mailbox.letter("ann@example.com", letters + 1).await?;
    assert_eq!(stage.mailbox.all("ann@example.com").len(), letters + 1);
    assert!(stage.mailbox.all("nobody@example.com").is_empty());
    stage.stop().await
}

/// Each request for a letter leaves one event behind, so neither its time nor a log that fills up tells who has an account.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_for_a_letter_costs_the_log_the_same() -> Result<()> {
    let stage = Stage::start().await?;
    stage.person("ann@example.com").await?;
    for path in ["/v1/auth/signup", "/v1/auth/password/forgot"] {
        for email in ["ann@example.com", "nobody@example.com"] {
            let before = stage.world.log.bounds(Stream::Control).await?.last;
            let answer = stage.post(path, &json!({ "email": email })).await?;
            assert_eq!(answer.status, 202);
            let after = stage.world.log.bounds(Stream::Control).await?.last;
            assert_eq!(after.0, before.0 + 1, "{path} {email}");
        }
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn j10_an_unknown_address_takes_as_long_as_a_wrong_password() -> Result<()> {
    let stage = Stage::start().await?;
    stage.person("ann@example.com").await?;
    // A machine that is busy with other things is given more than one chance; a hash that is not computed would show in each.
    let mut rounds = Vec::new();
    for round in 0..3 {
        let nobody = format!("nobody{round}@example.com");
        // The fastest of several: noise only ever adds.
        let mut best = [Duration::MAX; 2];
        for _ in 0..3 {
            for (best, email) in best.iter_mut().zip(["ann@example.com", &nobody]) {
                let begun = Instant::now();
                assert_eq!(stage.log_in(email, "not the password").await?.status, 401);
                *best = begun.elapsed().min(*best);
            }
        }
        rounds.push(best);
    }
    let alike = rounds.iter().any(|best| {
        let ratio = best[0].as_secs_f64() / best[1].as_secs_f64();
        (0.6..1.7).contains(&ratio)
    });
    assert!(alike, "known and unknown: {rounds:?}");
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_that_are_not_ours_are_refused_alike() -> Result<()> {
    let stage = Stage::start().await?;
    let ann = stage.person("ann@example.com").await?;
    let parts: Vec<_> = ann.access.split('.').collect();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0";
    for access in [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(86)),
        format!("{}.{}.{}x", parts[0], parts[1], parts[2]),
        "eyJhbGciOiJIUzI1NiJ9.e30.AAAA".to_owned(),
        format!("eyJ{}.e30.AAAA", "a".repeat(5000)),
    ] {
        let answer = stage
            .me(&Tokens {
                access,
                ..ann.clone()
            })
            .await?;
        assert_eq!(
            (answer.status.as_u16(), answer.error()),
            (401, "Invalid or expired session".into())
        );
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"api\", error=\"invalid_token\"")
        );
    }
    assert_eq!(stage.me(&ann).await?.status, 200);
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_no_person_and_a_person_no_key() -> Result<()> {
    let stage = Stage::start().await?;
    let ann = stage.person("ann@example.com").await?;
    let key = stage.world.http.get("/v1/me").await?;
    assert_eq!(
        (key.status.as_u16(), key.code()),
        (403, "person_required".into())
    );
    let logout = stage
        .world
        .http
        .send(Method::POST, "/v1/auth/logout", &[], "")
        .await?;
    assert_eq!(logout.status, 403);
    // Somebody without a team has no tasks, and none of another team's.
    let tasks = stage.signed_in(&ann, Method::GET, "/v1/tasks", "").await?;
    assert_eq!(
        (tasks.status.as_u16(), tasks.code()),
        (403, "access_denied".into())
    );
    let team = stage.world.team.to_string();
    let theirs = [("x-team-id", team.as_str())];
    let tasks = stage
        .http
        .with_key(&ann.access)
        .send(Method::GET, "/v1/tasks", &theirs, "")
        .await?;
    assert_eq!(
        (tasks.status.as_u16(), tasks.code()),
        (403, "access_denied".into())
    );
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_stored_as_it_is() -> Result<()> {
    use waybill_log::{Log as _, Stream, StreamSeq};
    let stage = Stage::start().await?;
    let ann = stage.person("ann@example.com").await?;
    let token = stage.mailbox.token("ann@example.com", 1).await?;
    let last = stage.world.log.bounds(Stream::Control).await?.last;
    let records = stage
        .world
        .log
        .range(Stream::Control, &[], StreamSeq(1), last, 1000)
        .await?;
    assert!(
        records
            .iter()
            .any(|record| record.event == "session.started.v1")
    );
    for record in &records {
        for secret in [PASSWORD, &ann.refresh, &ann.access, &token] {
            let found = record
                .payload
                .windows(secret.len())
                .any(|bytes| bytes == secret.as_bytes());
            assert!(!found, "{}", record.event);
        }
        assert!(!record.subject.contains("ann"), "{}", record.subject);
    }
    stage.stop().await
}
