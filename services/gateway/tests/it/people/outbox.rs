//! A letter that was promised leaves, whatever becomes of the gateway that promised it; and what cannot be promised is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::stream;
use async_trait::async_trait;
use futures::StreamExt as _;
use http::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use waybill_gateway::{Gateway, GatewayConfig};
use waybill_identity::PeopleConfig;
use waybill_log::{JetStreamLog, MailQueue as _, NatsConfig};
use waybill_mail::{Letter, Mailer, OutboxTimes, SendError};
use waybill_testkit::eventually;
use waybill_testkit::http::{Answer, Http};

use super::mailbox::Mailbox;
use super::stage::{PASSWORD, Stage};
use crate::teams::people::Person;
use crate::world::{SOON, World, config, parts};

/// A mail server that is away until it is back.
#[derive(Clone, Default)]
struct Faltering {
    is_back: Arc<AtomicBool>,
    /// What it was asked to send while it was away.
    refused: Mailbox,
    taken: Mailbox,
}

#[async_trait]
impl Mailer for Faltering {
    async fn send(&self, letter: &Letter) -> Result<(), SendError> {
        if self.is_back.load(Ordering::SeqCst) {
            return self.taken.send(letter).await;
        }
        self.refused.send(letter).await?;
        Err(SendError::Temporary("away".into()))
    }
}

fn mailing(mailer: &(impl Mailer + Clone)) -> GatewayConfig {
    GatewayConfig {
        people: PeopleConfig {
            mailer: Arc::new(mailer.clone()),
            outbox: OutboxTimes {
                first_pause: Duration::from_millis(50),
                longest_pause: Duration::from_millis(200),
                ..OutboxTimes::default()
            },
            ..PeopleConfig::default()
        },
        ..config()
    }
}

/// A gateway in a runtime of its own, which can be killed with everything in it.
struct Mortal {
    runtime: Option<Runtime>,
    http: Http,
    _log: JetStreamLog,
}

