//! Reports of keys that were found in the open, in the shape of GitHub's secret scanning partner programme.
//!
//! A report is trusted for its signature alone ([`super::reporters`]); it can revoke keys and nothing else. A repeated one changes nothing.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::extract::{Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use waybill_domain::access::plan::Guard;
use waybill_domain::access::team::{Key, TeamCommand};
use waybill_domain::actor::Actor;
use waybill_domain::id::{KeyId, TeamId};
use waybill_log::StreamSeq;

use super::notice;
use waybill_commands::Author;
use waybill_edge::Edge;
use waybill_edge::auth::Recognition;
use waybill_edge::body;
use waybill_edge::config::MAX_STRANGERS_BODY_BYTES;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};
use waybill_edge::limits::Guarded;
use waybill_edge::request::RequestContext;

const IDENTIFIER: &str = "github-public-key-identifier";
const SIGNATURE: &str = "github-public-key-signature";
/// Keys in one report.
const MAX_ENTRIES: usize = 10_000;
/// Room for that many of them, with long addresses.
const MAX_BYTES: usize = 8 * 1_048_576;
/// Tokens looked at before other requests get their turn.
const TOKENS_AT_A_TIME: usize = 200;
/// Teams whose keys are dealt with at a time; the keys of one team come one after the other.
const TEAMS_AT_A_TIME: usize = 8;
/// Characters that are kept of the place that a report names.
const MAX_SOURCE_CHARS: usize = 60;
const MAX_URL_CHARS: usize = 2_000;

/// A token that a scanner found, and where.
#[derive(Debug, Deserialize, ToSchema)]
pub struct FoundKey {
    /// What was found.
    token: String,
    /// The kind of token, according to the reporter.
    #[serde(rename = "type")]
    token_type: String,
    /// Address of the place, if it is public.
    #[serde(default)]
    #[schema(format = "uri")]
    url: Option<String>,
    /// What kind of place, such as `content` or `commit`.
    #[serde(default)]
    source: Option<String>,
}

/// The verdict on one find.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdict {
    /// Base64 of the SHA-256 of the token.
    token_hash: String,
    /// The kind of token, as the report gave it.
    token_type: String,
    /// `true_positive`: it is or was a key of this server. `false_positive`: it never was.
    label: &'static str,
}

/// Report API keys that were found in the open.
///
/// The body is signed (ECDSA on P-256 with SHA-256, base64 of the DER form) by a key that is configured here under its identifier.
/// Each key of this server is revoked, or the owners and admins of its team are told, as the team decided.
#[utoipa::path(
    post,
    path = "/v1/key-reports",
    operation_id = "keys.report.create",
    tag = "keys",
    params(
        ("Github-Public-Key-Identifier" = String, Header, description = "Identifier of the key that signed"),
        ("Github-Public-Key-Signature" = String, Header, description = "Signature over the raw body"),
    ),
    request_body = Vec<FoundKey>,
    responses(
        (status = 200, description = "The verdicts, in the order of the report", body = Vec<Verdict>),
        (status = 400, description = "Not a report, or more than 10000 finds", body = ErrorBody),
        (status = 401, description = "Not signed by a key that is trusted", body = ErrorBody),
        (status = 404, description = "Nobody may report keys to this server", body = ErrorBody),
        (status = 429, description = "Too many reports; see Retry-After", body = ErrorBody),
        (status = 503, description = "Not everything was done: repeat the report; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn report_keys(
    State(state): State<Edge>,
    context: axum::Extension<RequestContext>,
    request: Request,
) -> Result<axum::Json<Vec<Verdict>>, ApiError> {
    let axum::Extension(context) = context;
    let reporters = &state.config.key_reporters;
    if reporters.is_empty() {
        return Err(ApiError::new(
            StatusCode::NOT_FOUND,
            ErrorCode::KeyReportsNotConfigured,
            "Nobody may report keys to this server",
        ));
    }
    decidable(&state).await?;
    let headers = request.headers().clone();
    // Only a body that a known partner may have signed is read at such a length.
    let names_partner =
        header(&headers, IDENTIFIER).is_some_and(|identifier| reporters.knows(identifier));
    let limit = if names_partner {
        MAX_BYTES
    } else {
        MAX_STRANGERS_BODY_BYTES
    };
    let raw = body::read(request, limit, state.config.body_read_timeout).await?;
    let signer = header(&headers, IDENTIFIER)
        .zip(header(&headers, SIGNATURE))
        .and_then(|(identifier, signature)| reporters.signer(identifier, signature, &raw));
    let Some(reporter) = signer else {
        state
            .limiter
            .charge_failure(&context.limits, context.source)?;
        return Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            ErrorCode::BadSignature,
            "The report is not signed by a key that is trusted here",
        ));
    };
    admit(&state, &context).await?;
    let found = parse(&raw)?;
    let (verdicts, ours) = sort_out(&state, &found).await?;
    let by = Author {
        actor: Actor::System("key-reports".into()),
        origin: Some(context.origin()),
    };
    let last = stream::iter(ours)
        .map(|(team, finds)| of_team(&state, team, finds, &reporter, &by))
        .buffer_unordered(TEAMS_AT_A_TIME)
        .try_fold(StreamSeq(0), async |last, seq| Ok(last.max(seq)))
        .await?;
    if last > StreamSeq(0) {
        state.settle_everywhere(last).await?;
    }
    Ok(axum::Json(verdicts))
}

