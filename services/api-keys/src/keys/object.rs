//! An API key as clients see it: everything but the key.

use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::scope::Preset;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::Key;
use waybill_domain::access::team::KeyStatus;
use waybill_domain::id::Environment;

use waybill_commands::NewKey;
use waybill_commands::entropy;
use waybill_edge::Edge;
use waybill_edge::error::ApiError;
use waybill_edge::iso::Iso;
use waybill_edge::usage::KeyUse;

/// An API key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyObject {
    id: String,
    team_id: String,
    name: String,
    /// The first characters: brand and environment.
    prefix: String,
    /// Its last four characters.
    last4: String,
    /// The first characters, for people: with the first four that are the key's own, such as `wb_live_4fG7…`.
    display_prefix: String,
    /// Its access in words: the title of the preset with the same scopes, else `Custom`.
    access: &'static str,
    /// `live` or `test`.
    #[schema(value_type = Environment)]
    environment: &'static str,
    #[schema(value_type = Vec<Scope>)]
    scopes: Vec<&'static str>,
    /// `active`, `expired` or `revoked`.
    #[schema(value_type = KeyStatus)]
    status: &'static str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Iso,
    /// Who made it, such as `user:user_01...` or `key:key_4fG7aB2x`.
    created_by: Option<String>,
    /// From this time on it is not accepted.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Iso>,
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Iso>,
    /// The key that it succeeds.
    rotated_from: Option<String>,
    /// The key that succeeds it.
    rotated_to: Option<String>,
    /// Until when it is accepted beside its successor.
    #[schema(value_type = Option<String>, format = DateTime)]
    accepted_until: Option<Iso>,
    /// Networks that it may be used from. Empty: any.
    allowed_sources: Vec<String>,
    /// Queues that it is limited to. Empty: all.
    queues: Vec<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = UsageFields)]
    usage: Option<UsageObject>,
    /// Where a list was asked for it (`days`): requests of each of the last days, today (UTC) last.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_day: Option<Vec<u64>>,
    /// The key itself: in the answer to its creation, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// [`UsageObject`] for the description: the fields are present where keys are listed, and absent elsewhere.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described")]
struct UsageFields {
    /// When it was last used.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    /// Address that it was last used from.
    last_used_from: Option<String>,
    /// Requests with it.
    use_count: Option<u64>,
}

/// How a key was used; accurate to about a minute.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageObject {
    /// When it was last used.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Iso>,
    /// Address that it was last used from.
    last_used_from: Option<String>,
    /// Requests with it.
    use_count: u64,
}

impl ApiKeyObject {
    pub(crate) fn new(key: &Key) -> Self {
        let created = &key.created;
        let rotated = key.rotated.as_ref();
        Self {
            id: created.key.to_string(),
            team_id: created.team.to_string(),
            name: created.name.clone(),
            prefix: created.prefix.clone(),
            last4: created.last4.clone(),
            display_prefix: display_prefix(key),
            access: Preset::access(key.scopes),
            environment: key.environment().as_str(),
            scopes: created.scopes.iter().map(|scope| scope.as_str()).collect(),
            status: key.status(entropy::now()).as_str(),
            created_at: Iso(created.at),
            created_by: created.created_by.clone(),
            expires_at: created.expires_at.map(Iso),
            revoked_at: key.revoked.map(|(at, _)| Iso(at)),
            rotated_from: created.rotated_from.as_ref().map(ToString::to_string),
            rotated_to: rotated.map(|(successor, _)| successor.to_string()),
            accepted_until: rotated.map(|(_, until)| Iso(*until)),
            allowed_sources: created.sources.clone(),
            queues: created.queues.iter().map(ToString::to_string).collect(),
            usage: None,
            by_day: None,
            key: None,
        }
    }

    /// Adds how the key was used. `None`: no use is known.
    pub(crate) fn used(mut self, used: Option<&KeyUse>) -> Self {
        let last = used.and_then(|used| used.last.as_ref());
        self.usage = Some(UsageObject {
            last_used_at: last.map(|last| Iso(last.at)),
            last_used_from: last.map(|last| last.source.clone()),
            use_count: used.map_or(0, |used| used.count),
        });
        self
    }

    /// Adds its requests of the last days. `None`: it made no request.
    pub(crate) fn on_days(mut self, counts: Option<&Vec<u64>>, days: usize) -> Self {
        self.by_day = Some(counts.cloned().unwrap_or_else(|| vec![0; days]));
        self
    }
}

/// `{"apiKey": ...}`
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyEnvelope {
    pub(crate) api_key: ApiKeyObject,
}

impl ApiKeyEnvelope {
    pub(crate) fn new(key: &Key) -> Self {
        Self {
            api_key: ApiKeyObject::new(key),
        }
    }
}

/// Brand, environment and the first four characters of the public part: nothing of the secret.
fn display_prefix(key: &Key) -> String {
    let id = key.created.key.as_str();
    let public = id.rsplit('_').next().unwrap_or_default();
    let shown: String = public.chars().take(4).collect();
    format!("{}{shown}…", key.created.prefix)
}

/// Answers with a new key, once it is accepted here.
pub(crate) async fn shown_once(state: &Edge, made: &NewKey) -> Result<Response, ApiError> {
    state.settle(made.seq).await?;
    let key = state.auth.directory().key(made.key.id());
    let mut envelope = ApiKeyEnvelope::new(&*key.ok_or_else(ApiError::no_such_key)?);
    envelope.api_key.key = Some(made.key.reveal().to_owned());
    let mut response = (StatusCode::CREATED, axum::Json(envelope)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}
