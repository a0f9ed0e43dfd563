//! A gateway whose letters can be read, and people who use it.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use waybill_domain::access::email::Email;
use waybill_domain::access::role::Role;
use waybill_domain::access::team::{INVITATION_LIFETIME, InvitationDraft, TeamCommand};
use waybill_domain::access::token::TokenKind;
use waybill_domain::id::InvitationId;
use waybill_gateway::GatewayConfig;
use waybill_identity::PeopleConfig;
use waybill_testkit::http::{Answer, Http};

use super::mailbox::Mailbox;
use waybill_commands::entropy::random_u128;

use crate::owner::now;
use crate::world::{World, config, operator};

pub(super) const PASSWORD: &str = "correct horse battery";

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) mailbox: Mailbox,
    /// Nobody in particular.
    pub(super) http: Http,
}

/// Somebody who is signed in.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) refresh: String,
    pub(super) session: String,
}

impl Tokens {
    pub(super) fn of(answer: &Answer) -> Result<Self> {
        let body = answer.json();
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        Ok(Self {
            access: text("accessToken").with_context(|| answer.text())?,
            refresh: text("refreshToken").unwrap_or_default(),
            session: text("sessionId").context("a session")?,
        })
    }
}

/// As the world's, with more room for log-ins of one address than a stranger has.
pub(super) fn config_with(mailbox: &Mailbox) -> GatewayConfig {
    let config = config();
    GatewayConfig {
        people: PeopleConfig {
            mailer: Arc::new(mailbox.clone()),
            ..PeopleConfig::default()
        },
        ..config
    }
}

impl Stage {
    pub(super) async fn start() -> Result<Self> {
        Self::start_with(|config| config).await
    }

    pub(super) async fn start_with(
        change: impl FnOnce(GatewayConfig) -> GatewayConfig,
    ) -> Result<Self> {
        let mailbox = Mailbox::default();
        let world = World::start_with(change(config_with(&mailbox))).await?;
        let http = Http::at(world.gateway.addr());
        Ok(Self {
            world,
            mailbox,
            http,
        })
    }

    /// Without the moment in which a used refresh token is answered again: tests of thieves need not wait until it is over.
    pub(super) async fn without_grace() -> Result<Self> {
        Self::start_with(|mut config| {
            config.people.refresh_grace = std::time::Duration::ZERO;
            config
        })
        .await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.http.post(path, body).await
    }

    /// Signs somebody up, confirms the address, and is signed in.
    pub(super) async fn person(&self, email: &str) -> Result<Tokens> {
        let before = self.mailbox.all(email).len();
        let answer = self
            .post("/v1/auth/signup", &json!({ "email": email }))
            .await?;
        ensure!(answer.status == 202, answer.text());
        self.confirm(email, before + 1).await
    }

    /// Confirms an address with the token in the `number`th letter to it, and is signed in.
    pub(super) async fn confirm(&self, email: &str, number: usize) -> Result<Tokens> {
        let token = self.mailbox.token(email, number).await?;
        let body = json!({ "token": token, "password": PASSWORD, "name": "Ann" });
        let answer = self.post("/v1/auth/confirm", &body).await?;
        ensure!(answer.status == 201, answer.text());
        Tokens::of(&answer)
    }

    /// Invites an address to the world's team.
    pub(super) async fn invite(&self, email: &str, role: Role) -> Result<InvitationId> {
        let people = &self.world.gateway.state().people;
        let email = Email::parse(email)?;
        let id = InvitationId::new(now(), random_u128());
        let token = people.token(TokenKind::Invitation, id.ulid());
        let (_, mac, pepper_version) = token.context("a token")?;
        let draft = InvitationDraft {
            id: id.clone(),
            email_hash: people.address(&email),
            email,
            mac: mac.to_hex(),
            pepper_version,
            role,
            lifetime: INVITATION_LIFETIME,
        };
        self.of_team(TeamCommand::Invite(Box::new(draft))).await?;
        Ok(id)
    }

    pub(super) async fn withdraw(&self, invitation: InvitationId) -> Result<()> {
        let command = TeamCommand::WithdrawInvitation { invitation };
        self.of_team(command).await
    }

    async fn of_team(&self, command: TeamCommand) -> Result<()> {
        let writer = self.world.writer();
        let team = &self.world.team;
        writer.run_team(team, command, &operator()).await?;
        Ok(())
    }

    pub(super) async fn log_in(&self, email: &str, password: &str) -> Result<Answer> {
        self.post(
            "/v1/auth/login",
            &json!({ "email": email, "password": password }),
        )
        .await
    }

    pub(super) async fn refresh(&self, token: &str) -> Result<Answer> {
        self.post("/v1/auth/refresh", &json!({ "refreshToken": token }))
            .await
    }

    /// A request of somebody who is signed in.
    pub(super) async fn signed_in(
        &self,
        tokens: &Tokens,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<Answer> {
        self.http
            .with_key(&tokens.access)
            .send(method, path, &[], body.to_owned())
            .await
    }

    pub(super) async fn me(&self, tokens: &Tokens) -> Result<Answer> {
        self.signed_in(tokens, Method::GET, "/v1/me", "").await
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.world.stop().await
    }
}
