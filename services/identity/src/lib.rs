//! What people need that API keys do not: passwords, signed access tokens, and log-in by somebody else's OpenID Connect issuer.
//!
//! The rules are in `waybill_domain::access`, the endpoints in the account API. Nothing here keeps state that another gateway would have to
//! know: secrets come from the configuration, and what happened is in the log.

pub mod config;
mod devices;
pub mod jwt;
pub mod oidc;
pub mod passwords;
mod people;
pub mod session_secret;
mod user_codes;

pub use config::{PeopleConfig, SignUpPolicy};
pub use people::{People, PeopleRefused, Surroundings};
pub use session_secret::{BadSessionSecret, SessionSecret};
