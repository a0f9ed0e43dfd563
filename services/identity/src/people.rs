//! Everything about people that one gateway needs, built from its configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use waybill_commands::Pepper;
use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::proof::Proof;
use waybill_domain::access::secret::{ENTROPY_BYTES, KeyMac};
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::access::user::User;
use waybill_domain::id::GrantId;
use waybill_log::MailQueue;
use waybill_mail::{Letter, Links, Occasion, Outbox, OutboxParts};
use zeroize::Zeroizing;

use super::SessionSecret;
use super::config::{PeopleConfig, SignUpPolicy};
use super::devices::Devices;
use super::jwt::{AccessTokens, TokenKeys, TokenPolicy};
use super::oidc::{Oidc, OidcRefused};
use super::passwords::{PasswordError, Passwords};
use super::session_secret::derive;
use super::user_codes::UserCodes;

/// `iss` and `aud` of access tokens where no public address is configured.
const NAMELESS: &str = "urn:waybill";
/// Letters that are prepared at a time, after their requests were answered. Beyond that, requests are refused at once.
const MAX_DEFERRED: usize = 256;

/// Why a gateway does not start with that configuration.
#[derive(Debug, thiserror::Error)]
pub enum PeopleRefused {
    /// The configuration of an outside issuer is wrong.
    #[error("oidc")]
    Oidc(#[from] OidcRefused),
    /// Issuers send people back to a public address.
    #[error("auth.public_url must be set when there are outside issuers")]
    NoPublicUrl,
    #[error("passwords")]
    Passwords(#[from] PasswordError),
}

/// The part of a gateway's configuration that concerns people.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Origins whose pages may call the API.
    pub cors_origins: &'a [String],
    /// Whether only this machine reaches the gateway: cookies are then sent without TLS.
    pub listens_on_loopback: bool,
    /// Prefix of new credentials.
    pub brand: &'a str,
}

/// What handlers need for people.
pub struct People {
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Issues and verifies access tokens.
    pub tokens: AccessTokens,
    pub oidc: Oidc,
    /// Who may ask for an account.
    pub sign_up: SignUpPolicy,
    /// Where letters are posted.
    pub outbox: Outbox,
    /// The pages that letters point to.
    pub links: Links,
    /// How long a session lasts at most.
    pub session_lifetime: Duration,
    /// How long a session lasts when nobody uses it.
    pub session_idle: Duration,
    /// How long a used refresh token gets the same answer again.
    pub refresh_grace: Duration,
    /// Whether cookies are for `https` only.
    pub secure_cookies: bool,
    /// Origins whose pages may use cookies. Empty: the one that a request is addressed to.
    pub origins: Vec<String>,
    /// Where browsers return after an outside log-in.
    pub app_url: Option<Url>,
    devices: Devices,
    user_codes: UserCodes,
    deferred: Arc<Semaphore>,
    pepper: Arc<Pepper>,
    email_key: Zeroizing<[u8; 32]>,
    brand: String,
}

impl std::fmt::Debug for People {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("People(hidden)")
    }
}

