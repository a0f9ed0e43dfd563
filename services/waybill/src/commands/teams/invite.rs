//! `waybill teams invite`: how the first people join a team, with or without a mail server.

use std::io::Write;

use anyhow::{Context, anyhow};
use waybill_commands::{Author, CommandError, ControlWriter, entropy};
use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::role::Role;
use waybill_domain::access::team::{INVITATION_LIFETIME, InvitationDraft, TeamCommand};
use waybill_domain::access::token::TokenKind;
use waybill_domain::access::user::{MailedDraft, Newcomer, User, UserCommand, UserRefusal};
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;
use waybill_domain::id::{InvitationId, TeamId, UserId};
use waybill_log::StreamSeq;
use waybill_log::jetstream::JetStreamLog;
use waybill_mail::{Letter, Links, Mailer, Occasion};

use crate::config::Config;
use crate::running_server;

/// The invitation to make.
pub(super) struct Wanted {
    team: Option<String>,
    email: Email,
    role: Role,
}

impl Wanted {
    pub(super) fn parse(team: Option<String>, email: &str, role: &str) -> anyhow::Result<Self> {
        let email = Email::parse(email).map_err(|error| anyhow!("--email: {error}"))?;
        let role = Role::parse(role).with_context(|| {
            let all = Role::ALL.map(Role::as_str).join(", ");
            format!("--role: must be one of {all}, not {role:?}")
        })?;
        Ok(Self { team, email, role })
    }
}

/// Invites, and sends the letter or prints what it would say.
pub(super) async fn invite(
    out: &mut impl Write,
    config: &Config,
    log: &JetStreamLog,
    control: &ControlWriter,
    wanted: Wanted,
) -> anyhow::Result<()> {
    let Wanted { team, email, role } = wanted;
    // A mail server that is configured wrongly is refused before anything is written.
    let server = config.mail.server()?;
    let team = running_server::team_or_first(log, team).await?;
    let by = Author::from(Actor::Operator("cli".into()));
    let address = control.pepper().address(&email);
    let invited = Invited::make(control, &team, &email, &address, role, &by).await?;
    running_server::settled(log, invited.version).await?;
    let links = Links {
        app: config.auth.app_url.clone(),
    };
    if let Some(server) = server {
        let occasion = Occasion::Invitation {
            team: invited.team,
            role: role.to_string(),
            token: invited.token,
        };
        let letter = Letter::about(&occasion, &email, &links);
        server.send(&letter).await.with_context(|| {
            format!("the letter to {email} was not sent; invite once more when mail works, which replaces this invitation")
        })?;
        writeln!(out, "an invitation to {team} as {role} went to {email}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{email} is invited to {team} as {role}. No mail server is configured, so hand this over yourself; it is shown this once."
    )?;
    if let Some(token) = account(log, control, &email, &address, &by).await? {
        writeln!(
            out,
            "\nThere is no account for {email} yet. To make one, within 24 hours:\n\n{}",
            links.confirm(&token)
        )?;
    }
    writeln!(
        out,
        "\nTo join, signed in as {email}, within 7 days:\n\n{}",
        links.join(&invited.token)
    )?;
    Ok(())
}

struct Invited {
    /// The team's name.
    team: String,
    token: String,
    version: StreamSeq,
}

impl Invited {
    async fn make(
        control: &ControlWriter,
        team: &TeamId,
        email: &Email,
        address: &EmailHash,
        role: Role,
        by: &Author,
    ) -> anyhow::Result<Self> {
        let id = InvitationId::new(entropy::now(), entropy::random_u128());
        let (token, mac, pepper_version) = control
            .token(TokenKind::Invitation, id.ulid())
            .context("no token could be made")?;
        let draft = InvitationDraft {
            id,
            email_hash: address.clone(),
            email: email.clone(),
            mac: mac.to_hex(),
            pepper_version,
            role,
            lifetime: INVITATION_LIFETIME,
        };
        let command = TeamCommand::Invite(Box::new(draft));
        let after = control.run_team(team, command, by).await?;
        Ok(Self {
            team: after.state.info.map(|info| info.name).unwrap_or_default(),
            token: token.reveal().to_owned(),
            version: after.version,
        })
    }
}

/// Signs the address up, as its owner would, and returns the token that confirms it. `None`: there is an account already.
async fn account(
    log: &JetStreamLog,
    control: &ControlWriter,
    email: &Email,
    address: &EmailHash,
    by: &Author,
) -> anyhow::Result<Option<String>> {
    let boundary = Boundary::User(address.clone());
    let known = control.load::<User>(&boundary).await?.state.who;
    // Whoever asked before keeps the id, and the token has to name it.
    let mut id = known.map_or_else(
        || UserId::new(entropy::now(), entropy::random_u128()),
        |who| who.id,
    );
    for _ in 0..2 {
        let (token, mac, pepper_version) = control
            .token(TokenKind::Confirmation, id.ulid())
            .context("no token could be made")?;
        let command = UserCommand::SignUp {
            newcomer: Newcomer {
                id: id.clone(),
                email: email.clone(),
                email_hash: address.clone(),
            },
            token: MailedDraft {
                mac: mac.to_hex(),
                pepper_version,
            },
        };
        let after = match control.run::<User>(&boundary, command, &(), by).await {
            Ok(after) => after,
            Err(CommandError::Refused(UserRefusal::AlreadyConfirmed)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match after.state.who {
            // Somebody signed up with the same address in between and gave it another id.
            Some(who) if who.id != id => id = who.id,
            _ => {
                running_server::settled(log, after.version).await?;
                return Ok(Some(token.reveal().to_owned()));
            }
        }
    }
    Err(anyhow!(
        "somebody else is signing up with {email} at this moment; try again"
    ))
}
