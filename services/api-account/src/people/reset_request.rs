//! Another password is asked for at an address, by whoever.

use waybill_domain::access::email::EmailHash;
use waybill_domain::access::token::TokenKind;
use waybill_domain::access::user::{MailedDraft, UserCommand};
use waybill_domain::event::Boundary;
use waybill_domain::id::UserId;

use super::by_address::{anonymous, command};
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::error::ApiError;
use waybill_edge::request::RequestContext;

/// Stores that it was asked for, and gives the token that sets it; none, where the address has no account. Either way one event is stored.
pub(super) async fn request_reset(
    state: &AccountApi,
    context: &RequestContext,
    address: &EmailHash,
) -> Result<Option<String>, ApiError> {
    let known = state.auth.directory().user_at(address);
    let known = known.and_then(|user| user.confirmed().map(|(who, _)| who.id.clone()));
    let user = known.unwrap_or_else(|| UserId::new(entropy::now(), entropy::random_u128()));
    let made = state.people.token(TokenKind::Reset, user.ulid());
    let (token, mac, pepper_version) =
        made.ok_or_else(|| ApiError::internal(&"no token could be made"))?;
    let wanted = UserCommand::RequestReset {
        user: user.clone(),
        email_hash: address.clone(),
        token: MailedDraft {
            mac: mac.to_hex(),
            pepper_version,
        },
    };
    let boundary = Boundary::User(address.clone());
    let after = command(state, &boundary, wanted, &anonymous(context)).await?;
    let account = after.state.confirmed();
    // Somebody who has confirmed the address just now has another id than the token names; they know their password.
    Ok(account
        .filter(|(who, _)| who.id == user)
        .map(|_| token.reveal().to_owned()))
}
