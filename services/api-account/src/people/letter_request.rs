//! What asks for a letter to an address, whoever asks: it is guarded, and nothing is decided while letters cannot be stored.

use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::plan::Guard;

use super::fields::email;
use crate::state::AccountApi;
use waybill_edge::error::ApiError;
use waybill_edge::limits::Guarded;
use waybill_edge::request::RequestContext;
use waybill_mail::LetterBox;

/// A request that its guard let pass.
pub(super) struct LetterRequest<'a> {
    pub(super) email: Email,
    pub(super) address: EmailHash,
    /// Whatever was decided, one letter goes in, so that the answer says nothing about the address.
    pub(super) letter_box: &'a LetterBox,
}

/// Charges the guard for the caller's address and for the mailbox, and opens the letter box.
pub(super) async fn admit<'a>(
    state: &'a AccountApi,
    context: &RequestContext,
    guard: Guard,
    given: Option<String>,
) -> Result<LetterRequest<'a>, ApiError> {
    let email = email(given)?;
    let mailbox = state.people.mailbox(&email);
    let guarded = Guarded {
        source: Some(context.source),
        account: Some(mailbox.as_str()),
        team: None,
    };
    state
        .limiter
        .guard(&context.limits, guard, &guarded)
        .await?;
    Ok(LetterRequest {
        address: state.people.address(&email),
        letter_box: state.people.outbox.letter_box()?,
        email,
    })
}
