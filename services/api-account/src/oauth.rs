//! OAuth 2.1: teams register applications, people give them access, and they get tokens.
//!
//! - [`apps`]: what admins of a team do with its applications. [`grants`]: what people granted, and how they withdraw it;
//!   [`given`]: what the people of a team granted, for its admins.
//! - [`authorize`]: the consent page. [`request`] is what an application asks for, [`page`] what a person sees, [`browser`] makes sure
//!   that this person decided, [`sign_in`] signs them in on the way.
//! - [`device`]: what asks for access without a browser; [`decision`]: what a person decides about it.
//! - [`token`], [`introspect`], [`revoke`]: what applications call. [`client`] tells who calls, [`parameters`] reads what is sent,
//!   [`error`] is how these are refused (RFC 6749, 5.2).
//! - [`metadata`]: the addresses and abilities of all that (RFC 8414).
//!
//! Tokens are opaque and stored as MACs, so each counts only while the directory says so. A browser is sent nowhere but to a redirect
//! URI that was registered to the letter; what is wrong about the application or the URI itself is said on a page.

pub mod apps;
mod authorize;
mod browser;
mod client;
pub mod decision;
mod device;
mod error;
pub mod given;
pub mod grants;
mod introspect;
mod metadata;
mod page;
mod parameters;
mod request;
mod revoke;
mod sign_in;
mod token;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::access::scope::{Scope, ScopeSet};

use crate::state::AccountApi;
use waybill_edge::error::ApiError;

/// The routes of this resource.
pub(crate) fn router() -> OpenApiRouter<AccountApi> {
    OpenApiRouter::new()
        .routes(routes!(apps::create_app, apps::list_apps))
        .routes(routes!(apps::get_app, apps::change_app, apps::remove_app))
        .routes(routes!(apps::rotate_secret))
        .routes(routes!(grants::list_grants))
        .routes(routes!(grants::withdraw_grant))
        .routes(routes!(authorize::ask, authorize::decide))
        .routes(routes!(sign_in::sign_in))
        .routes(routes!(device::ask))
        .routes(routes!(decision::find))
        .routes(routes!(decision::approve))
        .routes(routes!(decision::deny))
        .routes(routes!(token::token))
        .routes(routes!(introspect::introspect))
        .routes(routes!(revoke::revoke))
        .routes(routes!(metadata::metadata))
        .routes(routes!(given::list_given))
}

/// Refuses while the directory is incomplete, or while this gateway holds no lease and others may know more.
async fn decidable(state: &AccountApi) -> Result<(), ApiError> {
    state.auth.check_caught_up()?;
    state.fence.may_decide_soon().await?;
    Ok(())
}

/// Reads scopes with spaces between them (RFC 6749, 3.3). `None`: one of them is unknown.
fn read_scopes(text: &str) -> Option<ScopeSet> {
    text.split(' ').map(Scope::parse).collect()
}

/// Writes what [`read_scopes`] reads.
fn write_scopes(scopes: ScopeSet) -> String {
    let scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
    scopes.join(" ")
}
