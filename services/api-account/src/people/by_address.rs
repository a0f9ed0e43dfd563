//! What requests about an e-mail address have in common: they tell nobody but its owner whether it has an account.
//!
//! Whatever is known of an address, a request for a letter appends one event about the address, puts a letter or a placeholder of the same size into the
//! outbox, and is answered once both are stored. So an answer of 202 means that the letter will be sent and can be used, and neither its
//! time nor a log that takes no appends tells known addresses from unknown ones.

use waybill_domain::access::email::Email;
use waybill_domain::access::user::{User, UserCommand, UserRefusal};
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;
use waybill_log::Stream;

use crate::state::AccountApi;
use waybill_commands::{Author, CommandError};
use waybill_edge::error::ApiError;
use waybill_edge::request::RequestContext;

/// Makes this gateway know of the address what the log knows. It reads the log once, whether the address has an account or not.
pub(super) async fn catch_up(state: &AccountApi, email: &Email) -> Result<(), ApiError> {
    let filter = Boundary::User(state.people.address(email)).filter();
    if let Some(last) = state.log.last(Stream::Control, &filter).await? {
        state.settle(last.seq).await?;
    }
    Ok(())
}

/// Makes this gateway know all that the log knows by now.
pub(super) async fn catch_up_fully(state: &AccountApi) -> Result<(), ApiError> {
    let bounds = state.log.bounds(Stream::Control).await?;
    Ok(state.settle(bounds.last).await?)
}

/// Runs a command on the person with that address.
pub(super) async fn command(
    state: &AccountApi,
    boundary: &Boundary,
    command: UserCommand,
    by: &Author,
) -> Result<waybill_commands::Loaded<User>, CommandError<UserRefusal>> {
    state.control.run::<User>(boundary, command, &(), by).await
}

/// The author that events name for a request of somebody who is not signed in.
pub(super) fn anonymous(context: &RequestContext) -> Author {
    Author {
        actor: Actor::System("sign-in".into()),
        origin: Some(context.origin()),
    }
}
