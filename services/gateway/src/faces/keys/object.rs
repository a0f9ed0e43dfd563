//! An API key as clients see it: everything but the key.

use axum::response::{IntoResponse, Response};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::scope::Preset;
use waybill_domain::access::team::Key;

use crate::access::NewKey;
use crate::entropy;
use crate::error::ApiError;
use crate::faces::tasks::object::Iso;
use crate::state::AppState;
use crate::usage::KeyUse;

/// An API key, without the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyObject {
    id: String,
    team_id: String,
    name: String,
    /// What it begins with.
    prefix: String,
    /// Its last four characters.
    last4: String,
    /// What it begins with, for people: with the first four characters that are its own, such as `wb_live_4fG7…`.
    display_prefix: String,
    /// What its scopes amount to, for people: the title of a preset, else `Custom`.
    access: &'static str,
    /// `live` or `test`.
    environment: &'static str,
    scopes: Vec<&'static str>,
    /// `active`, `expired` or `revoked`.
    status: &'static str,
    #[schema(value_type = String)]
    created_at: Iso,
    /// Who made it, such as `user:user_01...` or `key:key_4fG7aB2x`.
    created_by: Option<String>,
    /// From when on it is accepted no more.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Iso>,
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Iso>,
    /// The key that it succeeds.
    rotated_from: Option<String>,
    /// The key that succeeds it.
    rotated_to: Option<String>,
    /// Until when it is accepted beside its successor.
    #[schema(value_type = Option<String>)]
    accepted_until: Option<Iso>,
    /// Networks that it may be used from. Empty: any.
    allowed_sources: Vec<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = UsageFields)]
    usage: Option<UsageObject>,
    /// The key itself: in the answer to its creation, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

/// The same as it is described: where keys are listed; elsewhere these fields are not there.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "only described")]
struct UsageFields {
    /// When it was last used.
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
    #[schema(value_type = Option<String>)]
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
            usage: None,
            key: None,
        }
    }

    /// The same with how it was used. `None`: it never was, as far as is known.
    pub(crate) fn used(mut self, used: Option<&KeyUse>) -> Self {
        let last = used.and_then(|used| used.last.as_ref());
        self.usage = Some(UsageObject {
            last_used_at: last.map(|last| Iso(last.at)),
            last_used_from: last.map(|last| last.source.clone()),
            use_count: used.map_or(0, |used| used.count),
        });
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

/// Shows a key that was just made, once it is accepted here.
pub(crate) async fn shown_once(state: &AppState, made: &NewKey) -> Result<Response, ApiError> {
    state.settle(made.seq).await?;
    let key = state.auth.directory().key(made.key.id());
    let mut envelope = ApiKeyEnvelope::new(&*key.ok_or_else(ApiError::no_such_key)?);
    envelope.api_key.key = Some(made.key.reveal().to_owned());
    let mut response = (StatusCode::CREATED, axum::Json(envelope)).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}
