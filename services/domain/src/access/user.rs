//! A person: their email address, how they authenticate, and since when.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::access::Aggregate;
use crate::access::email::{Email, EmailHash};
use crate::access::name::is_plain;
use crate::access::proof::Proof;
use crate::actor::Actor;
use crate::event::{
    ControlEvent, MailedEarlier, OutsideAccount, PasswordChange, UserConfirmed, UserIdentityLinked,
    UserLocked, UserPasswordChanged, UserPasswordRehashed, UserRenamed, UserResetRequested,
    UserSignedUp,
};
use crate::id::UserId;
use crate::time::Timestamp;

/// Longest name of a person, in characters.
pub const MAX_NAME_CHARS: usize = 100;
/// Limit of external accounts linked to one person.
pub const MAX_ACCOUNTS: usize = 10;
/// Lifetime of the token that confirms a sign-up.
pub const CONFIRMATION_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Lifetime of the token that resets a password.
pub const RESET_LIFETIME: Duration = Duration::from_secs(3600);
/// Number of mailed tokens for one purpose that are valid at a time; a further one replaces the
/// oldest. It is more than the rate limits let anybody request within the hour that a reset token
/// lasts.
const MAX_LETTERS: usize = 24;
/// Minimum interval between mails that tell a person that they are locked out, so that an attacker
/// cannot flood the mailbox.
pub const NOTICE_PAUSE: Duration = Duration::from_secs(3600);

/// A token that was sent by mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailed {
    mac: String,
    pepper_version: u32,
    expires_at: Timestamp,
}

impl Mailed {
    /// All valid tokens after an event: the one that it carries, and the earlier ones.
    fn all(
        mac: &str,
        pepper_version: u32,
        expires_at: Timestamp,
        earlier: &[MailedEarlier],
    ) -> Vec<Self> {
        let earlier = earlier.iter().map(|earlier| Self {
            mac: earlier.mac.clone(),
            pepper_version: earlier.pepper_version,
            expires_at: earlier.expires_at,
        });
        let latest = Self {
            mac: mac.to_owned(),
            pepper_version,
            expires_at,
        };
        earlier.chain([latest]).collect()
    }

    /// The earlier tokens, as the event of the next mail lists them.
    fn earlier(open: &[Self], now: Timestamp) -> Vec<MailedEarlier> {
        let good: Vec<&Self> = open
            .iter()
            .filter(|mailed| now < mailed.expires_at)
            .collect();
        let skipped = good.len().saturating_sub(MAX_LETTERS - 1);
        let kept = good.into_iter().skip(skipped);
        kept.map(|mailed| MailedEarlier {
            mac: mailed.mac.clone(),
            pepper_version: mailed.pepper_version,
            expires_at: mailed.expires_at,
        })
        .collect()
    }

    fn accepts(&self, proof: &Proof, now: Timestamp) -> bool {
        proof.is_of(&self.mac, self.pepper_version) && now < self.expires_at
    }
}

/// A person who requested an account, or for whom an account was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified {
    pub id: UserId,
    /// Email address in lower case.
    pub email: String,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
}

/// What exists once the address is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name shown to people.
    pub name: String,
    /// Hash of the password; `None` if the person only signs in through an external issuer.
    pub password: Option<String>,
    /// Sessions of another generation are void.
    pub generation: u64,
    /// Linked accounts at external issuers.
    pub outside: Vec<OutsideAccount>,
    /// When the address was confirmed.
    pub since: Timestamp,
    resets: Vec<Mailed>,
    locked: Option<UserLocked>,
}

/// A person, built from their events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// `None` until an account is requested.
    pub who: Option<Identified>,
    /// `None` until the address is confirmed.
    pub account: Option<Account>,
    sign_ups: Vec<Mailed>,
}

/// A token to send by mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailedDraft {
    /// HMAC of the token, in hex.
    pub mac: String,
    /// Version of the pepper under which the MAC was made.
    pub pepper_version: u32,
}

/// A person who may not have an account yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// Id to use unless an account was requested before.
    pub id: UserId,
    pub email: Email,
    /// Keyed hash of the address.
    pub email_hash: EmailHash,
}

