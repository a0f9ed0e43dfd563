//! The link that signs the owner of the machine in, once.

use waybill_domain::access::email::Email;
use waybill_domain::access::local_owner::{LinkCommand, LocalOwner, local_owner};
use waybill_domain::access::team::{TeamCommand, TeamRefusal};
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::access::user::{MailedDraft, UserRefusal};
use waybill_domain::event::Boundary;
use waybill_log::StreamSeq;

use crate::bootstrap::bootstrap_team;
use crate::error::CommandError;
use crate::writer::{Author, ControlWriter};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum NoLink {
    /// The first team has people, who sign in by their addresses.
    #[error(
        "the first team has people, and none of them is the owner that a link signs in: sign in with an e-mail address and its password (`waybill teams invite` lets somebody in)"
    )]
    HasMembers,
    #[error("no token could be made: there are no random bytes")]
    NoToken,
    #[error(transparent)]
    Team(CommandError<TeamRefusal>),
    #[error(transparent)]
    Owner(#[from] CommandError<UserRefusal>),
}

/// A link that was made.
#[derive(Debug)]
pub struct SignInLink {
    /// Its token, shown this once.
    pub token: Token,
    /// The position of its event in CONTROL.
    pub version: StreamSeq,
}

impl ControlWriter {
    /// Makes a link for the local owner of the first team, and that owner if the team has nobody. Earlier links are good for nothing any more.
    pub async fn sign_in_link(&self, by: &Author) -> Result<SignInLink, NoLink> {
        let admit = TeamCommand::AdmitLocalOwner;
        match self.run_team(&bootstrap_team(), admit, by).await {
            Ok(_) => {}
            Err(CommandError::Refused(TeamRefusal::HasMembers)) => return Err(NoLink::HasMembers),
            Err(error) => return Err(NoLink::Team(error)),
        }
        let (token, mac, pepper_version) = self
            .token(TokenKind::SignInLink, local_owner().ulid())
            .ok_or(NoLink::NoToken)?;
        let email_hash = self.pepper().address(&Email::of_local_owner());
        let boundary = Boundary::User(email_hash.clone());
        let make = LinkCommand::Make {
            email_hash,
            token: MailedDraft {
                mac: mac.to_hex(),
                pepper_version,
            },
        };
        let made = self.run::<LocalOwner>(&boundary, make, &(), by).await?;
        Ok(SignInLink {
            token,
            version: made.version,
        })
    }
}
