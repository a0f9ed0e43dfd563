//! The face for people: sign-up, log-in, sessions and passwords under `/v1/auth`, and who one is at `/v1/me`.
//!
//! Whether an address is known is told to nobody but its owner. So what depends on it is done after the answer, by [`errand`]; the
//! answers are the same; and a password is hashed whether or not there is one to compare it with. Attempts are counted per address
//! and per account across all gateways, and when they cannot be counted nobody gets in.
//!
//! [`fields`] is what clients send, [`answer`] what they get, [`cookie`] how a browser keeps a refresh token.

pub mod answer;
pub mod cookie;
pub mod errand;
pub mod fields;
pub mod keys;
pub mod log_in;
pub mod me;
pub mod outside;
pub mod password;
pub mod refresh;
pub mod sessions;
pub mod sign_up;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::AppState;

/// The routes of this face.
pub(crate) fn router() -> OpenApiRouter<AppState> {
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
}
