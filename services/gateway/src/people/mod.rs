//! What people need that keys do not: passwords, mail, signed access tokens, and log-in by somebody else's OpenID Connect issuer.
//!
//! These are the tools; what they are used for is decided in `domain::access` and told over HTTP in `faces::people`. None of them
//! keeps anything that another gateway would have to know: secrets come from the configuration, and what happened is in the log.

pub mod config;
mod devices;
pub mod jwt;
pub mod mail;
pub mod oidc;
pub mod passwords;
pub mod session_secret;
mod sign_in;
mod toolbox;

pub use config::PeopleConfig;
pub use session_secret::{BadSessionSecret, SessionSecret};
pub(crate) use sign_in::{SignedInNow, access_token, sign_in};
pub use toolbox::{People, PeopleRefused};
