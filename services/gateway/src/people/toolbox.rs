//! The tools of one gateway, put together from its configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;
use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::proof::Proof;
use waybill_domain::access::secret::{ENTROPY_BYTES, KeyMac};
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::access::user::User;
use zeroize::Zeroizing;

use super::SessionSecret;
use super::devices::Devices;
use super::jwt::{AccessTokens, TokenKeys, TokenPolicy};
use super::mail::{Letter, Links, Occasion, Outbox};
use super::oidc::{Oidc, OidcRefused};
use super::passwords::{PasswordError, Passwords};
use super::session_secret::derive;
use crate::access::Pepper;
use crate::config::GatewayConfig;
use crate::entropy;

/// `iss` and `aud` of access tokens where no public address is configured.
const NAMELESS: &str = "urn:waybill";
/// Letters that are prepared at a time, after their requests were answered. Beyond, requests are refused before they are looked at.
const MOST_ERRANDS: usize = 256;

/// Why a gateway does not start with that configuration.
#[derive(Debug, thiserror::Error)]
pub enum PeopleRefused {
    /// An outside issuer.
    #[error("oidc: {0}")]
    Oidc(#[from] OidcRefused),
    /// Issuers send people back to a public address.
    #[error("auth.public_url must be set when there are outside issuers")]
    NoPublicUrl,
    /// Passwords.
    #[error("passwords: {0}")]
    Passwords(#[from] PasswordError),
}

/// What handlers need for people.
pub struct People {
    /// Hashes and checks passwords.
    pub passwords: Passwords,
    /// Issues and verifies access tokens.
    pub tokens: AccessTokens,
    /// Outside issuers.
    pub oidc: Oidc,
    /// Where letters are put.
    pub outbox: Outbox,
    /// What letters point to.
    pub links: Links,
    /// How long a session lasts at most.
    pub session_lifetime: Duration,
    /// How long a session lasts that is not used.
    pub session_idle: Duration,
    /// For so long a refresh token that was used gets the same answer again.
    pub refresh_grace: Duration,
    /// Whether cookies are for `https` only.
    pub secure_cookies: bool,
    /// Origins whose pages may use cookies. Empty: the one that a request is addressed to.
    pub origins: Vec<String>,
    /// Where browsers go after an outside log-in.
    pub app_url: Option<Url>,
    devices: Devices,
    errands: Arc<Semaphore>,
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
    pub(crate) fn new(
        gateway: &GatewayConfig,
        pepper: Arc<Pepper>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Self, PeopleRefused> {
        let config = &gateway.people;
        let secret = match &config.secret {
            Some(secret) => secret.clone(),
            None => SessionSecret::from_key(&pepper.derive("sessions")),
        };
        let devices = Devices::new(&secret);
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
        let listed = gateway
            .cors_origins
            .iter()
            .filter(|origin| *origin != "*")
            .cloned();
        Ok(Self {
            passwords: Passwords::new(Arc::clone(&pepper), config.password_cost, tasks.clone())?,
            tokens: AccessTokens::new(TokenKeys::new(secret), policy),
            oidc,
            outbox: Outbox::start(
                Arc::clone(&config.mailer),
                config.outbox,
                tasks,
                stop.clone(),
            ),
            links: Links {
                app: config.app_url.clone(),
            },
            session_lifetime: config.session_lifetime,
            session_idle: config.session_idle,
            refresh_grace: config.refresh_grace,
            secure_cookies: match public {
                Some(url) => url.scheme() == "https",
                None => !gateway.listen.ip().is_loopback(),
            },
            origins: own.into_iter().chain(listed).collect(),
            app_url: config.app_url.clone(),
            devices,
            errands: Arc::new(Semaphore::new(MOST_ERRANDS)),
            email_key: pepper.derive("email"),
            brand: gateway.brand().to_owned(),
            pepper,
        })
    }

    /// What an address is known by, in subjects and counters.
    #[must_use]
    pub fn address(&self, email: &Email) -> EmailHash {
        email.hash(&self.email_key[..])
    }

    /// What letters to an address are counted by.
    #[must_use]
    pub fn mailbox(&self, email: &Email) -> EmailHash {
        self.address(&email.mailbox())
    }

    /// A token for a device on which that person has just signed in.
    #[must_use]
    pub fn introduce_device(&self, user: &User) -> Option<String> {
        let (who, account) = user.confirmed()?;
        Some(self.devices.introduce(&who.email_hash, account.generation))
    }

    /// What a device is counted by, when that person has signed in on it.
    #[must_use]
    pub fn known_device(
        &self,
        address: &EmailHash,
        generation: u64,
        token: Option<&str>,
    ) -> Option<String> {
        self.devices.recognise(address, generation, token?)
    }

    /// A fresh token for the thing with that ULID, what is stored of it, and the pepper that made that. `None` only if randomness fails.
    #[must_use]
    pub fn token(&self, kind: TokenKind, ulid: &str) -> Option<(Token, KeyMac, u32)> {
        let token = Token::generate(&self.brand, kind, ulid, &entropy::fresh())?;
        let mac = token.mac(self.pepper.bytes());
        Some((token, mac, self.pepper.version()))
    }

    /// A token that somebody presents, when it is of that kind, and what it can be compared by.
    #[must_use]
    pub fn presented(&self, kind: TokenKind, text: &str) -> Option<(Token, Proof)> {
        let token = Token::parse(text).filter(|token| token.kind() == kind)?;
        let proof = Proof::new(&token, self.pepper.each());
        Some((token, proof))
    }

    /// What follows on a token of which each is good once, under each pepper that is known, the current one first: derived from the
    /// token itself, so that every gateway answers a repeated use alike, and only to whoever has the token. `None` only if what was
    /// derived is unusable, which is practically impossible.
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

    /// Writes to somebody, if there is room in the outbox; a notice that finds none is given up.
    pub fn notify(&self, to: &str, occasion: &Occasion) {
        match (Email::parse(to), self.outbox.reserve()) {
            (Ok(to), Ok(place)) => place.post(Letter::about(occasion, &to, &self.links)),
            (_, Err(full)) => tracing::warn!(%full, "a notice is given up"),
            (Err(invalid), _) => tracing::error!(%invalid, "a stored address is none"),
        }
    }

    /// Leave to do something once a request was answered.
    pub(crate) fn errand(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(&self.errands).try_acquire_owned().ok()
    }
}
