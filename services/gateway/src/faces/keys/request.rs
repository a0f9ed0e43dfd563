//! What a new key shall be.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use waybill_domain::access::scope::{Preset, Scope, ScopeSet};
use waybill_domain::event::RepeatableRequest;
use waybill_domain::id::{Environment, TeamId};
use waybill_domain::time::Timestamp;

use crate::access::KeyWish;
use crate::error::ApiError;

/// Characters of a wrong value that are shown to whoever sent it.
const MAX_SHOWN_CHARS: usize = 40;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateKey {
    /// For people, at most 100 characters.
    #[schema(required = true)]
    name: Option<String>,
    /// What it may do, such as `tasks:read`. Default: all that the caller may do. Never more than that.
    scopes: Option<Vec<String>>,
    /// The same by name, instead of `scopes`: `full_access`, `read_only`, `task_poster`, `task_poster_read_only`, `agent_manager` or
    /// `agent_manager_read_only`.
    preset: Option<String>,
    /// `live` or `test`. People choose; a key makes keys of its own environment only.
    environment: Option<String>,
    /// From when on it is accepted no more (ISO 8601). Default: never.
    expires_at: Option<String>,
    /// Networks that it may be used from, such as `192.0.2.0/24`; at most 50. Default: any.
    allowed_sources: Option<Vec<String>>,
}

impl CreateKey {
    /// Reads it. `own` is what the caller may do, `team` is in the environment that the caller is in.
    pub(crate) fn wish(self, own: ScopeSet, team: &TeamId) -> Result<KeyWish, ApiError> {
        let name = self
            .name
            .ok_or_else(|| ApiError::bad_field("name", "name is required"))?;
        let environment = match &self.environment {
            None => team.environment(),
            Some(text) => Environment::parse(text).ok_or_else(|| {
                let text = shown(text);
                ApiError::bad_field(
                    "environment",
                    format!("environment must be live or test, not {text:?}"),
                )
            })?,
        };
        let expires_at = self.expires_at.as_deref().map(expiry).transpose()?;
        Ok(KeyWish {
            name,
            scopes: scopes(self.scopes.as_deref(), self.preset.as_deref(), own)?,
            environment,
            expires_at,
            sources: self.allowed_sources.unwrap_or_default(),
            request: None,
        })
    }
}

fn expiry(text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse_iso8601(text).ok_or_else(|| {
        let text = shown(text);
        ApiError::bad_field(
            "expiresAt",
            format!("expiresAt must be a time such as 2027-01-31T12:00:00Z, not {text:?}"),
        )
    })
}

fn scopes(
    named: Option<&[String]>,
    preset: Option<&str>,
    own: ScopeSet,
) -> Result<ScopeSet, ApiError> {
    match (named, preset) {
        (Some(_), Some(_)) => Err(ApiError::bad_field(
            "preset",
            "give either scopes or preset, not both",
        )),
        (None, None) => Ok(own),
        (Some(named), None) => named
            .iter()
            .map(|text| {
                Scope::parse(text).ok_or_else(|| {
                    let text = shown(text);
                    ApiError::bad_field("scopes", format!("scopes: there is no scope {text:?}"))
                })
            })
            .collect(),
        (None, Some(name)) => match Preset::find(name) {
            Some(preset) => Ok(preset.scopes()),
            None => {
                let all: Vec<_> = Preset::ALL.iter().map(|preset| preset.name).collect();
                let (name, all) = (shown(name), all.join(", "));
                Err(ApiError::bad_field(
                    "preset",
                    format!("preset: there is no {name:?}; there are {all}"),
                ))
            }
        },
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// How a creation with an idempotency key is known again, in the environment that the caller is in.
pub(crate) fn repeatable(key: &str, team: &TeamId, wish: &KeyWish) -> RepeatableRequest {
    let asked = serde_json::json!([
        wish.name,
        wish.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        wish.environment.as_str(),
        wish.expires_at.map(|at| at.0),
        wish.sources,
    ]);
    RepeatableRequest {
        idempotency_key: digest(&[team.as_str(), key]),
        fingerprint: digest(&[&asked.to_string()]),
    }
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(body: serde_json::Value) -> Result<KeyWish, (Option<String>, String)> {
        let request: CreateKey = serde_json::from_value(body).expect("the shape");
        let own = [Scope::TasksRead, Scope::KeysWrite].into_iter().collect();
        let team = TeamId::new(Timestamp(1), 1).in_environment(Environment::Test);
        request.wish(own, &team).map_err(|error| {
            let field = error.body.field.as_ref().map(ToString::to_string);
            (field, error.body.error.to_string())
        })
    }

    #[test]
    fn what_is_not_said_is_as_the_caller_is() {
        let wish = wish(serde_json::json!({"name": "n"})).expect("fine");
        assert_eq!(wish.environment, Environment::Test);
        assert_eq!(wish.scopes.iter().count(), 2);
        assert_eq!((wish.expires_at, wish.sources.len()), (None, 0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, field) in [
            (serde_json::json!({}), "name"),
            (
                serde_json::json!({"name": "n", "environment": "prod"}),
                "environment",
            ),
            (
                serde_json::json!({"name": "n", "expiresAt": "soon"}),
                "expiresAt",
            ),
            (
                serde_json::json!({"name": "n", "scopes": ["tasks:fly"]}),
                "scopes",
            ),
            (serde_json::json!({"name": "n", "preset": "god"}), "preset"),
            (
                serde_json::json!({"name": "n", "preset": "read_only", "scopes": []}),
                "preset",
            ),
        ] {
            let (found, message) = wish(body).expect_err("refused");
            assert_eq!(found.as_deref(), Some(field), "{message}");
        }
    }

    #[test]
    fn requests_are_known_again_by_everything_in_them() {
        let team = TeamId::new(Timestamp(1), 1);
        let first = KeyWish::new("n", &[Scope::TasksRead]);
        let same = repeatable("k", &team, &first);
        assert_eq!(repeatable("k", &team, &first.clone()), same);
        let test = team.in_environment(Environment::Test);
        assert_ne!(
            repeatable("k", &test, &first).idempotency_key,
            same.idempotency_key
        );
        for other in [
            KeyWish::new("m", &[Scope::TasksRead]),
            KeyWish::new("n", &[Scope::TasksWrite]),
            KeyWish {
                expires_at: Some(Timestamp(1)),
                ..first.clone()
            },
            KeyWish {
                sources: vec!["192.0.2.0/24".into()],
                ..first.clone()
            },
        ] {
            let other = repeatable("k", &team, &other);
            assert_eq!(other.idempotency_key, same.idempotency_key);
            assert_ne!(other.fingerprint, same.fingerprint);
        }
    }
}