/// Commands to a person.
#[derive(Debug, Clone)]
pub enum UserCommand {
    /// Request an account.
    SignUp {
        /// The person to create if there is none.
        newcomer: Newcomer,
        /// The token to send to the address.
        token: MailedDraft,
    },
    /// Confirm the address, and set the password.
    Confirm {
        /// The presented token.
        proof: Proof,
        /// Hash of the new password.
        password: String,
        /// Name shown to people.
        name: String,
    },
    /// Sign in through an external issuer that vouches for the address.
    ComeFromOutside {
        /// The person to create if there is none.
        newcomer: Newcomer,
        /// The account at the issuer.
        account: OutsideAccount,
        /// Name to show if the person is new.
        name: String,
    },
    /// Change the password, provided that the current hash still is `known`.
    ChangePassword {
        /// The hash that the old password was checked against.
        known: String,
        /// Hash of the new password.
        password: String,
    },
    /// Request a password reset. If nobody has confirmed the address, nothing follows from it; it is
    /// stored all the same.
    RequestReset {
        /// The user that the token names.
        user: UserId,
        /// Keyed hash of the address.
        email_hash: EmailHash,
        /// The token to send to the address.
        token: MailedDraft,
    },
    /// Reset the password with the token of a mail.
    ResetPassword {
        /// The presented token.
        proof: Proof,
        /// Hash of the new password.
        password: String,
    },
    /// Store the same password with another hash function or other parameters.
    Rehash {
        /// The hash that the password was checked against.
        known: String,
        /// The new hash.
        password: String,
    },
    /// Record that too many wrong passwords were tried, so that further attempts must wait.
    Lock {
        /// End of the waiting time.
        until: Timestamp,
    },
    /// Change the displayed name.
    Rename { name: String },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UserRefusal {
    /// No person has confirmed that address.
    #[error("there is no such person")]
    Nobody,
    /// The address already has an account.
    #[error("the address has an account already")]
    AlreadyConfirmed,
    /// The token is unknown, used, replaced or expired.
    #[error("The token is not valid, was used already or has expired; ask for another one")]
    TokenRefused,
    /// The password was changed in the meantime.
    #[error("the password is not the one that was checked")]
    PasswordMoved,
    /// The name is empty, too long, or not a single visible line.
    #[error(
        "name must be 1 to {MAX_NAME_CHARS} characters, without control or invisible characters"
    )]
    InvalidName,
    /// The person has too many external accounts.
    #[error("a person can have at most {MAX_ACCOUNTS} accounts with outside issuers")]
    TooManyAccounts,
    /// The local owner has no address yet.
    #[error("Give your own e-mail address and a password first, with POST /v1/me/address")]
    NoAddressYet,
}

impl User {
    /// Whether the token confirms the address. Checked before anything costly is done on behalf of
    /// its bearer.
    #[must_use]
    pub fn confirms(&self, proof: &Proof, now: Timestamp) -> bool {
        let accepts = |mailed: &Mailed| mailed.accepts(proof, now);
        self.account.is_none() && self.sign_ups.iter().any(accepts)
    }

    /// Whether the token may reset the password.
    #[must_use]
    pub fn resets(&self, proof: &Proof, now: Timestamp) -> bool {
        let account = self.account.as_ref();
        account.is_some_and(|account| account.resets(proof, now))
    }

    /// The person and the account, once the address is confirmed.
    #[must_use]
    pub fn confirmed(&self) -> Option<(&Identified, &Account)> {
        self.who.as_ref().zip(self.account.as_ref())
    }
}

impl Account {
    /// Until when password attempts are refused; `None` if they are not.
    #[must_use]
    pub fn locked_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.locked.as_ref()?.until;
        (now < until).then_some(until)
    }

    /// Whether the person should be notified if they are locked out at the time `now`.
    #[must_use]
    pub fn notice_is_due(&self, now: Timestamp) -> bool {
        self.locked
            .as_ref()
            .is_none_or(|lock| now >= lock.at.plus(NOTICE_PAUSE))
    }

    fn resets(&self, proof: &Proof, now: Timestamp) -> bool {
        self.resets.iter().any(|mailed| mailed.accepts(proof, now))
    }

    fn next_generation(&self, now: Timestamp) -> u64 {
        generation(now).max(self.generation + 1)
    }
}

/// Generations are times, so that the latest event alone determines the latest generation.
fn generation(now: Timestamp) -> u64 {
    u64::try_from(now.0).unwrap_or(0)
}

