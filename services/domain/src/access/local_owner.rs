//! The owner of an installation who has given no address yet.
//!
//! Whoever may run commands on the machine may own its first team, so a link that such a command prints signs them in, once. The link, and the
//! account until it has an address, belong to the boundary of a reserved address. Once an address is given, the account is that
//! address's; the person, and with it every membership and session, remains the same.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::Aggregate;
use crate::access::email::{Email, EmailHash};
use crate::access::proof::Proof;
use crate::access::user::{MailedDraft, Newcomer, User, UserRefusal, valid_name};
use crate::actor::Actor;
use crate::event::{ControlEvent, UserConfirmed, UserSignInLinkMade, UserSignInLinkUsed};
use crate::id::UserId;
use crate::time::Timestamp;

/// How long a sign-in link is good.
pub const LINK_LIFETIME: Duration = Duration::from_secs(600);
/// What a local owner is called until they say otherwise.
const NAME: &str = "Local owner";

/// The id of the local owner. It is equal in every installation, as that of the first team is.
#[must_use]
pub fn local_owner() -> UserId {
    UserId::new(Timestamp(0), 0)
}

/// Refuses somebody who has given no address: nobody else could tell who invites them, and the owner could not come back without a link.
pub fn may_invite(user: &User) -> Result<(), UserRefusal> {
    match &user.who {
        Some(who) if Email::is_of_local_owner(&who.email) => Err(UserRefusal::NoAddressYet),
        _ => Ok(()),
    }
}

/// The link that was made last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Link {
    mac: String,
    pepper_version: u32,
    expires_at: Timestamp,
}

/// The local owner, built from the events of the reserved address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalOwner {
    user: User,
    link: Option<Link>,
    /// The MAC of the link that was used last.
    used: Option<String>,
}

/// Commands to the local owner.
#[derive(Debug, Clone)]
pub enum LinkCommand {
    /// Make a link, and the local owner if there is none. Earlier links are good for nothing any more.
    Make {
        /// Keyed hash of the reserved address.
        email_hash: EmailHash,
        /// The token of the link.
        token: MailedDraft,
    },
    /// Use the link.
    Use {
        /// The presented token.
        proof: Proof,
    },
}

impl Aggregate for LocalOwner {
    type Command = LinkCommand;
    type Rules = ();
    type Refusal = UserRefusal;

    fn decide(
        &self,
        command: LinkCommand,
        _by: &Actor,
        (): &(),
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, UserRefusal> {
        match command {
            LinkCommand::Make { email_hash, token } => Ok(self.make(email_hash, token, now)),
            LinkCommand::Use { proof } => {
                let used = self.open_link(now).filter(|link| {
                    let (mac, version) = (&link.mac, link.pepper_version);
                    proof.is_of(mac, version)
                });
                let (link, (who, _)) = used
                    .zip(self.user.confirmed())
                    .ok_or(UserRefusal::TokenRefused)?;
                Ok(vec![ControlEvent::UserSignInLinkUsed(UserSignInLinkUsed {
                    user: who.id.clone(),
                    email_hash: who.email_hash.clone(),
                    mac: link.mac.clone(),
                    at: now,
                })])
            }
        }
    }

    fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::UserSignInLinkMade(e) => {
                self.link = Some(Link {
                    mac: e.mac.clone(),
                    pepper_version: e.pepper_version,
                    expires_at: e.expires_at,
                });
            }
            ControlEvent::UserSignInLinkUsed(e) => self.used = Some(e.mac.clone()),
            event => self.user.evolve(event),
        }
    }
}

impl LocalOwner {
    fn open_link(&self, now: Timestamp) -> Option<&Link> {
        let link = self.link.as_ref()?;
        let is_used = self.used.as_ref() == Some(&link.mac);
        (!is_used && now < link.expires_at).then_some(link)
    }

    fn make(&self, email_hash: EmailHash, token: MailedDraft, now: Timestamp) -> Vec<ControlEvent> {
        let user = local_owner();
        let mut events = Vec::new();
        if self.user.account.is_none() {
            events.push(ControlEvent::UserConfirmed(UserConfirmed {
                user: user.clone(),
                email: Email::of_local_owner().to_string(),
                email_hash: email_hash.clone(),
                password: None,
                name: NAME.to_owned(),
                generation: 0,
                at: now,
            }));
        }
        events.push(ControlEvent::UserSignInLinkMade(UserSignInLinkMade {
            user,
            email_hash,
            mac: token.mac,
            pepper_version: token.pepper_version,
            expires_at: now.plus(LINK_LIFETIME),
            at: now,
        }));
        events
    }
}

/// The address that a local owner gives as theirs, built from the events of that address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenAddress(User);

/// A local owner gives an address and a password.
#[derive(Debug, Clone)]
pub struct GiveAddress {
    /// The local owner, with the new address.
    pub newcomer: Newcomer,
    /// Hash of the password.
    pub password: String,
    /// Name shown to people.
    pub name: String,
    /// The generation of their sessions, which go on.
    pub generation: u64,
}

impl Aggregate for GivenAddress {
    type Command = GiveAddress;
    type Rules = ();
    type Refusal = UserRefusal;

    fn decide(
        &self,
        given: GiveAddress,
        _by: &Actor,
        (): &(),
        now: Timestamp,
    ) -> Result<Vec<ControlEvent>, UserRefusal> {
        if self.0.account.is_some() {
            return Err(UserRefusal::AlreadyConfirmed);
        }
        Ok(vec![ControlEvent::UserConfirmed(UserConfirmed {
            user: given.newcomer.id,
            email: given.newcomer.email.to_string(),
            email_hash: given.newcomer.email_hash,
            password: Some(given.password),
            name: valid_name(&given.name)?,
            generation: given.generation,
            at: now,
        })])
    }

    fn evolve(&mut self, event: &ControlEvent) {
        self.0.evolve(event);
    }
}
