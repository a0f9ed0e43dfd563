//! The secret that signs the calls of a team: shown, rotated, and used to verify a signature.
//!
//! It is derived from the deployment's master secret, so it is not stored; CONTROL holds how often it was rotated.

pub mod secret;
pub mod verify;

use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use waybill_domain::access::team::Team;
use waybill_domain::id::TeamId;
use waybill_domain::signature::{MasterSecret, Signing, WebhookSecret, derive_team_secret};

use waybill_edge::Edge;
use waybill_edge::error::{ApiError, ErrorCode};

/// The routes about signatures.
pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(secret::get_signing_secret))
        .routes(routes!(secret::rotate_signing_secret))
        .routes(routes!(verify::verify_signature))
}

/// Secrets of one team in its environment.
struct Secrets<'a> {
    master: &'a MasterSecret,
    team: TeamId,
    signing: Signing,
}

impl<'a> Secrets<'a> {
    fn of(state: &'a Edge, team: &TeamId) -> Result<Self, ApiError> {
        let of_team = |known: &Team| known.signing_of(team.environment());
        let signing = state.auth.directory().with_team(&team.base(), of_team);
        Self::with(state, team, signing.unwrap_or_default())
    }

    fn with(state: &'a Edge, team: &TeamId, signing: Signing) -> Result<Self, ApiError> {
        let master = state.signing.as_ref().ok_or_else(|| {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                ErrorCode::SigningNotConfigured,
                "This gateway has no master secret of webhook signatures; set WAYBILL_WEBHOOK_MASTER as for the workers",
            )
        })?;
        Ok(Self {
            master,
            team: team.clone(),
            signing,
        })
    }

    fn numbered(&self, number: u32) -> WebhookSecret {
        derive_team_secret(self.master, &self.team, number)
    }
}