/// Counts a report that was signed, before it costs anything.
async fn admit(state: &Edge, context: &RequestContext) -> Result<(), ApiError> {
    let who = Guarded {
        source: Some(context.source),
        account: None,
        team: None,
    };
    let slot = &context.limits;
    Ok(state.limiter.guard(slot, Guard::LeakReport, &who).await?)
}

async fn decidable(state: &Edge) -> Result<(), ApiError> {
    state.auth.check_caught_up()?;
    Ok(state.fence.may_decide_soon().await?)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn parse(raw: &[u8]) -> Result<Vec<FoundKey>, ApiError> {
    let found: Vec<FoundKey> = serde_json::from_slice(raw).map_err(|error| {
        // serde's own message could quote a token.
        let (line, column) = (error.line(), error.column());
        ApiError::bad_request(
            ErrorCode::InvalidBody,
            format!(
                "The request body must be an array of {{token, type, url, source}}; it is not at line {line} column {column}"
            ),
        )
    })?;
    if found.len() > MAX_ENTRIES {
        return Err(ApiError::bad_request(
            ErrorCode::TooManyEntries,
            format!(
                "A report must hold at most {MAX_ENTRIES} finds, not {}",
                found.len()
            ),
        ));
    }
    Ok(found)
}

/// Where a key of ours was found.
struct Find {
    key: Arc<Key>,
    source: String,
    url: Option<String>,
}

impl Find {
    fn new(key: Arc<Key>, found: &FoundKey) -> Self {
        let cut = |text: &str, chars: usize| text.chars().take(chars).collect();
        let source = found.source.as_deref().unwrap_or("unknown");
        Self {
            key,
            source: cut(source, MAX_SOURCE_CHARS),
            url: found.url.as_deref().map(|url| cut(url, MAX_URL_CHARS)),
        }
    }
}

/// Keys that were found, by team, each once.
type Ours = BTreeMap<TeamId, Vec<Find>>;

async fn sort_out(state: &Edge, found: &[FoundKey]) -> Result<(Vec<Verdict>, Ours), ApiError> {
    let mut verdicts = Vec::with_capacity(found.len());
    let (mut ours, mut seen) = (Ours::new(), HashSet::<KeyId>::new());
    for (at, find) in found.iter().enumerate() {
        if at % TOKENS_AT_A_TIME == 0 {
            tokio::task::yield_now().await;
        }
        let recognised = state.auth.recognise(&find.token, &state.config.key_brands);
        let label = match recognised {
            Recognition::Known(known) | Recognition::Ended(known) => {
                if seen.insert(known.key.created.key.clone()) {
                    let team = ours.entry(known.team.base()).or_default();
                    team.push(Find::new(known.key, find));
                }
                "true_positive"
            }
            Recognition::Refused => "false_positive",
            Recognition::PepperMissing => {
                return Err(ApiError::unavailable(
                    ErrorCode::AuthorizationUnavailable,
                    "A key of the report cannot be checked at the moment; try again later",
                ));
            }
        };
        verdicts.push(Verdict {
            token_hash: STANDARD.encode(Sha256::digest(&find.token)),
            token_type: find.token_type.clone(),
            label,
        });
    }
    Ok((verdicts, ours))
}

/// Reports the keys of one team, one after the other. Returns the position of the last change.
async fn of_team(
    state: &Edge,
    team: TeamId,
    finds: Vec<Find>,
    reporter: &str,
    by: &Author,
) -> Result<StreamSeq, ApiError> {
    let mut last = StreamSeq(0);
    for find in finds {
        let before = find.key;
        let id = &before.created.key;
        let command = TeamCommand::ReportKey {
            key: id.clone(),
            reporter: reporter.to_owned(),
            source: find.source,
            url: find.url,
        };
        let after = state.control.change_key(&team, id, command, by).await?;
        last = last.max(after.seq);
        let is_news = after.key.reported != before.reported || after.key.revoked != before.revoked;
        if is_news {
            metrics::counter!("waybill_keys_reported_total").increment(1);
            notice::send(state, &team, &after.key);
        }
    }
    Ok(last)
}