pub(super) fn valid_name(name: &str) -> Result<String, UserRefusal> {
    let name = name.trim();
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    if fits && is_plain(name) {
        Ok(name.to_owned())
    } else {
        Err(UserRefusal::InvalidName)
    }
}

type Decision = Result<Vec<ControlEvent>, UserRefusal>;

impl Aggregate for User {
    type Command = UserCommand;
    type Rules = ();
    type Refusal = UserRefusal;

    fn decide(&self, command: UserCommand, _by: &Actor, (): &(), now: Timestamp) -> Decision {
        match command {
            UserCommand::SignUp { newcomer, token } => self.sign_up(newcomer, token, now),
            UserCommand::Confirm {
                proof,
                password,
                name,
            } => self.confirm(&proof, password, &name, now),
            UserCommand::ComeFromOutside {
                newcomer,
                account,
                name,
            } => self.come_from_outside(newcomer, account, &name, now),
            UserCommand::RequestReset {
                user,
                email_hash,
                token,
            } => Ok(self.request_reset(user, email_hash, token, now)),
            command => {
                let (who, account) = self.confirmed().ok_or(UserRefusal::Nobody)?;
                change(who, account, command, now)
            }
        }
    }

    fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::UserSignedUp(e) => {
                self.who.get_or_insert_with(|| Identified {
                    id: e.user.clone(),
                    email: e.email.clone(),
                    email_hash: e.email_hash.clone(),
                });
                // A sign-up after the confirmation is never decided; if one is read again, it
                // changes nothing.
                if self.account.is_none() {
                    self.sign_ups = Mailed::all(&e.mac, e.pepper_version, e.expires_at, &e.earlier);
                }
            }
            ControlEvent::UserConfirmed(e) => self.evolve_confirmed(e),
            event => {
                if let Some(account) = &mut self.account {
                    account.evolve(event);
                }
            }
        }
    }
}

impl User {
    fn sign_up(&self, newcomer: Newcomer, token: MailedDraft, now: Timestamp) -> Decision {
        if self.account.is_some() {
            return Err(UserRefusal::AlreadyConfirmed);
        }
        let id = self.who.as_ref().map_or(newcomer.id, |who| who.id.clone());
        Ok(vec![ControlEvent::UserSignedUp(UserSignedUp {
            user: id,
            email: newcomer.email.to_string(),
            email_hash: newcomer.email_hash,
            mac: token.mac,
            pepper_version: token.pepper_version,
            expires_at: now.plus(CONFIRMATION_LIFETIME),
            earlier: Mailed::earlier(&self.sign_ups, now),
            at: now,
        })])
    }

    fn request_reset(
        &self,
        user: UserId,
        email_hash: EmailHash,
        token: MailedDraft,
        now: Timestamp,
    ) -> Vec<ControlEvent> {
        let resets = self.account.as_ref().map(|account| &account.resets[..]);
        vec![ControlEvent::UserResetRequested(UserResetRequested {
            user,
            email_hash,
            mac: token.mac,
            pepper_version: token.pepper_version,
            expires_at: now.plus(RESET_LIFETIME),
            earlier: Mailed::earlier(resets.unwrap_or_default(), now),
            at: now,
        })]
    }

    fn confirm(&self, proof: &Proof, password: String, name: &str, now: Timestamp) -> Decision {
        let accepted = self.confirms(proof, now);
        let who = self
            .who
            .as_ref()
            .filter(|_| accepted)
            .ok_or(UserRefusal::TokenRefused)?;
        Ok(vec![confirmed(who, Some(password), valid_name(name)?, now)])
    }

    fn come_from_outside(
        &self,
        newcomer: Newcomer,
        account: OutsideAccount,
        name: &str,
        now: Timestamp,
    ) -> Decision {
        let who = self.who.clone().unwrap_or_else(|| Identified {
            id: newcomer.id,
            email: newcomer.email.to_string(),
            email_hash: newcomer.email_hash,
        });
        let known = self
            .account
            .as_ref()
            .map(|account| &account.outside[..])
            .unwrap_or_default();
        if known.contains(&account) {
            return Ok(Vec::new());
        }
        if known.len() >= MAX_ACCOUNTS {
            return Err(UserRefusal::TooManyAccounts);
        }
        let mut events = Vec::new();
        if self.account.is_none() {
            events.push(confirmed(&who, None, valid_name(name)?, now));
        }
        let mut accounts = known.to_vec();
        accounts.push(account);
        events.push(ControlEvent::UserIdentityLinked(UserIdentityLinked {
            user: who.id,
            email_hash: who.email_hash,
            accounts,
            at: now,
        }));
        Ok(events)
    }

