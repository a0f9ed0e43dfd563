//! The end of a token: its keys are erased, and the log says so.

use waybill_domain::access::team::vault::TokenCommand;
use waybill_domain::access::team::{TeamCommand, TeamRefusal};
use waybill_domain::actor::Actor;
use waybill_domain::id::{Environment, TeamId, TokenId};
use waybill_log::vault_keys::MAX_LISTED;
use waybill_log::{KeyStoreError, KeysOf, ReadError, StreamSeq};

use crate::state::Edge;
use waybill_commands::{Author, CommandError};

/// Why a token is not shredded yet. It is revoked all the same, and the janitor goes on.
#[derive(Debug, thiserror::Error)]
pub enum ShredError {
    /// The keys could not be listed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A key was not erased, or may not have been.
    #[error(transparent)]
    Erase(#[from] KeyStoreError),
    /// The keys are gone, but the log does not say so.
    #[error(transparent)]
    Note(#[from] CommandError<TeamRefusal>),
}

/// The author of commands that the vault itself gives.
pub(super) fn janitor() -> Author {
    Author::from(Actor::System("vault".into()))
}

/// Erases all keys of a token that is revoked everywhere, and notes it. May be repeated.
pub async fn shred(
    state: &Edge,
    team: &TeamId,
    environment: Environment,
    token: &TokenId,
) -> Result<(), ShredError> {
    let of = KeysOf::Token(team.in_environment(environment), token.clone());
    let mut after = StreamSeq(0);
    loop {
        let page = state.vault.keys.list(&of, after, MAX_LISTED).await?;
        // A page can be short because it leaves out what is not the name of a key: only an empty one is the last.
        if page.is_empty() {
            break;
        }
        for listed in &page {
            state.vault.erase(&listed.name).await?;
            after = listed.key.seq;
        }
    }
    let note = TeamCommand::Token(TokenCommand::NoteShredded {
        token: token.clone(),
    });
    state
        .control
        .run_team(&team.base(), note, &janitor())
        .await?;
    metrics::counter!("waybill_vault_shredded_total").increment(1);
    Ok(())
}
