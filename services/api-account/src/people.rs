//! People: sign-up, log-in, sessions and passwords under `/v1/auth`, and the signed-in person at `/v1/me`.
//!
//! Nobody but its owner learns whether an address is known. So a request for a letter stores one event whatever is known
//! ([`by_address`]); the answers are the same; and a password is hashed whether or not there is one to compare it with. Attempts are counted per address
//! and per account across all gateways, and when they cannot be counted nobody gets in.
//!
//! [`fields`] is what clients send, [`answer`] what they get, [`cookie`] how a browser keeps a refresh token.

pub mod address;
pub mod answer;
pub mod by_address;
pub mod cookie;
pub mod fields;
pub mod keys;
mod letter_request;
pub mod link;
pub mod log_in;
pub mod me;
pub mod meta;
pub mod outside;
pub mod password;
pub mod refresh;
mod reset_request;
pub mod sessions;
mod sign_in;
pub mod sign_up;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AccountApi;
pub(crate) use sign_in::{SignedInNow, access_token, sign_in};

/// The routes of this resource.
pub(crate) fn router() -> OpenApiRouter<AccountApi> {
    OpenApiRouter::new()
        .routes(routes!(sign_up::sign_up))
        .routes(routes!(sign_up::confirm))
        .routes(routes!(log_in::log_in))
        .routes(routes!(refresh::refresh))
        .routes(routes!(sessions::log_out))
        .routes(routes!(sessions::list_sessions))
        .routes(routes!(sessions::end_session))
        .routes(routes!(password::change_password))
        .routes(routes!(password::forgot_password))
        .routes(routes!(password::reset_password))
        .routes(routes!(outside::start))
        .routes(routes!(outside::callback))
        .routes(routes!(me::get_me, me::change_me))
        .routes(routes!(keys::jwks))
        .routes(routes!(link::use_link))
        .routes(routes!(address::give_address))
        .routes(routes!(meta::get_meta))
}