    fn evolve_confirmed(&mut self, e: &UserConfirmed) {
        // A local owner who gives the address keeps their own id, whoever asked for an account there.
        self.who = Some(Identified {
            id: e.user.clone(),
            email: e.email.clone(),
            email_hash: e.email_hash.clone(),
        });
        self.sign_ups = Vec::new();
        self.account.get_or_insert_with(|| Account {
            name: e.name.clone(),
            password: e.password.clone(),
            generation: e.generation,
            outside: Vec::new(),
            since: e.at,
            resets: Vec::new(),
            locked: None,
        });
    }
}

fn confirmed(
    who: &Identified,
    password: Option<String>,
    name: String,
    now: Timestamp,
) -> ControlEvent {
    ControlEvent::UserConfirmed(UserConfirmed {
        user: who.id.clone(),
        email: who.email.clone(),
        email_hash: who.email_hash.clone(),
        password,
        name,
        generation: generation(now),
        at: now,
    })
}

/// Commands that need a confirmed address.
fn change(who: &Identified, account: &Account, command: UserCommand, now: Timestamp) -> Decision {
    let (user, email_hash) = (who.id.clone(), who.email_hash.clone());
    let changed = |how, password| {
        ControlEvent::UserPasswordChanged(UserPasswordChanged {
            user: who.id.clone(),
            email_hash: who.email_hash.clone(),
            password,
            how,
            generation: account.next_generation(now),
            at: now,
        })
    };
    let event = match command {
        UserCommand::ChangePassword { known, password } => {
            if account.password.as_ref() != Some(&known) {
                return Err(UserRefusal::PasswordMoved);
            }
            changed(PasswordChange::Changed, password)
        }
        UserCommand::ResetPassword { proof, password } => {
            if !account.resets(&proof, now) {
                return Err(UserRefusal::TokenRefused);
            }
            changed(PasswordChange::Reset, password)
        }
        UserCommand::Rehash { known, password } => {
            if account.password.as_ref() != Some(&known) {
                return Ok(Vec::new());
            }
            let at = now;
            ControlEvent::UserPasswordRehashed(UserPasswordRehashed {
                user,
                email_hash,
                password,
                at,
            })
        }
        UserCommand::Lock { until } => {
            // An attempt during the lock neither extends it nor triggers another notice.
            if account.locked_until(now).is_some() || until <= now {
                return Ok(Vec::new());
            }
            ControlEvent::UserLocked(UserLocked {
                user,
                email_hash,
                until,
                at: now,
            })
        }
        UserCommand::Rename { name } => {
            let name = valid_name(&name)?;
            if name == account.name {
                return Ok(Vec::new());
            }
            ControlEvent::UserRenamed(UserRenamed {
                user,
                email_hash,
                name,
                at: now,
            })
        }
        UserCommand::SignUp { .. }
        | UserCommand::RequestReset { .. }
        | UserCommand::Confirm { .. }
        | UserCommand::ComeFromOutside { .. } => return Ok(Vec::new()),
    };
    Ok(vec![event])
}

impl Account {
    fn evolve(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::UserPasswordChanged(e) => {
                self.password = Some(e.password.clone());
                self.generation = self.generation.max(e.generation);
                // Whoever requested a reset has a new password now, or no longer needs one.
                self.resets = Vec::new();
            }
            ControlEvent::UserPasswordRehashed(e) => self.password = Some(e.password.clone()),
            ControlEvent::UserResetRequested(e) => {
                self.resets = Mailed::all(&e.mac, e.pepper_version, e.expires_at, &e.earlier);
            }
            ControlEvent::UserLocked(e) => self.locked = Some(e.clone()),
            ControlEvent::UserIdentityLinked(e) => self.outside.clone_from(&e.accounts),
            ControlEvent::UserRenamed(e) => self.name.clone_from(&e.name),
            _ => {}
        }
    }
}
