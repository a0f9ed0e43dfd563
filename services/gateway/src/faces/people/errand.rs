//! What is done for an address after the request about it was answered, so that how long the answer takes tells nothing.

use std::future::Future;

use tokio::sync::OwnedSemaphorePermit;
use waybill_domain::access::email::Email;
use waybill_domain::access::user::{User, UserCommand, UserRefusal};
use waybill_domain::actor::Actor;
use waybill_domain::event::Boundary;
use waybill_log::Stream;

use crate::access::{By, CommandError};
use crate::edge::RequestContext;
use crate::error::ApiError;
use crate::people::mail::{OutboxFull, Place};
use crate::state::AppState;

/// Leave for one errand and room for its letter: both are there before it is known whether there is anything to do.
pub(super) struct Errand {
    pub(super) place: Place,
    leave: OwnedSemaphorePermit,
}

impl Errand {
    pub(super) fn prepare(state: &AppState) -> Result<Self, ApiError> {
        let place = state.people.outbox.reserve()?;
        let leave = state.people.errand().ok_or_else(|| {
            ApiError::unavailable(
                "busy",
                "Too many such requests are under way; try again later",
            )
        })?;
        Ok(Self { place, leave })
    }

    /// Does it, later.
    pub(super) fn run<F>(self, state: &AppState, work: impl FnOnce(Place) -> F)
    where
        F: Future<Output = Result<(), CommandError<UserRefusal>>> + Send + 'static,
    {
        let Self { place, leave } = self;
        let work = work(place);
        state.tasks.spawn(async move {
            if let Err(error) = work.await {
                tracing::warn!(%error, "what was asked for an address was not done");
            }
            drop(leave);
        });
    }
}

/// Knows of this address what the log knows: one look, whoever it belongs to.
pub(super) async fn freshen(state: &AppState, email: &Email) -> Result<(), ApiError> {
    let filter = Boundary::User(state.people.address(email)).filter();
    if let Some(last) = state.log.last(Stream::Control, &filter).await? {
        state.settle(last.seq).await?;
    }
    Ok(())
}

/// Runs a command to the person with that address.
pub(super) async fn command(
    state: &AppState,
    boundary: &Boundary,
    command: UserCommand,
    by: &By,
) -> Result<crate::access::Loaded<User>, CommandError<UserRefusal>> {
    state.control.run::<User>(boundary, command, &(), by).await
}

/// A request of somebody who is not signed in, as events name its author.
pub(super) fn by_stranger(context: &RequestContext) -> By {
    By {
        actor: Actor::System("sign-in".into()),
        origin: Some(context.origin()),
    }
}

impl From<OutboxFull> for ApiError {
    fn from(full: OutboxFull) -> Self {
        Self::unavailable("busy", full.to_string())
    }
}

impl From<CommandError<UserRefusal>> for ApiError {
    fn from(error: CommandError<UserRefusal>) -> Self {
        match error {
            CommandError::Refused(refusal) => {
                let text = refusal.to_string();
                match refusal {
                    UserRefusal::TokenRefused => Self::bad_field("token", text),
                    UserRefusal::InvalidName => Self::bad_field("name", text),
                    UserRefusal::Nobody => Self::session_refused(),
                    UserRefusal::AlreadyConfirmed
                    | UserRefusal::PasswordMoved
                    | UserRefusal::TooManyAccounts => Self::conflict("conflict", text),
                }
            }
            CommandError::Contended => Self::unavailable("conflict", error.to_string()),
            CommandError::Read(error) => error.into(),
            CommandError::Append(error) => error.into(),
            CommandError::History(_) => Self::not_understood(),
            CommandError::Subject(_) => Self::internal(&error),
        }
    }
}
