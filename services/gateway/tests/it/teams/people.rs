//! People who are signed in, and the mail they get.

use std::sync::Arc;

use anyhow::{Context, Result};
use async_trait::async_trait;
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use waybill_domain::access::email::Email;
use waybill_domain::access::role::Role;
use waybill_domain::access::session::{SessionCommand, SessionFamily};
use waybill_domain::access::team::{InvitationDraft, TeamCommand};
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::access::user::{Newcomer, User, UserCommand};
use waybill_domain::actor::Actor;
use waybill_domain::event::{Boundary, OutsideAccount, SessionStarted};
use waybill_domain::id::{InvitationId, SessionId, TeamId, UserId};
use waybill_domain::time::Timestamp;
use waybill_gateway::{Gateway, GatewayConfig};
use waybill_identity::PeopleConfig;
use waybill_identity::jwt::Bearer;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_mail::{Letter, Mailer, SendError};
use waybill_testkit::http::{Answer, Http};

use crate::owner::now;
use crate::world::{SOON, World, config, operator, pepper};

const AN_HOUR_MS: i64 = 3_600_000;

/// Keeps letters.
#[derive(Clone, Default)]
pub(crate) struct Mailbox(Arc<Mutex<Vec<Letter>>>);

#[async_trait]
impl Mailer for Mailbox {
    async fn send(&self, letter: &Letter) -> Result<(), SendError> {
        self.letters().push(letter.clone());
        Ok(())
    }
}

impl Mailbox {
    fn letters(&self) -> parking_lot::MutexGuard<'_, Vec<Letter>> {
        self.0.lock()
    }

    /// Waits for so many letters about leaked keys to somebody; there are no more than that.
    pub(crate) async fn leaks(&self, to: &str, letters: usize) -> Result<()> {
        let count = || {
            let all = self.letters();
            let about = |letter: &&Letter| {
                letter.to.as_str() == to && letter.subject.to_lowercase().contains("key")
            };
            all.iter().filter(about).count()
        };
        waybill_testkit::eventually(SOON, async || count() >= letters).await?;
        anyhow::ensure!(count() == letters, "{} letters to {to}", count());
        Ok(())
    }

    /// The token in the newest letter to somebody, once there are so many letters to them.
    pub(crate) async fn token(&self, to: &str, letters: usize) -> Result<String> {
        let of = || {
            let all = self.letters();
            all.iter()
                .filter(|letter| letter.to.as_str() == to)
                .cloned()
                .collect::<Vec<_>>()
        };
        waybill_testkit::eventually(SOON, async || of().len() >= letters).await?;
        let newest = of().pop().context("a letter")?;
        let mut lines = newest.body.lines();
        let token = lines.find_map(|line| line.strip_prefix("    wb_inv_"));
        Ok(format!("wb_inv_{}", token.context("a token")?))
    }
}

/// A world whose mail is kept.
pub(crate) async fn world_with(
    change: impl FnOnce(&mut GatewayConfig),
) -> Result<(World, Mailbox)> {
    let mailbox = Mailbox::default();
    let mut config = GatewayConfig {
        people: PeopleConfig {
            mailer: Arc::new(mailbox.clone()),
            ..PeopleConfig::default()
        },
        ..config()
    };
    change(&mut config);
    Ok((World::start_with(config).await?, mailbox))
}

/// Somebody with an account, signed in.
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) http: Http,
    pub(crate) token: String,
}

impl Person {
    /// `name@example.com`, with a session.
    pub(crate) async fn signed_in(world: &World, name: &str) -> Result<Self> {
        let email = Email::parse(&format!("{name}@example.com"))?;
        let hash = world.gateway.state().people.address(&email);
        let newcomer = Newcomer {
            id: UserId::new(now(), random()),
            email: email.clone(),
            email_hash: hash.clone(),
        };
        let command = UserCommand::ComeFromOutside {
            newcomer,
            account: OutsideAccount {
                issuer: "https://issuer.example".into(),
                subject: name.into(),
            },
            name: name.into(),
        };
        let boundary = Boundary::User(hash);
        let writer = world.writer();
        let user = writer
            .run::<User>(&boundary, command, &(), &operator())
            .await?;
        let (who, account) = user.state.confirmed().context("confirmed")?;
        let session = SessionId::new(now(), random());
        let started = SessionStarted {
            session: session.clone(),
            user: who.id.clone(),
            generation: account.generation,
            method: "https://issuer.example".into(),
            refresh_mac: "00".repeat(32),
            pepper_version: pepper().version(),
            idle_until: Timestamp(now().0 + AN_HOUR_MS),
            expires_at: Timestamp(now().0 + AN_HOUR_MS),
            source: "127.0.0.1".into(),
            agent: None,
            at: now(),
        };
        let start = SessionCommand::Start(Box::new(started));
        let boundary = Boundary::Session(session.clone());
        let by = Actor::User(who.id.clone()).into();
        let begun = writer
            .run::<SessionFamily>(&boundary, start, &(), &by)
            .await?;
        let state = world.gateway.state();
        state.auth.wait_for(begun.version).await?;
        let bearer = Bearer {
            user: who.id.clone(),
            session,
            generation: account.generation,
        };
        let token = state.people.tokens.issue(&bearer, random(), now())?;
        Ok(Self {
            id: who.id.clone(),
            email: email.to_string(),
            http: world.http.with_key(&token),
            token,
        })
    }