impl People {
    /// Builds it; the tasks of the outbox, whose letters wait in `mail`, run among `tasks` until `stop`.
    pub fn new(
        config: &PeopleConfig,
        surroundings: Surroundings<'_>,
        pepper: Arc<Pepper>,
        mail: Arc<dyn MailQueue>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, PeopleRefused> {
        let secret = match &config.secret {
            Some(secret) => secret.clone(),
            None => SessionSecret::from_key(&pepper.derive("sessions")),
        };
        let devices = Devices::new(&secret);
        let user_codes = UserCodes::new(&secret);
        let public = config.public_url.as_ref();
        let oidc = match (public, config.oidc.is_empty()) {
            (None, false) => return Err(PeopleRefused::NoPublicUrl),
            (None, true) => Oidc::nobody(&secret),
            (Some(url), _) => Oidc::new(config.oidc.clone(), config.oidc_times, &secret, url)?,
        };
        let name = public
            .map_or(NAMELESS, |url| url.as_str().trim_end_matches('/'))
            .to_owned();
        let policy = TokenPolicy {
            issuer: name.clone(),
            audience: name,
            lifetime: config.access_lifetime,
        };
        let own = public.map(|url| url.origin().ascii_serialization());
        let listed = surroundings
            .cors_origins
            .iter()
            .filter(|origin| *origin != "*")
            .cloned();
        Ok(Self {
            passwords: Passwords::new(Arc::clone(&pepper), config.password_cost, tasks.clone())?,
            tokens: AccessTokens::new(TokenKeys::new(secret), policy),
            oidc,
            sign_up: config.sign_up,
            outbox: Outbox::start(
                OutboxParts {
                    mailer: Arc::clone(&config.mailer),
                    queue: mail,
                    pepper: Arc::clone(&pepper),
                    times: config.outbox,
                },
                tasks,
                stop,
            ),
            links: Links {
                app: config.app_url.clone(),
            },
            session_lifetime: config.session_lifetime,
            session_idle: config.session_idle,
            refresh_grace: config.refresh_grace,
            secure_cookies: match public {
                Some(url) => url.scheme() == "https",
                None => !surroundings.listens_on_loopback,
            },
            origins: own.into_iter().chain(listed).collect(),
            app_url: config.app_url.clone(),
            devices,
            user_codes,
            deferred: Arc::new(Semaphore::new(MAX_DEFERRED)),
            email_key: pepper.address_key(),
            brand: surroundings.brand.to_owned(),
            pepper,
        })
    }

    /// The keyed hash by which subjects and counters know an address.
    #[must_use]
    pub fn address(&self, email: &Email) -> EmailHash {
        email.hash(&self.email_key[..])
    }

    /// The keyed hash by which letters are counted: addresses that reach one mailbox share it.
    #[must_use]
    pub fn mailbox(&self, email: &Email) -> EmailHash {
        self.address(&email.mailbox())
    }

    /// A token for a device on which that person has just signed in.
    #[must_use]
    pub fn issue_device_token(&self, user: &User) -> Option<String> {
        let (who, account) = user.confirmed()?;
        Some(self.devices.issue(&who.email_hash, account.generation))
    }

    /// The id by which attempts from a device are counted, when that person has signed in on it.
    #[must_use]
    pub fn known_device(
        &self,
        address: &EmailHash,
        generation: u64,
        token: Option<&str>,
    ) -> Option<String> {
        self.devices.recognise(address, generation, token?)
    }

    /// The short code that a person types to decide about what a device asked for.
    #[must_use]
    pub fn user_code(&self, grant: &GrantId) -> String {
        self.user_codes.of(grant)
    }

    /// A fresh token for the object with that ULID, its stored MAC, and the version of the pepper. `None` only if randomness fails.
    #[must_use]
    pub fn token(&self, kind: TokenKind, ulid: &str) -> Option<(Token, KeyMac, u32)> {
        self.pepper.token(&self.brand, kind, ulid)
    }

    /// A presented token, when it is of that kind, with its MACs to compare by.
    #[must_use]
    pub fn presented(&self, kind: TokenKind, text: &str) -> Option<(Token, Proof)> {
        let token = Token::parse(text).filter(|token| token.kind() == kind)?;
        let proof = Proof::new(&token, self.pepper.each());
        Some((token, proof))
    }

    /// The successors of a single-use token, one under each known pepper, the current one first. They are derived from the token itself, so
    /// that every gateway gives the same answer to a repeated use, and only to whoever has the token. `None` only if what was derived is
    /// unusable, which is practically impossible.
    #[must_use]
    pub fn successors(&self, kind: TokenKind, used: &Token) -> Option<Vec<(Token, KeyMac, u32)>> {
        let mut successors = Vec::new();
        for (version, pepper) in self.pepper.each() {
            let purpose = format!("waybill successor v1 {}", kind.as_str());
            let entropy = derive::<ENTROPY_BYTES>(pepper, &purpose, used.reveal().as_bytes());
            let token = Token::generate(used.brand(), kind, used.ulid(), &entropy)?;
            let mac = token.mac(pepper);
            successors.push((token, mac, version));
        }
        successors.sort_by_key(|(_, _, version)| *version != self.pepper.version());
        Some(successors)
    }

    /// Has a letter to somebody stored and sent. When too many of them wait to be stored, the notice is dropped and counted.
    pub fn notify(&self, to: &str, occasion: &Occasion) {
        match Email::parse(to) {
            Ok(to) => self
                .outbox
                .post_or_lose(Letter::about(occasion, &to, &self.links)),
            Err(invalid) => tracing::error!(%invalid, "stored email address does not parse"),
        }
    }

    /// A permit for work after the answer to a request; `None` when the limit of such work is reached.
    pub fn deferred_permit(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(&self.deferred).try_acquire_owned().ok()
    }
}
