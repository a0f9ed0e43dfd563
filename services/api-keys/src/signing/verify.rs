//! `POST /v1/signatures/verify`: whether a signature is right, and if not, which part differs.

use std::collections::BTreeMap;

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::access::team::Team;
use waybill_domain::event::BodyEncoding;
use waybill_domain::id::Environment;
use waybill_domain::signature::{self, Received, Verdict, derive_team_secret};

use super::Secrets;
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::TasksRead;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody};

/// Earlier secrets that are tried, so that the answer can say that it is one of them.
const EARLIER: u32 = 5;

/// A call as its receiver got it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VerifySignature {
    /// Headers, at least those of one scheme: `x-asyncqueue-signature`, or `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    headers: BTreeMap<String, String>,
    /// The body as the receiver sees it.
    body: String,
    /// `base64` when `body` is the base64 of the bytes.
    #[schema(value_type = Option<BodyEncoding>)]
    body_encoding: Option<String>,
}

/// Whether a call is signed as it should be.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignatureVerdict {
    /// Whether every scheme that has headers is right.
    valid: bool,
    /// One verdict for each scheme that has headers.
    schemes: Vec<SchemeVerdict>,
}

/// The verdict on one scheme.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemeVerdict {
    /// `asyncqueue` or `standard-webhooks`.
    scheme: &'static str,
    valid: bool,
    /// `current` or `former`: the secret that fits.
    signed_with: Option<&'static str>,
    /// What is wrong; empty when nothing is.
    differs: Vec<Difference>,
}

/// Which part differs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    /// `header`, `id`, `timestamp`, `body`, `secret`, or `unknown` when nothing tells which.
    part: &'static str,
    /// What differs, for people.
    message: String,
}

impl From<Verdict> for SchemeVerdict {
    fn from(verdict: Verdict) -> Self {
        Self {
            scheme: verdict.scheme.as_str(),
            valid: verdict.secret.is_some() && verdict.findings.is_empty(),
            signed_with: verdict.secret.map(|place| match place {
                0 => "current",
                _ => "former",
            }),
            differs: verdict
                .findings
                .into_iter()
                .map(|finding| Difference {
                    part: finding.part.as_str(),
                    message: finding.message,
                })
                .collect(),
        }
    }
}

/// Say whether a call that was received is signed as it should be, and if not, which part differs.
#[utoipa::path(
    post,
    path = "/v1/signatures/verify",
    operation_id = "signing.signature.verify",
    tag = "signing",
    security(("api_key" = ["tasks:read"])),
    request_body = VerifySignature,
    responses(
        (status = 200, description = "The verdict", body = SignatureVerdict),
        (status = 503, description = "This gateway has no master secret of signatures", body = ErrorBody),
    )
)]
pub(crate) async fn verify_signature(
    State(state): State<Edge>,
    caller: Caller<TasksRead>,
    Json(request): Json<VerifySignature>,
) -> Result<axum::Json<SignatureVerdict>, ApiError> {
    let body = match request.body_encoding.as_deref() {
        None => request.body.into_bytes(),
        Some("base64") => BASE64.decode(request.body.trim()).map_err(|_| {
            ApiError::bad_field("body", "body must be base64, as bodyEncoding says")
        })?,
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            return Err(ApiError::bad_field(
                "bodyEncoding",
                format!("bodyEncoding must be base64 or left out, not {shown:?}"),
            ));
        }
    };
    let headers: Vec<_> = request
        .headers
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let ours = Secrets::of(&state, &caller.team)?;
    let now = entropy::now();
    let secrets: Vec<_> = ours
        .signing
        .numbers(now)
        .map(|n| ours.numbered(n))
        .collect();
    let mut others = Vec::new();
    let still = ours.signing.former(now).unwrap_or(ours.signing.current);
    for number in (0..still).rev().take(EARLIER as usize) {
        others.push((
            "an earlier secret, which was rotated",
            ours.numbered(number),
        ));
    }
    let environment = match caller.team.environment() {
        Environment::Live => Environment::Test,
        Environment::Test => Environment::Live,
    };
    let of_team = |known: &Team| known.signing_of(environment);
    let signing = state
        .auth
        .directory()
        .with_team(&caller.team.base(), of_team)
        .unwrap_or_default();
    let other = caller.team.in_environment(environment);
    others.push((
        "the secret of the other environment: live and test have their own",
        derive_team_secret(ours.master, &other, signing.current),
    ));
    let received = Received {
        body: &body,
        headers: &headers,
    };
    let verdicts = signature::verify(received, &secrets, &others, now.as_secs());
    if verdicts.is_empty() {
        return Err(ApiError::bad_field(
            "headers",
            "headers must hold x-asyncqueue-signature, or webhook-id, webhook-timestamp and webhook-signature",
        ));
    }
    let schemes: Vec<SchemeVerdict> = verdicts.into_iter().map(Into::into).collect();
    Ok(axum::Json(SignatureVerdict {
        valid: schemes.iter().all(|scheme| scheme.valid),
        schemes,
    }))
}
