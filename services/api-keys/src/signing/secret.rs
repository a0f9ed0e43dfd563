//! Showing and rotating the secret.

use std::time::Duration;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::team::TeamCommand;
use waybill_domain::id::Environment;
use waybill_domain::signature::MAX_OVERLAP;
use waybill_domain::time::Timestamp;

use super::Secrets;
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::SigningSecretWrite;
use waybill_edge::body::OptionalJson;
use waybill_edge::error::{ApiError, ErrorBody};

/// How long the former secret signs as well, unless the request says otherwise.
const DEFAULT_OVERLAP: Duration = Duration::from_secs(86_400);

/// The signing secret of a team in its environment.
#[derive(Debug, Serialize, ToSchema)]
pub struct SigningSecretEnvelope {
    #[serde(rename = "signingSecret")]
    signing_secret: SigningSecret,
}

/// Not `Debug` by its fields: secrets are shown to their owners, and in no log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SigningSecret {
    /// `whsec_` and base64. `X-AsyncQueue-Signature` uses this text as its key, `webhook-signature` the bytes that it encodes.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
    /// How often it was rotated.
    number: u32,
    /// `live` or `test`: each has its own.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// The former secret, while it signs as well.
    former: Option<FormerSecret>,
}

/// The secret before the current one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FormerSecret {
    secret: String,
    /// Until then calls carry its signature as well.
    #[schema(format = DateTime)]
    signs_until: String,
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningSecret")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl SigningSecretEnvelope {
    fn new(secrets: &Secrets<'_>, now: Timestamp) -> Self {
        let signing = secrets.signing;
        let text = |number| secrets.numbered(number).expose().to_owned();
        let former = signing.former(now).zip(signing.former_until);
        Self {
            signing_secret: SigningSecret {
                secret: text(signing.current),
                number: signing.current,
                environment: secrets.team.environment().as_str(),
                former: former.map(|(number, until)| FormerSecret {
                    secret: text(number),
                    signs_until: until.to_rfc3339(),
                }),
            },
        }
    }
}

/// Show the secret that signs the calls to your targets and webhooks.
///
/// For keys with the scope `signing-secret:write` and for admins. `docs/webhooks.md` explains how to verify a signature;
/// `POST /v1/signatures/verify` tells whether one is right.
#[utoipa::path(
    get,
    path = "/v1/signing-secret",
    operation_id = "signing.secret.get",
    tag = "signing",
    security(("api_key" = ["signing-secret:write"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    responses(
        (status = 200, description = "The secret", body = SigningSecretEnvelope),
        (status = 503, description = "This gateway has no master secret of signatures", body = ErrorBody),
    )
)]
pub(crate) async fn get_signing_secret(
    State(state): State<Edge>,
    caller: Caller<SigningSecretWrite>,
) -> Result<axum::Json<SigningSecretEnvelope>, ApiError> {
    let secrets = Secrets::of(&state, &caller.team)?;
    Ok(axum::Json(SigningSecretEnvelope::new(
        &secrets,
        entropy::now(),
    )))
}

/// Options of a rotation.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RotateSigningSecret {
    /// Seconds for which the former secret signs as well. 0: it stops at once.
    #[schema(default = 86_400, minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<u64>,
}

/// Sign with a new secret from now on.
///
/// While they overlap, every call carries a signature of both: receivers accept either, and change over when they like. A call that has
/// begun goes on with what it was signed with.
#[utoipa::path(
    post,
    path = "/v1/signing-secret/rotate",
    operation_id = "signing.secret.rotate",
    tag = "signing",
    security(("api_key" = ["signing-secret:write"])),
    params(
        ("X-Team-Id" = Option<String>, Header, description = "For a person who is in several teams: id of the team"),
        ("X-Environment" = Option<String>, Header, description = "For a person: the environment, `live` or `test`"),
    ),
    request_body = Option<RotateSigningSecret>,
    responses(
        (status = 200, description = "The new secret, and the former one", body = SigningSecretEnvelope),
    )
)]
pub(crate) async fn rotate_signing_secret(
    State(state): State<Edge>,
    caller: Caller<SigningSecretWrite>,
    OptionalJson(request): OptionalJson<RotateSigningSecret>,
) -> Result<axum::Json<SigningSecretEnvelope>, ApiError> {
    let overlap = match request.overlap_seconds.map(Duration::from_secs) {
        None => DEFAULT_OVERLAP,
        Some(overlap) if overlap <= MAX_OVERLAP => overlap,
        Some(overlap) => {
            return Err(ApiError::bad_field(
                "overlapSeconds",
                format!(
                    "overlapSeconds must be between 0 and {}, not {}",
                    MAX_OVERLAP.as_secs(),
                    overlap.as_secs()
                ),
            ));
        }
    };
    // A secret that could not be shown is not rotated either.
    Secrets::of(&state, &caller.team)?;
    let environment = caller.team.environment();
    let command = TeamCommand::RotateSigningSecret {
        environment,
        overlap,
    };
    let after = state
        .control
        .run_team(&caller.team.base(), command, &caller.by())
        .await?;
    state.settle(after.version).await?;
    let signing = after.state.signing_of(environment);
    let secrets = Secrets::with(&state, &caller.team, signing)?;
    Ok(axum::Json(SigningSecretEnvelope::new(
        &secrets,
        entropy::now(),
    )))
}