impl Mortal {
    async fn start(world: &World, name: &str, config: GatewayConfig) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let nats = NatsConfig::at(world.nats.url());
        let connecting = runtime.spawn(async move { waybill_log::connect(&nats).await });
        let log = connecting.await??;
        let parts = parts(&log, &world.folder, name);
        let starting = Gateway::start(config, parts, CancellationToken::new());
        let gateway = runtime.spawn(starting).await??;
        let http = Http::at(gateway.addr());
        let mortal = Self {
            runtime: Some(runtime),
            http,
            _log: log,
        };
        ready(&mortal.http).await?;
        Ok(mortal)
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn ready(http: &Http) -> Result<()> {
    eventually(SOON, async || {
        let ready = http.get("/readyz").await;
        ready.is_ok_and(|answer| answer.status == 200)
    })
    .await?;
    Ok(())
}

async fn sign_up(http: &Http, email: &str) -> Result<Answer> {
    let body = json!({ "email": email });
    http.post("/v1/auth/signup", &body).await
}

async fn confirms(http: &Http, token: &str) -> Result<()> {
    let body = json!({ "token": token, "password": PASSWORD });
    let confirmed = http.post("/v1/auth/confirm", &body).await?;
    assert_eq!(confirmed.status, 201, "{}", confirmed.text());
    Ok(())
}

async fn nothing_waits(world: &World) -> Result<()> {
    eventually(SOON, async || {
        let waiting = world.log.waiting().await;
        waiting.is_ok_and(|waiting| waiting == 0)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_outlives_the_gateway_that_promised_it() -> Result<()> {
    // Its own gateway sends no mail, and has nothing to do with the letters of others.
    let world = World::start().await?;
    let away = Faltering::default();
    let mut first = Mortal::start(&world, "first", mailing(&away)).await?;
    let accepted = sign_up(&first.http, "ann@example.com").await?;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let refused = away.refused.letter("ann@example.com", 1).await?;
    first.kill();
    assert_eq!(world.log.waiting().await?, 1);

    let mailbox = Mailbox::default();
    let second = Mortal::start(&world, "second", mailing(&mailbox)).await?;
    let letter = mailbox.letter("ann@example.com", 1).await?;
    assert_eq!(
        letter.id, refused.id,
        "one message, however often it is sent"
    );
    confirms(&second.http, &mailbox.token("ann@example.com", 1).await?).await?;
    nothing_waits(&world).await?;
    assert_eq!(mailbox.all("ann@example.com").len(), 1);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_leaves_its_letters_to_the_next() -> Result<()> {
    let world = World::start().await?;
    let away = Faltering::default();
    let stop = CancellationToken::new();
    let first = world.another_with("first", mailing(&away), &stop).await?;
    let http = Http::at(first.addr());
    for number in 0..5 {
        let accepted = sign_up(&http, &format!("p{number}@example.com")).await?;
        assert_eq!(accepted.status, 202, "{}", accepted.text());
    }
    stop.cancel();
    first.wait().await?;
    assert_eq!(world.log.waiting().await?, 5);

    let (mailbox, stop) = (Mailbox::default(), CancellationToken::new());
    let next = world.another_with("next", mailing(&mailbox), &stop).await?;
    for number in 0..5 {
        let email = format!("p{number}@example.com");
        let token = mailbox.token(&email, 1).await?;
        confirms(&Http::at(next.addr()), &token).await?;
    }
    nothing_waits(&world).await?;
    stop.cancel();
    next.wait().await?;
    world.stop().await
}

/// Every request that somebody would wait for a letter after: known addresses, unknown ones, and an invitation.
async fn all_are_refused(stage: &Stage, owner: &Person, team: &str, code: &str) -> Result<()> {
    for path in ["/v1/auth/signup", "/v1/auth/password/forgot"] {
        let mut texts = Vec::new();
        for email in ["ann@example.com", "nobody@example.com"] {
            let answer = stage.post(path, &json!({ "email": email })).await?;
            assert_eq!(answer.status, 503, "{path} {email}: {}", answer.text());
            assert_eq!(answer.code(), code, "{path} {email}");
            assert!(answer.header("retry-after").is_some());
            texts.push(answer.text());
        }
        assert_eq!(texts[0], texts[1], "{path}");
    }
    let invitation = json!({ "email": "bob@example.com", "role": "member" });
    let path = format!("/teams/{team}/invitations");
    let answer = owner.http.post(&path, &invitation).await?;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.code(), code);
    Ok(())
}

async fn with_a_team(stage: &Stage) -> Result<(Person, String)> {
    let owner = Person::signed_in(&stage.world, "owner").await?;
    let team = owner.team(&stage.world, "Ours", "enterprise").await?;
    Ok((owner, team.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_a_letter_none_is_promised() -> Result<()> {
    let faltering = Faltering::default();
    faltering.is_back.store(true, Ordering::SeqCst);
    let stage = Stage::start_with(|_| mailing(&faltering)).await?;
    sign_up(&stage.http, "ann@example.com").await?;
    let token = faltering.taken.token("ann@example.com", 1).await?;
    confirms(&stage.http, &token).await?;
    let (owner, team) = with_a_team(&stage).await?;
    nothing_waits(&stage.world).await?;

    // One letter that does not leave, where only one fits.
    faltering.is_back.store(false, Ordering::SeqCst);
    let accepted = sign_up(&stage.http, "carol@example.com").await?;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    let context = async_nats::jetstream::new(stage.world.log.client());
    let mut mail = context.get_stream("MAIL").await?;
    let before = mail.info().await?.config.clone();
    let small = stream::Config {
        max_messages: 1,
        ..before.clone()
    };
    context.update_stream(small).await?;
    all_are_refused(&stage, &owner, &team, "busy").await?;
    assert_eq!(stage.world.log.waiting().await?, 1);

    context.update_stream(before).await?;
    faltering.is_back.store(true, Ordering::SeqCst);
    let token = faltering.taken.token("carol@example.com", 1).await?;
    confirms(&stage.http, &token).await?;
    let forgot = json!({ "email": "ann@example.com" });
    let accepted = stage.post("/v1/auth/password/forgot", &forgot).await?;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    faltering.taken.token("ann@example.com", 2).await?;
    nothing_waits(&stage.world).await?;
    for nobody in ["nobody@example.com", "bob@example.com"] {
        assert!(faltering.taken.all(nobody).is_empty(), "{nobody}");
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_for_letters_none_is_promised() -> Result<()> {
    let stage = Stage::start().await?;
    stage.person("ann@example.com").await?;
    let (owner, team) = with_a_team(&stage).await?;
    let nats = stage.world.log.client();
    let deleted = nats
        .request("$JS.API.STREAM.DELETE.MAIL", "".into())
        .await?;
    let deleted: Value = serde_json::from_slice(&deleted.payload)?;
    assert_eq!(deleted["success"], true, "{deleted}");
    all_are_refused(&stage, &owner, &team, "log_unavailable").await?;
    // Nobody waits for a notice, so what it is about is done all the same.
    let changed = json!({ "currentPassword": PASSWORD, "newPassword": "another long one" });
    let tokens = stage.log_in("ann@example.com", PASSWORD).await?;
    let tokens = super::stage::Tokens::of(&tokens)?;
    let changed = stage
        .signed_in(
            &tokens,
            Method::POST,
            "/v1/auth/password",
            &changed.to_string(),
        )
        .await?;
    assert_eq!(changed.status, 200, "{}", changed.text());
    stage.stop().await
}

/// Whether somebody is written to shows neither in what is stored nor in how large it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_writes_no_letter_stores_one_that_looks_the_same() -> Result<()> {
    let stage = Stage::start().await?;
    stage.person("ann@example.com").await?;
    nothing_waits(&stage.world).await?;
    let letters = stage.mailbox.all("ann@example.com").len();
    let nats = stage.world.log.client();
    let mut stored = nats.subscribe("mail.>").await?;
    nats.flush().await?;
    for email in ["ann@example.com", "nobody@example.com"] {
        let answer = stage
            .post("/v1/auth/password/forgot", &json!({ "email": email }))
            .await?;
        assert_eq!(answer.status, 202, "{email}: {}", answer.text());
        let message = tokio::time::timeout(SOON, stored.next()).await?;
        let message = message.context("a stored letter")?;
        assert_eq!(message.subject.as_str(), "mail.letter", "{email}");
        assert_eq!(message.payload.len(), 4096, "{email}");
        for secret in ["example.com", "wb_reset", "password"] {
            let mut parts = message.payload.windows(secret.len());
            assert!(!parts.any(|part| part == secret.as_bytes()), "{secret}");
        }
    }
    stage.mailbox.letter("ann@example.com", letters + 1).await?;
    nothing_waits(&stage.world).await?;
    assert!(stage.mailbox.all("nobody@example.com").is_empty());
    stage.stop().await
}