    /// The same person at another gateway.
    pub(crate) fn at(&self, gateway: &Gateway) -> Http {
        Http::at(gateway.addr()).with_key(&self.token)
    }

    /// Founds a team, which then is put on a plan.
    pub(crate) async fn team(&self, world: &World, name: &str, plan: &str) -> Result<TeamId> {
        let made = self.http.post("/teams", &json!({"name": name})).await?;
        anyhow::ensure!(made.status == 201, "{}", made.text());
        let team = TeamId::parse(made.json()["team"]["id"].as_str().context("an id")?)?;
        change_plan(world, &team, plan).await?;
        Ok(team)
    }

    /// Makes them a member of a team.
    pub(crate) async fn joined(&self, world: &World, team: &TeamId, role: Role) -> Result<()> {
        let (_, token) = invited(world, team, &self.email, role, AN_HOUR_MS).await?;
        let accepted = self.accept(&token).await?;
        anyhow::ensure!(accepted.status == 200, "{}", accepted.text());
        Ok(())
    }

    pub(crate) async fn accept(&self, token: &str) -> Result<Answer> {
        accept(&self.http, token).await
    }
}

pub(crate) async fn accept(http: &Http, token: &str) -> Result<Answer> {
    let body = json!({ "token": token });
    http.post("/v1/invitations/accept", &body).await
}

pub(crate) async fn patch(http: &Http, path: &str, body: &Value) -> Result<Answer> {
    http.send(Method::PATCH, path, &[], body.to_string()).await
}

pub(crate) async fn put(http: &Http, path: &str, body: &Value) -> Result<Answer> {
    http.send(Method::PUT, path, &[], body.to_string()).await
}

pub(crate) async fn delete(http: &Http, path: &str) -> Result<Answer> {
    http.send(Method::DELETE, path, &[], "").await
}

/// Puts a team on another plan, as the operator does.
pub(crate) async fn change_plan(world: &World, team: &TeamId, plan: &str) -> Result<()> {
    let command = TeamCommand::ChangePlan { plan: plan.into() };
    let changed = world.writer().run_team(team, command, &operator()).await?;
    world.gateway.state().auth.wait_for(changed.version).await?;
    Ok(())
}

/// An invitation that was not mailed, and its token.
pub(crate) async fn invited(
    world: &World,
    team: &TeamId,
    email: &str,
    role: Role,
    lifetime_ms: i64,
) -> Result<(InvitationId, String)> {
    let email = Email::parse(email)?;
    let id = InvitationId::new(now(), random());
    let people = &world.gateway.state().people;
    let (token, mac, pepper_version): (Token, _, _) = people
        .token(TokenKind::Invitation, id.ulid())
        .context("a token")?;
    let draft = InvitationDraft {
        id: id.clone(),
        email_hash: people.address(&email),
        email,
        mac: mac.to_hex(),
        pepper_version,
        role,
        lifetime: std::time::Duration::from_millis(u64::try_from(lifetime_ms)?),
    };
    let command = TeamCommand::Invite(Box::new(draft));
    world.writer().run_team(team, command, &operator()).await?;
    Ok((id, token.reveal().to_owned()))
}

/// Where CONTROL ends: it stays when nothing was stored.
pub(crate) async fn stored(world: &World) -> Result<StreamSeq> {
    Ok(world.log.bounds(Stream::Control).await?.last)
}

pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    u128::from_ne_bytes(bytes)
}
